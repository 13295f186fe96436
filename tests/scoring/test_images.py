"""Listing images, and reading them."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pandas as pd
import pytest

from pneumonia.core.errors import InputError
from pneumonia.images.limits import MAX_BYTES
from pneumonia.scoring.images import list_images, read_bytes
from tests.scoring.conftest import write_images

BELOW = ["below/empty.jpeg", "below/image.DCM", "below/small.jpg", "below/text.png"]
TOP = ["image-0000.png", "image-0001.png", "image-0002.png"]


def complaint(given: str) -> str:
    with pytest.raises(InputError) as caught:
        list_images(given)
    return str(caught.value)


def test_a_folder_is_listed_by_suffix_and_sorted(mixed: Path) -> None:
    images = list_images(str(mixed))
    assert images.names.to_pylist() == BELOW + TOP
    assert images.root == str(mixed)


def test_a_pattern_lists_all_files_that_match(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mixed)
    assert list_images("*.[pt][nx][gt]").names.to_pylist() == [*TOP, "notes.txt"]
    matching = list_images(f"{mixed}/**/*.jp*g")
    assert matching.names.to_pylist() == [str(mixed / name) for name in (BELOW[0], BELOW[2])]
    assert read_bytes(matching.root, matching.names[1].as_py()) == (mixed / BELOW[2]).read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_keeps_its_order_and_has_names_relative_to_it(mixed: Path, suffix: str) -> None:
    elsewhere = str(mixed.parent / "elsewhere.png")
    names = ["image-0002.png", "below/small.jpg", elsewhere, "image-0002.png"]
    table = pd.DataFrame({"patient": range(4), "file": names})
    path = mixed / f"list.{suffix}"
    if suffix == "csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path)
    images = list_images(str(path))
    assert images.names.to_pylist() == names
    assert read_bytes(images.root, names[1]) == (mixed / names[1]).read_bytes()
    with pytest.raises(FileNotFoundError, match=r"elsewhere\.png"):
        read_bytes(images.root, elsewhere)


def test_a_single_image_is_listed(mixed: Path) -> None:
    images = list_images(str(mixed / "image-0001.png"))
    assert (images.root, images.names.to_pylist()) == (str(mixed), ["image-0001.png"])


def test_a_url_is_listed_and_read_like_a_folder(mixed: Path) -> None:
    store = fsspec.filesystem("memory")
    try:
        store.put(str(mixed), "/bucket/mixed", recursive=True)
        images = list_images("memory://bucket/mixed")
        assert images.names.to_pylist() == BELOW + TOP
        assert read_bytes(images.root, BELOW[2]) == (mixed / BELOW[2]).read_bytes()
        single = list_images("memory://bucket/mixed/*1.png")
        assert len(single.names) == 1
        assert read_bytes(single.root, single.names[0].as_py()) == (mixed / TOP[1]).read_bytes()
        store.pipe_file("/bucket/mixed/list.csv", b"file\nimage-0001.png\n")
        listed = list_images("memory://bucket/mixed/list.csv")
        assert read_bytes(listed.root, listed.names[0].as_py()) == (mixed / TOP[1]).read_bytes()
    finally:
        store.rm("/bucket", recursive=True)


def test_of_a_file_over_the_limit_one_more_byte_is_read(tmp_path: Path) -> None:
    with (tmp_path / "long.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1000)
    assert len(read_bytes(str(tmp_path), "long.png")) == MAX_BYTES + 1


def test_the_hash_is_of_names_and_their_order(tmp_path: Path) -> None:
    write_images(tmp_path / "a", 2)
    write_images(tmp_path / "b", 2)
    a, b = (list_images(str(tmp_path / name)) for name in "ab")
    assert a.sha256() == b.sha256()
    hashes = set()
    for rows in (["x", "y"], ["y", "x"], ["xy"], ["x"]):
        (tmp_path / "list.csv").write_text("\n".join(["file", *rows]))
        hashes.add(list_images(str(tmp_path / "list.csv")).sha256())
    assert len(hashes) == 4


def test_what_cannot_be_listed_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    table, text = tmp_path / "list.csv", tmp_path / "text.parquet"
    text.write_text("no Parquet")
    pd.DataFrame({"name": ["a.png"]}).to_parquet(tmp_path / "other.parquet")
    assert complaint(str(tmp_path / "gone")).endswith("gone: no such folder or file")
    assert "no images in it; they are files .jpeg, .jpg" in complaint(str(tmp_path / "empty"))
    assert "no images in it" in complaint(str(tmp_path / "*.png"))
    table.write_text("name\na.png\n")
    for path in (table, tmp_path / "other.parquet"):
        assert complaint(str(path)).endswith("no column `file`; it should name the images")
    table.write_text("file,label\na.png,1\n,0\n")
    assert complaint(str(table)).endswith("row 2 has no name in the column `file`")
    assert len(complaint(str(text)).splitlines()) == 1
    assert complaint("nothing://bucket/images").startswith("nothing://bucket/images: ")
