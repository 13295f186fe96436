"""A prepared folder is valid, reproducible, and not lost if a run fails."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pneumonia.core.config import PrepareParams
from pneumonia.core.errors import InputError
from pneumonia.core.files import replaced
from pneumonia.datasets.manifest import (
    COLUMNS,
    ManifestRow,
    digest,
    image_path,
    load_images,
    load_mask,
    read_manifest,
    read_quarantine,
    require_audit,
    write_manifest,
)
from pneumonia.datasets.prepare import assign_splits, prepare
from pneumonia.datasets.sources import open_source
from pneumonia.datasets.splits import in_validation
from pneumonia.images.decoding import decode, encode_png, read_grey
from tests.conftest import (
    SIZE,
    MakeFolder,
    folder_params,
    kermany,
    phantom_params,
    prepare_params,
    some_image,
)


def suitable_seed(patients: dict[str, int], validation: float = 0.4) -> int:
    """The first seed with which both classes have images in both parts of the training set."""
    for seed in range(10_000):
        parts = {(in_validation(p, validation, seed), label) for p, label in patients.items()}
        if len(parts) == 4:
            return seed
    raise AssertionError


PARAMS = prepare_params(
    seed=suitable_seed(
        {
            "IM-0115": 0,
            "IM-0117": 0,
            "NORMAL2-IM-0115": 0,
            "person1_bacteria": 1,
            "person1_virus": 1,
            "person2_bacteria": 1,
        }
    )
)

QUARANTINE = PARAMS.model_copy(update={"on_bad_image": "quarantine"})


def prepare_folder(source: Path, folder: Path, params: PrepareParams = PARAMS) -> pd.DataFrame:
    folder.mkdir()
    prepare(open_source(folder_params(source)), params, folder)
    return read_manifest(folder)


def folder_hash(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_manifest_keeps_its_contract(prepared: Path) -> None:
    table = read_manifest(prepared)
    assert list(table.columns) == COLUMNS
    assert len(table) == 40
    assert table["image_id"].is_unique and table["image_id"].is_monotonic_increasing
    assert table["image_id"].str.fullmatch(r"[0-9a-f]{16}").all()
    assert ((table["subtype"] == "normal") == (table["label"] == 0)).all()
    assert set(table["split"]) == {"train", "val", "test"}
    assert (table.groupby("patient_id")["split"].nunique() == 1).all()
    assert set(table["mode"]) == {"L"}
    images = {path.stem for path in (prepared / "images").iterdir()}
    assert images == set(table["image_id"])
    masks = {f"masks/{path.name}" for path in (prepared / "masks").iterdir()}
    assert masks == set(table["mask"]) - {""}


def test_a_row_describes_its_file(prepared: Path) -> None:
    table = read_manifest(prepared)
    payloads = {xray.file: xray.read()[0] for xray in open_source(phantom_params())[:5]}
    for row in table[table["file"].isin(payloads)].itertuples():
        payload = payloads[row.file]
        image = decode(payload, SIZE)
        assert row.image_id == hashlib.sha256(payload).hexdigest()[:16]
        assert (row.width, row.height, row.bytes) == (image.width, image.height, len(payload))
        stored = np.asarray(Image.open(image_path(prepared, row.image_id)))
        assert np.array_equal(stored, image.pixels)


def test_pneumonia_and_only_that_has_a_square_mask(prepared: Path) -> None:
    table = read_manifest(prepared)
    assert ((table["mask"] != "") == (table["label"] == 1)).all()
    for row in table[table["label"] == 1].itertuples():
        assert row.mask == f"masks/{row.image_id}.png"
        mask = load_mask(prepared, row.mask)
        assert mask.shape == (SIZE, SIZE)
        assert mask.dtype == np.bool_
        assert 0 < mask.mean() < 0.5


def test_the_same_images_give_the_same_bytes(prepared: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    prepare(open_source(phantom_params()), prepare_params(0.3, seed=7), again)
    assert folder_hash(again) == folder_hash(prepared)
    assert digest(again) == digest(prepared)


def test_images_come_in_the_order_of_the_rows(prepared: Path) -> None:
    table = read_manifest(prepared)
    images = load_images(prepared, table)
    assert images.shape == (40, SIZE, SIZE, 1)
    assert images.dtype == np.uint8
    shuffled = table.sample(frac=1, random_state=3)
    assert not shuffled.index.is_monotonic_increasing
    assert np.array_equal(load_images(prepared, shuffled), images[shuffled.index])


def test_a_missing_image_is_an_input_error(prepared: Path) -> None:
    table = read_manifest(prepared).head(2).assign(image_id="gone")
    with pytest.raises(InputError, match=r"gone\.png.*dvc repro -f prepare"):
        load_images(prepared, table)


def test_a_folder_becomes_a_manifest(make_folder: MakeFolder, tmp_path: Path) -> None:
    table = prepare_folder(make_folder(kermany()), tmp_path / "out")
    assert sorted(table["file"]) == sorted(kermany())
    assert set(table["mask"]) == {""}
    splits = dict(zip(table["file"], table["split"], strict=True))
    assert {file for file, split in splits.items() if split == "test"} == {
        file for file in kermany() if file.startswith("test/")
    }
    first, second = (splits[f"train/PNEUMONIA/person1_bacteria_{n}.jpeg"] for n in (1, 2))
    assert first == second


def test_identical_files_are_kept_with_different_ids(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    files = kermany()
    original = "train/PNEUMONIA/person1_bacteria_1.jpeg"
    copies = [original.replace("_1.", f"_{number}.") for number in (7, 8)]
    files |= dict.fromkeys(copies, files[original])
    table = prepare_folder(make_folder(files), tmp_path / "out").set_index("file")
    assert len(table) == len(files)
    image_id = hashlib.sha256(files[original]).hexdigest()[:16]
    names = [image_id, f"{image_id}-1", f"{image_id}-2"]
    assert table.loc[[original, *copies], "image_id"].tolist() == names
    stored = {image_path(tmp_path / "out", name).read_bytes() for name in names}
    assert len(stored) == 1


def test_all_bad_files_are_listed_at_once_with_name_and_reason(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    bad = {
        "train/NORMAL/empty.jpeg": (b"", "the file is empty"),
        "train/PNEUMONIA/text.jpeg": (b"just text\n", "not a JPEG, PNG or DICOM image"),
        "test/NORMAL/half.jpeg": (some_image(99)[:1000], "truncated or corrupt"),
    }
    root = make_folder(kermany() | {name: payload for name, (payload, _) in bad.items()})
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError) as caught:
        prepare(open_source(folder_params(root)), PARAMS, tmp_path / "out")
    *lines, total = str(caught.value).splitlines()
    assert total == f"3 of {len(kermany()) + 3} images cannot be read"
    assert sorted(line.split(": ")[0] for line in lines) == sorted(bad)
    for line in lines:
        name, reason = line.split(": ", 1)
        assert bad[name][1] in reason


BAD = {
    "train/PNEUMONIA/text.jpeg": b"just text\n",
    "train/NORMAL/IM-0117-0009.jpeg": b"",
    'test/NORMAL/half, "quoted".jpeg': some_image(99)[:1000],
}


def test_bad_files_in_quarantine_are_listed_and_the_rest_goes_on(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    root = make_folder(kermany() | BAD)
    for folder in (tmp_path / "out", tmp_path / "again"):
        folder.mkdir()
        done = prepare(open_source(folder_params(root)), QUARANTINE, folder)
        assert sorted(row.file for row in done.rows) == sorted(kermany())
    listed = read_quarantine(tmp_path / "out")
    assert [image.file for image in listed] == sorted(BAD)
    assert sorted(done.quarantined, key=lambda image: image.file) == listed
    by_file = {image.file: image for image in listed}
    empty = by_file["train/NORMAL/IM-0117-0009.jpeg"]
    assert (empty.label, empty.patient_id) == (0, "IM-0117")
    assert empty.reason == "the file is empty (0 bytes)"
    # Where it would be, had it been read: with the patient's other images.
    table = read_manifest(tmp_path / "out").set_index("file")
    assert empty.split == table.loc["train/NORMAL/IM-0117-0001.jpeg", "split"]
    assert by_file["train/PNEUMONIA/text.jpeg"].label == 1
    assert by_file['test/NORMAL/half, "quoted".jpeg'].split == "test"
    written = (tmp_path / "out" / "quarantine.csv").read_text()
    assert written == (tmp_path / "again" / "quarantine.csv").read_text()
    assert written.splitlines()[0] == "file,label,split,patient_id,reason"
    assert str(tmp_path) not in written


def test_a_set_without_bad_files_has_an_empty_quarantine(prepared: Path) -> None:
    content = (prepared / "quarantine.csv").read_text()
    assert content == "file,label,split,patient_id,reason\n"
    assert read_quarantine(prepared) == []


def test_a_quarantine_that_leaves_a_class_empty_is_an_error(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    files = kermany() | {"test/NORMAL/IM-0001-0001.jpeg": b"broken"}
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError) as caught:
        prepare(open_source(folder_params(make_folder(files))), QUARANTINE, tmp_path / "out")
    # No quarantine.csv is left to look into, so the reasons are said here.
    bad, total, problem = str(caught.value).splitlines()
    assert bad == "test/NORMAL/IM-0001-0001.jpeg: not a JPEG, PNG or DICOM image"
    assert total == f"1 of {len(files)} images cannot be read"
    assert problem.startswith("test: no NORMAL image")


def test_a_missing_file_is_named_without_its_folder(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    root = make_folder(kermany(["train/NORMAL/gone.jpeg"]))
    images = open_source(folder_params(root))
    (root / "train/NORMAL/gone.jpeg").unlink()
    (tmp_path / "out").mkdir()
    done = prepare(images, QUARANTINE, tmp_path / "out")
    assert [image.reason for image in done.quarantined] == ["No such file or directory"]


def test_an_unwritable_folder_is_not_reported_as_a_bad_image(
    make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A full disk must not quarantine the images that it has no room for.
    images = open_source(folder_params(make_folder(kermany())))
    with pytest.raises(InputError, match=r"out: No such file or directory"):
        prepare(images, QUARANTINE, tmp_path / "out")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "out").mkdir()
    monkeypatch.setattr("pneumonia.datasets.prepare.Parallel", lambda **_: list)
    monkeypatch.setattr("pneumonia.datasets.prepare.encode_png", full)
    monkeypatch.setattr("pneumonia.datasets.prepare.delayed", lambda function: function)
    with pytest.raises(InputError, match=r"^disk full while writing .*out: free some space"):
        prepare(images, QUARANTINE, tmp_path / "out")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_run_keeps_the_previous_output(
    make_folder: MakeFolder, tmp_path: Path, error: type[BaseException]
) -> None:
    images = open_source(folder_params(make_folder(kermany())))
    former = tmp_path / "out"
    former.mkdir()
    (former / "kept").write_text("former")
    images[-1] = replace(images[-1], read=partial(_raise, error))
    with pytest.raises(error), replaced(former) as folder:
        prepare(images, PARAMS, folder)
    assert folder_hash(former).keys() == {"kept"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


def _raise(error: type[BaseException]) -> None:
    raise error


@pytest.mark.parametrize("official", [True, False])
def test_the_test_split_is_that_of_the_source_or_drawn_by_patient(
    make_folder: MakeFolder, tmp_path: Path, official: bool
) -> None:
    names = [f"train/NORMAL/IM-{n:04d}-0001.jpeg" for n in range(2, 102)]
    names += [f"test/PNEUMONIA/person{n}_virus_1.jpeg" for n in range(100)]
    images = open_source(folder_params(make_folder(kermany(names))))
    params = prepare_params(0.12, official_test=official, test=0.2)
    drawn = {image.file: image.split for image in assign_splits(images, params)}
    test = {file for file, split in drawn.items() if split == "test"}
    if official:
        assert test == {image.file for image in images if image.split == "test"}
    else:
        for kind in ("IM-0", "virus"):
            assert 16 <= sum(kind in file for file in test) <= 24


def test_a_test_split_that_the_source_lacks_is_drawn(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    names = [f"train/NORMAL/IM-{n:04d}-0001.jpeg" for n in range(2, 42)]
    names += [f"train/PNEUMONIA/person{n}_virus_1.jpeg" for n in range(40)]
    files = {n: d for n, d in kermany(names).items() if not n.startswith("test/")}
    (tmp_path / "out").mkdir()
    images = open_source(folder_params(make_folder(files)))
    prepare(images, prepare_params(0.3, test=0.3), tmp_path / "out")
    assert set(read_manifest(tmp_path / "out")["split"]) == {"train", "val", "test"}


def test_a_split_without_a_class_is_named(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder(
        {f: d for f, d in kermany().items() if "_virus" not in f and "0117" not in f}
    )
    patients = ["IM-0115", "NORMAL2-IM-0115"]
    seed = next(s for s in range(999) if not any(in_validation(p, 0.1, s) for p in patients))
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"^val: no NORMAL image after the split by patient"):
        prepare(open_source(folder_params(root)), prepare_params(0.1, seed), tmp_path / "out")


def test_the_former_folder_is_untouched_where_a_stage_fails(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "kept").write_text("former")
    with pytest.raises(RuntimeError), replaced(folder) as writing:
        (writing / "new").write_text("half")
        assert folder_hash(folder).keys() == {"kept"}
        raise RuntimeError
    assert (folder / "kept").read_text() == "former"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    for content in ("first", "second"):
        with replaced(folder) as writing:
            assert not list(writing.iterdir())
            (writing / content).write_text(content)
        assert folder_hash(folder).keys() == {content}
        assert [path.name for path in folder.parent.iterdir()] == ["out"]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where a folder should be")
    with (
        pytest.raises(InputError, match=r"data/prepared\.writing: Not a directory$"),
        replaced(tmp_path / "data" / "prepared"),
    ):
        raise AssertionError("written")


def test_remains_of_an_interrupted_run_are_removed(tmp_path: Path) -> None:
    for left in ("out", "out.writing", "out.former.writing"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "rest").write_text("rest")
    with replaced(tmp_path / "out") as writing:
        (writing / "new").write_text("new")
    assert folder_hash(tmp_path).keys() == {"out/new"}


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("image_id", "same", "image_id repeats"),
        ("label", 2, "label is not 0 or 1"),
        ("subtype", "fungus", "subtype is not one of"),
        ("split", "holdout", "split is not one of"),
        ("patient_id", "", "patient_id is empty"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_neither_written_nor_read(
    prepared: Path, tmp_path: Path, column: str, value: object, reason: str
) -> None:
    table = read_manifest(prepared).assign(**{column: value})
    broken = [ManifestRow(**row) for row in table.to_dict("records")]
    with pytest.raises(InputError, match=rf"manifest\.csv: {reason}"):
        write_manifest(tmp_path, broken)
    assert not list(tmp_path.iterdir())
    table.to_csv(tmp_path / "manifest.csv", index=False)
    with pytest.raises(InputError, match=rf"manifest\.csv: {reason}"):
        read_manifest(tmp_path)


def test_an_unsorted_or_other_table_is_refused(prepared: Path, tmp_path: Path) -> None:
    table = read_manifest(prepared)
    for other, reason in (
        (table[::-1], "not sorted"),
        (table.drop(columns="mask"), "columns are"),
        (table.head(0), "no image"),
    ):
        other.to_csv(tmp_path / "manifest.csv", index=False)
        with pytest.raises(InputError, match=reason):
            read_manifest(tmp_path)


def test_a_manifest_is_written_as_pandas_writes_it(tmp_path: Path) -> None:
    rows = [
        ManifestRow(f"{name:016x}", file, 0, "normal", patient, "train", 9, 8, "L", 7, "")
        for name, (file, patient) in enumerate(
            [("a,b.png", "0001"), ('the "left".png', " p"), ("é ü.png", "NA"), ("x\ty", "1.0")]
        )
    ]
    write_manifest(tmp_path, rows[::-1])
    written = (tmp_path / "manifest.csv").read_text(encoding="utf-8")
    assert written == pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")


@pytest.mark.parametrize("content", [None, b"", b'a,b\n"1,2\n', b"\xff\xfe"])
def test_a_missing_or_broken_manifest_is_an_input_error(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"manifest\.csv"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("names", [["007", "8", "09"], ["NA", "1.0", "null"]])
def test_names_that_look_like_numbers_or_nan_stay_text(
    prepared: Path, tmp_path: Path, names: list[str]
) -> None:
    table = read_manifest(prepared).head(3)
    ids = ["0000000000000012", "1000000000000e12", "2000000000000000"]
    # DICOM files often have no ending, and "1" is Pillow's name of black and white.
    table = table.assign(image_id=ids, patient_id=names, file=names, mode="1")
    table.to_csv(tmp_path / "manifest.csv", index=False)
    read = read_manifest(tmp_path)
    assert read["image_id"].tolist() == ids
    assert read["patient_id"].tolist() == names
    assert read["file"].tolist() == names
    assert read["mode"].tolist() == ["1"] * 3


def test_training_requires_the_audit_of_its_own_data(prepared: Path, tmp_path: Path) -> None:
    audit, other = tmp_path / "audit.json", tmp_path / "other"
    with pytest.raises(InputError, match="no such file"):
        require_audit(prepared, audit)
    audit.write_text(json.dumps({"data_digest": digest(prepared)}))
    require_audit(prepared, audit)
    shutil.copytree(prepared, other)
    first = image_path(other, read_manifest(other)["image_id"].iloc[0])
    first.write_bytes(encode_png(255 - read_grey(first)))
    with pytest.raises(InputError, match="of other data"):
        require_audit(other, audit)
