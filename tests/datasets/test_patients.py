"""Patient ids from the user's own rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumonia.core.errors import InputError
from pneumonia.datasets.sources import open_source
from tests.conftest import MakeFolder, folder_params, kermany


def patients(root: Path, **given: str) -> dict[str, str]:
    return {image.file: image.patient_id for image in open_source(folder_params(root, **given))}


def complaint(root: Path, **given: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        patients(root, **given)
    return str(caught.value).splitlines()


def write(root: Path, *lines: str) -> str:
    path = root / "patients.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_a_pattern_is_searched_for_in_the_name_alone(make_folder: MakeFolder) -> None:
    found = patients(make_folder(kermany()), patient_pattern=r"(?P<patient>(person|IM-)\d+)")
    assert found["train/PNEUMONIA/person1_bacteria_1.jpeg"] == "person1"
    assert found["train/PNEUMONIA/person1_virus_6.jpeg"] == "person1"
    assert found["train/NORMAL/NORMAL2-IM-0115-0001.jpeg"] == "IM-0115"
    anchored = patients(make_folder(kermany()), patient_pattern=r"^(?P<patient>[a-zA-Z]+)")
    assert set(anchored.values()) == {"person", "IM", "NORMAL"}


def test_images_that_a_pattern_leaves_without_a_patient_are_all_named(
    make_folder: MakeFolder,
) -> None:
    pattern = r"(?P<patient>person\d+)|IM-0117"
    *lines, total = complaint(make_folder(kermany()), patient_pattern=pattern)
    normal = [name for name in sorted(kermany()) if "/NORMAL/" in name]
    assert [line.split(": ")[0] for line in lines] == normal
    assert all(line.endswith(f"does not match data.patient_pattern {pattern!r}") for line in lines)
    assert total == f"{len(normal)} of {len(kermany())} images have no patient"


def test_a_table_gives_every_image_its_patient(make_folder: MakeFolder) -> None:
    root = make_folder(kermany())
    rows = {name: f"p{number // 2}" for number, name in enumerate(kermany())}
    lines = [f"./{name},{patient}" for name, patient in rows.items()]
    path = write(root, "file,patient_id", *lines, "other/image.png,p9", lines[0])
    assert patients(root, patient_csv=path) == rows


def test_images_missing_from_a_table_are_all_named(make_folder: MakeFolder) -> None:
    root = make_folder(kermany())
    kept, *gone = sorted(kermany())
    path = write(root, "file,patient_id", f"{kept},p1")
    *lines, total = complaint(root, patient_csv=path)
    assert lines == [f"{name}: not in data.patient_csv {path}" for name in gone]
    assert total == f"{len(gone)} of {len(kermany())} images have no patient"


def test_contradicting_and_empty_rows_are_named_with_their_line(
    make_folder: MakeFolder,
) -> None:
    root = make_folder(kermany())
    path = write(root, "file,patient_id", "a.png,p1", "a.png,p2", "b.png,")
    assert complaint(root, patient_csv=path) == [
        f"{path}:3: a.png: another row has another patient_id",
        f"{path}:4: b.png: patient_id is empty",
    ]


def test_a_table_outside_the_data_is_refused(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder(kermany())
    path = write(tmp_path, "file,patient_id", "a.png,p1")
    for outside in (path, f"{root}/../patients.csv"):
        assert complaint(root, patient_csv=outside) == [
            f"data.patient_csv: {Path(outside)}: must lie in data.path, {root}"
        ]
    assert complaint(root, patient_csv=f"{root}/gone.csv") == [f"{root}/gone.csv: no such file"]


def test_two_rules_at_once_are_refused(make_folder: MakeFolder) -> None:
    root = make_folder(kermany())
    path = write(root, "file,patient_id", "a.png,p1")
    (line,) = complaint(root, patient_csv=path, patient_pattern="(?P<patient>.)")
    assert line.endswith("give one of them, not both")
