"""The images that a source lists, and their patients."""

from __future__ import annotations

import os
import pickle
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import get_args

import pytest

from pneumonia.core.config import DataParams
from pneumonia.core.errors import InputError
from pneumonia.datasets import sources
from pneumonia.datasets.sources import open_source
from pneumonia.datasets.sources.folder import parse_name
from pneumonia.images.decoding import decode
from pneumonia.images.limits import MAX_BYTES, ImageError
from tests.conftest import MakeFolder, folder_params, kermany, phantom_params


@pytest.mark.parametrize(
    ("name", "patient", "subtype"),
    [
        ("person12_bacteria_46.jpeg", "person12_bacteria", "bacteria"),
        ("person12_bacteria_47.jpeg", "person12_bacteria", "bacteria"),
        ("person12_virus_30.jpeg", "person12_virus", "virus"),
        ("IM-0115-0001.jpeg", "IM-0115", None),
        ("IM-0115-0001-0002.jpeg", "IM-0115", None),
        ("NORMAL2-IM-0115-0001.jpeg", "NORMAL2-IM-0115", None),
        ("NORMAL2-IM-0115-0001-0002.jpeg", "NORMAL2-IM-0115", None),
        ("person12.jpeg", "person12", None),
        ("person12_fungus_1.jpeg", "person12_fungus_1", None),
        ("my image.1.png", "my image.1", None),
        ("xperson12_virus_30.jpeg", "xperson12_virus_30", None),
    ],
)
def test_a_name_gives_its_patient_and_subtype(name: str, patient: str, subtype: str | None) -> None:
    assert parse_name(name) == (patient, subtype)


def test_the_series_distinguishes_patients_of_one_number() -> None:
    names = ["person12_bacteria_46.jpeg", "person12_virus_30.jpeg"]
    names += ["IM-0115-0001.jpeg", "NORMAL2-IM-0115-0001.jpeg"]
    assert len({parse_name(name)[0] for name in names}) == 4


def test_a_folder_is_listed_sorted_with_labels_patients_and_splits(make_folder: MakeFolder) -> None:
    images = open_source(folder_params(make_folder(kermany())))
    assert [image.file for image in images] == sorted(kermany())
    by_file = {image.file: image for image in images}
    virus = by_file["train/PNEUMONIA/person1_virus_6.jpeg"]
    assert (virus.label, virus.subtype, virus.split) == (1, "virus", "train")
    assert virus.patient_id == "person1_virus"
    normal = by_file["test/NORMAL/IM-0001-0001.jpeg"]
    assert (normal.label, normal.subtype, normal.split) == (0, "normal", "test")


def test_one_name_in_two_folders_is_one_patient(make_folder: MakeFolder) -> None:
    names = ["train/PNEUMONIA/SE0042.png", "test/PNEUMONIA/SE0042.jpeg"]
    images = open_source(folder_params(make_folder(kermany(names))))
    assert [image.patient_id for image in images if image.file in names] == ["SE0042"] * 2


def test_val_is_pooled_with_train(make_folder: MakeFolder) -> None:
    names = ["val/NORMAL/NORMAL2-IM-1427-0001.jpeg", "val/PNEUMONIA/person1946_bacteria_4874.jpeg"]
    images = open_source(folder_params(make_folder(kermany(names))))
    found = {image.file: image.split for image in images if image.file in names}
    assert found == dict.fromkeys(names, "train")
    assert {image.split for image in images} == {"train", "test"}


def test_hidden_and_other_files_are_left_out(make_folder: MakeFolder) -> None:
    strangers = [
        "train/NORMAL/.DS_Store",
        "train/NORMAL/._IM-0115-0001.jpeg",
        "train/NORMAL/.hidden.png",
        "train/NORMAL/notes.txt",
        "train/NORMAL/image.dcm",
        "README.jpeg",
    ]
    welcome = ["train/NORMAL/a.PNG", "train/NORMAL/b.jpg", "train/PNEUMONIA/sub/c.JPEG"]
    images = open_source(folder_params(make_folder(kermany([*strangers, *welcome]))))
    assert [image.file for image in images] == sorted(kermany(welcome))


def test_a_pneumonia_image_of_another_naming_is_of_unknown_subtype(make_folder: MakeFolder) -> None:
    images = open_source(folder_params(make_folder(kermany(["train/PNEUMONIA/a.png"]))))
    image = next(image for image in images if image.file.endswith("a.png"))
    assert (image.subtype, image.patient_id) == ("unknown", "a")


