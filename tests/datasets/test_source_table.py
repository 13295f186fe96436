"""The source table: valid tables, and all problems of an invalid one at once."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from pneumonia.core.errors import InputError
from pneumonia.datasets.manifest import SourceImage, read_manifest
from pneumonia.datasets.prepare import prepare
from pneumonia.datasets.sources import open_source
from tests.conftest import data_params, prepare_params

FILES = [f"{folder}/{number}.dcm" for folder in ("a", "b") for number in range(10)]


def dicom_bytes(seed: int) -> bytes:
    """A small digital radiograph."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(seed)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID = meta.MediaStorageSOPClassUID
    image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    image.Modality, image.PatientID, image.PatientName = "DX", "secret", "Secret^Name"
    image.PhotometricInterpretation, image.SamplesPerPixel = "MONOCHROME2", 1
    image.Rows, image.Columns = 40, 48
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    pixels = np.random.default_rng(seed).integers(0, 4096, (40, 48), dtype=np.uint16)
    image.PixelData = pixels.tobytes()
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, image, enforce_file_format=True)
    return buffer.getvalue()


def make(folder: Path, *lines: str, files: dict[str, bytes] | None = None) -> Path:
    """A folder of files, empty unless given, with `labels.csv` of these lines."""
    for name, payload in (files or dict.fromkeys(FILES, b"")).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(payload)
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def listed(root: Path) -> dict[str, SourceImage]:
    return {image.file: image for image in open_source(data_params("table", root))}


