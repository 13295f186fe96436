"""What a DICOM header says of the view and of the patient's age, for who wants to warn of it.

Only the tags below are read; nothing that names a patient is among them, not even the day of birth.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag

from pneumonia.data.dicom import MAX_VALUE, PIXEL_DATA, UNDEFINED, Reader

TAGS: list[BaseTag | int] = [
    Tag(keyword)
    for keyword in ("BodyPartExamined", "PatientAge", "ViewCodeSequence", "ViewPosition")
]
# PS3.3 2024c, C.8.11.5, and what is written besides; decubitus views are frontal.
LATERAL_POSITIONS = ("LL", "RL", "LLO", "RLO", "LAT", "LATERAL")
# PS3.16, CID 4010: right, left and plain lateral, in SNOMED CT and as SNOMED RT had it.
LATERAL_CODES = ("399198007", "399173006", "399067008", "R-10232", "R-10236", "R-102CD")
CHEST_PARTS = ("CHEST", "THORAX", "LUNG", "RIB", "STERNUM", "HEART")
YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1}  # PS3.5, 6.2, VR AS


@dataclass(frozen=True)
class DicomView:
    """What a header says; nothing where it does not.

    Attributes:
        lateral: the view is lateral or oblique.
        chest: the body part is the chest; None where none is named.
        age: of the patient, years.
    """

    lateral: bool = False
    chest: bool | None = None
    age: float | None = None


def read_view(payload: bytes) -> DicomView:
    """Read the header of a DICOM file, at most 64 MiB; a damaged one says nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _view(_header(payload))
    except Exception:
        # pydicom raises nearly anything on a damaged file. Who decodes it has told its sender.
        return DicomView()


def _header(payload: bytes) -> Dataset:
    reader = Reader(payload)
    reader.seek(132)
    meta = read_dataset(reader, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    syntax = uid.UID(meta.TransferSyntaxUID)
    return read_dataset(
        reader,
        syntax.is_implicit_VR,
        syntax.is_little_endian,
        stop_when=_at_pixels,
        specific_tags=TAGS,
    )


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    """Whether the header ends here, at the pixels or at a tag too long to be one of ours."""
    return tag >= PIXEL_DATA or (tag in TAGS and MAX_VALUE < length < UNDEFINED)


def _view(header: Dataset) -> DicomView:
    part = str(header.get("BodyPartExamined") or "").upper()
    position = str(header.get("ViewPosition") or "").strip().upper()
    codes = [str(item.get("CodeValue")) for item in header.get("ViewCodeSequence") or []]
    age = re.fullmatch(r"(\d{3})([DWMY])", str(header.get("PatientAge") or "").strip())
    return DicomView(
        lateral=position in LATERAL_POSITIONS or any(code in LATERAL_CODES for code in codes),
        chest=any(name in part for name in CHEST_PARTS) if part.strip() else None,
        age=int(age[1]) * YEARS[age[2]] if age else None,
    )