def test_an_image_reads_its_own_bytes_after_pickling(make_folder: MakeFolder) -> None:
    for image in open_source(folder_params(make_folder(kermany()))):
        assert pickle.loads(pickle.dumps(image)).read() == (kermany()[image.file], None)


def test_of_a_too_long_file_only_the_beginning_is_read(make_folder: MakeFolder) -> None:
    root = make_folder(kermany())
    image = open_source(folder_params(root))[0]
    with (root / image.file).open("r+b") as file:
        file.truncate(MAX_BYTES + 10)
    payload, _ = image.read()
    assert len(payload) == MAX_BYTES + 1
    with pytest.raises(ImageError, match="over 64 MiB"):
        decode(payload, 32)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_source(folder_params(tmp_path / "nowhere"))
    assert str(caught.value) == f"data.path: {tmp_path / 'nowhere'}: no such folder"


def test_missing_and_empty_classes_are_all_named(make_folder: MakeFolder) -> None:
    files = {name: data for name, data in kermany().items() if "train/PNEUMONIA" not in name}
    root = make_folder({n: d for n, d in files.items() if "test/NORMAL" not in n})
    (root / "test/NORMAL").mkdir()
    with pytest.raises(InputError) as caught:
        open_source(folder_params(root))
    missing, empty, layout = str(caught.value).splitlines()
    assert missing == f"{root / 'train/PNEUMONIA'}: no such folder"
    assert empty.startswith(f"{root / 'test/NORMAL'}: no .jpeg")
    assert str(root) in layout
    assert "{train,val,test}/{NORMAL,PNEUMONIA}" in layout


def test_without_a_test_folder_all_images_are_for_training(make_folder: MakeFolder) -> None:
    root = make_folder({n: d for n, d in kermany().items() if n.startswith("train/")})
    assert {image.split for image in open_source(folder_params(root))} == {"train"}


def test_a_source_is_a_module_and_its_name_in_the_params() -> None:
    known = get_args(DataParams.model_fields["source"].annotation)
    assert sorted(known) == sorted(module.name for module in iter_modules(sources.__path__))
    for name in known:
        assert callable(import_module(f"pneumonia.datasets.sources.{name}").open_source)


def test_a_file_name_that_is_no_text_is_named(make_folder: MakeFolder) -> None:
    strange = os.fsdecode(b"train/NORMAL/f\xfclm.png")
    root = make_folder(kermany([strange]))
    with pytest.raises(InputError, match=r"f\\udcfclm\.png': the name is not UTF-8"):
        open_source(folder_params(root))


@pytest.mark.parametrize("ending", ["\n", "\r", "\r\n", "\x85"])
def test_a_file_name_of_two_lines_is_named(make_folder: MakeFolder, ending: str) -> None:
    strange = f"train/NORMAL/a{ending}b.png"
    with pytest.raises(InputError) as caught:
        open_source(folder_params(make_folder(kermany([strange]))))
    assert str(caught.value) == f"{strange!a}: a line break in the name"


def test_a_val_with_one_class_missing_is_named(make_folder: MakeFolder) -> None:
    root = make_folder(kermany(["val/NORMAL/IM-0009-0001.jpeg"]))
    with pytest.raises(InputError, match=r"val/PNEUMONIA: no such folder"):
        open_source(folder_params(root))


def test_the_phantom_lists_as_many_images_as_asked_and_whole_patients() -> None:
    images = open_source(phantom_params(45))
    assert [image.file for image in images] == [f"phantom/{index:05d}.png" for index in range(45)]
    by_patient: dict[str, set[tuple[str, int, str]]] = {}
    for image in images:
        by_patient.setdefault(image.patient_id, set()).add(
            (image.split, image.label, image.subtype)
        )
    assert all(len(facts) == 1 for facts in by_patient.values())
    assert {image.split for image in images} == {"train", "test"}
    assert all((image.subtype == "normal") == (image.label == 0) for image in images)


def test_the_phantom_numbers_patients_within_their_subtype() -> None:
    ids = {image.subtype: set[str]() for image in open_source(phantom_params(70))}
    for image in open_source(phantom_params(70)):
        ids[image.subtype].add(image.patient_id)
    for subtype, count in (("normal", 16), ("bacteria", 12), ("virus", 12)):
        assert ids[subtype] == {f"phantom-{subtype}-{number:05d}" for number in range(count)}