def problems(root: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        listed(root)
    return [line.removeprefix(f"{root / 'labels.csv'}:") for line in str(caught.value).splitlines()]


def test_labels_are_words_or_numbers_in_any_case(tmp_path: Path) -> None:
    labels = ["NORMAL", "normal", " 0 ", "PNEUMONIA", "Pneumonia", "1"]
    lines = [f"a/{n}.dcm,{label}" for n, label in enumerate(labels)]
    images = listed(make(tmp_path, "file,label", *lines))
    assert [images[f"a/{n}.dcm"].label for n in range(6)] == [0, 0, 0, 1, 1, 1]
    assert {image.subtype for image in images.values()} == {"normal", "unknown"}
    assert {image.split for image in images.values()} == {"train"}


def test_without_patients_each_image_is_its_own(tmp_path: Path) -> None:
    # The same name in two folders is, as a rule, two patients.
    lines = [f"{folder}/{n}.dcm,{n}" for folder in "ab" for n in (0, 1)]
    images = listed(make(tmp_path, "file,label", *lines))
    assert {image.patient_id for image in images.values()} == {"a/0", "a/1", "b/0", "b/1"}


def test_files_named_by_a_uid_are_patients_of_their_own(tmp_path: Path) -> None:
    names = ["1.2.840.1", "1.2.840.2", "1.2.840.3.dcm", "1.2.840.4.DCM"]
    lines = [f"{name},{n % 2}" for n, name in enumerate(names)]
    images = listed(make(tmp_path, "file,label", *lines, files=dict.fromkeys(names, b"")))
    assert sorted(image.patient_id for image in images.values()) == [
        "1.2.840.1", "1.2.840.2", "1.2.840.3", "1.2.840.4",
    ]  # fmt: skip


def test_patients_splits_and_other_columns_in_any_order(tmp_path: Path) -> None:
    images = listed(
        make(
            tmp_path,
            "\ufeffsplit,age,label,patient_id,file",
            "train,3,0,p1,a/0.dcm",
            "val,4,1,p2,./a//1.dcm",
            'test,"4,5",1,p3,a/2.dcm',
            "",
            "test,5,0,p3,b/3.dcm",
            "train,4,1,p2,b/4.dcm",
        )
    )
    found = {file: (image.patient_id, image.split) for file, image in images.items()}
    assert found == {
        "a/0.dcm": ("p1", "train"),
        "a/1.dcm": ("p2", "train"),
        "a/2.dcm": ("p3", "test"),
        "b/3.dcm": ("p3", "test"),
        "b/4.dcm": ("p2", "train"),
    }


def test_endings_of_images_are_not_part_of_the_patient(tmp_path: Path) -> None:
    names = ["a.dcm", "b.PNG", "c.jpeg", "d.jpg", "1.2.840.7"]
    lines = [f"{name},{n % 2}" for n, name in enumerate(names)]
    images = listed(make(tmp_path, "file,label", *lines, files=dict.fromkeys(names, b"")))
    assert {image.patient_id for image in images.values()} == {"a", "b", "c", "d", "1.2.840.7"}


def test_images_that_no_row_names_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["a.dcm", "b.png", "sub/Miller^Ann.DCM", "sub/c.jpeg", "sub/.d.png", "notes.txt"]
    root = make(tmp_path, "file,label", "a.dcm,0", "b.png,1", files=dict.fromkeys(files, b""))
    assert set(listed(root)) == {"a.dcm", "b.png"}
    told = capsys.readouterr().err
    assert told == f"{root}/labels.csv: image files left out because no row names them: 2\n"


def test_an_image_reads_its_own_bytes(tmp_path: Path) -> None:
    root = make(tmp_path, "file,label", "a.dcm,0", "b.dcm,1", files={"a.dcm": b"1", "b.dcm": b"2"})
    assert {file: image.read() for file, image in listed(root).items()} == {
        "a.dcm": (b"1", None),
        "b.dcm": (b"2", None),
    }


def test_all_problems_are_named_at_once_with_their_lines(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        "file,label,patient_id,split",
        "a/0.dcm,NORMAL,p1,train",
        "a/gone.dcm,NORMAL,p2,train",
        "../a/1.dcm,NORMAL,p3,train",
        "/etc/passwd,NORMAL,p3,train",
        "a/2.dcm,healthy,p3,train",
        "a//0.dcm,PNEUMONIA,p1,train",
        "a/3.dcm,1,,holdout",
        "a/4.dcm,1,p1,test",
        ",1,p9,test",
    )
    assert problems(root) == [
        "3: a/gone.dcm: no such file",
        f"4: ../a/1.dcm: outside {root}",
        f"5: /etc/passwd: outside {root}",
        "6: a/2.dcm: label is 'healthy', not NORMAL or PNEUMONIA, 0 or 1",
        "7: a/0.dcm: is in another row, too",
        "8: a/3.dcm: patient_id is empty",
        "8: a/3.dcm: split is 'holdout', not train or val or test",
        "10: .: file is empty",
        " patient p1 is in test and train; without the column split, patients are split here",
    ]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([""], "no column file, label"),
        (["file,class", "a/0.dcm,0"], "no column label"),
        (["file,label,label", "a/0.dcm,0,1"], "more than one column label"),
        (["file,label"], "no row"),
        (["file,label", "a/0.dcm", "a/1.dcm,0,x"], "2: 1 cells, not 2"),
        (["file,label", "a/0.dcm,0", "a/1.dcm,0"], "no row is labelled PNEUMONIA"),
        (["file,label", 'a/0.dcm,"0', "a/1.dcm,0"], "not a CSV file in UTF-8"),
    ],
)
def test_another_table_is_refused_with_the_reason(
    tmp_path: Path, lines: list[str], reason: str
) -> None:
    assert reason in problems(make(tmp_path, *lines))[0]


def test_a_table_in_another_encoding_and_none_at_all_are_named(tmp_path: Path) -> None:
    root = make(tmp_path, "file,label")
    (root / "labels.csv").write_bytes("file,label\nfür.dcm,0\n".encode("latin-1"))
    assert "not a CSV file in UTF-8" in problems(root)[0]
    (root / "labels.csv").unlink()
    assert problems(root) == [" no such file"]
    with pytest.raises(InputError, match=r"data\.path: .*nowhere: no such folder"):
        open_source(data_params("table", tmp_path / "nowhere"))


def test_a_set_is_prepared_with_its_test_drawn_by_patient(tmp_path: Path) -> None:
    files = {f"{n}.dcm": dicom_bytes(n) for n in range(40)}
    lines = [f"{name},{n % 2},p{n // 2 * 2 + n % 2}" for n, name in enumerate(files)]
    root = make(tmp_path / "source", "file,label,patient_id", *lines, files=files)
    (tmp_path / "out").mkdir()
    images = open_source(data_params("table", root))
    prepare(images, prepare_params(0.3, test=0.3), tmp_path / "out")
    table = read_manifest(tmp_path / "out")
    assert sorted(table["file"]) == sorted(files)
    assert set(table["split"]) == {"train", "val", "test"}
    assert set(zip(table["width"], table["height"], strict=True)) == {(48, 40)}
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*.*"))
    assert b"secret" not in written.lower()
