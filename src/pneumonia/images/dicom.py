"""From the stored pixels of a DICOM image to the grey of a viewer (chapters of PS3.3, 2024).

DICOM: one radiograph (CR, DX, RG) as the grey picture that its file means to show.

Only the tags below are read; nothing that names a patient is among them.

What a DICOM header says of the view and of the patient's age, for who wants to warn of it.

Only the tags below are read; nothing that names a patient is among them, not even the day of birth.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import MutableSequence
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag

from pneumonia.images.limits import (
    END_OF_IMAGE,
    MAX_PIXELS,
    ImageError,
    check_scans,
    check_size,
    jpeg_segments,
)

STRIP_PIXELS = 2**20


def shades(image: Dataset, codes: NDArray[Any], encapsulated: bool) -> NDArray[np.uint8]:
    """Grey of stored pixels: a table over all bit patterns, made once, looked up in strips.

    Modality table or rescale (C.11.1), then the first VOI table, else the first window (C.11.2);
    without both the range of the pixels that are used, or of Bits Stored where all are equal.
    MONOCHROME1 is inverted. Pixel padding (C.7.5.1.1.2) is black.

    Args:
        image: what the file says of its pixels; Bits Allocated is 8 or 16.
        codes: the bit patterns, uint8 or uint16, (Rows, Columns).
        encapsulated: whether a codec gave them.

    Returns:
        uint8, (Rows, Columns), 0 black to 255 white.

    Raises:
        ImageError: a window or table that cannot be.
    """
    patterns = np.arange(2**image.BitsAllocated)
    signed = image.get("PixelRepresentation") == 1
    top = 2**image.BitsStored - 1
    # A lossy codec may overshoot; above Bits Stored an uncompressed pixel may hold other things.
    stored = np.minimum(patterns, top) if encapsulated and not signed else patterns & top
    if signed:
        stored = np.where(stored > top // 2, stored - (top + 1), stored)
    padding = _padding(image, patterns)
    values = _rescaled(image, stored)
    grey = _windowed(image, values)
    if grey is None:
        used = np.zeros(len(patterns), bool)
        for strip in _strips(codes):
            used[strip] = True
        low, high = _range(values[used & ~padding], values)
        grey = (values - low) / (high - low)
    if image.PhotometricInterpretation == "MONOCHROME1":
        grey = 1 - grey
    table = np.rint(255 * np.clip(np.where(padding, 0, grey), 0, 1)).astype(np.uint8)
    shown = np.empty(codes.shape, np.uint8)
    for strip, out in zip(_strips(codes), _strips(shown), strict=True):
        np.take(table, strip, out=out)
    return shown


def _strips(pixels: NDArray[Any]) -> list[NDArray[Any]]:
    """Views of some rows each: NumPy makes 64-bit indices of what it looks up."""
    rows = max(1, STRIP_PIXELS // pixels.shape[1])
    return [pixels[top : top + rows] for top in range(0, len(pixels), rows)]


def _range(used: NDArray[np.float64], possible: NDArray[np.float64]) -> tuple[float, float]:
    if not len(used) or used.min() == used.max():
        used = possible
    if used.min() == used.max():
        return float(used.min()), float(used.min()) + 1
    return float(used.min()), float(used.max())


def _padding(image: Dataset, patterns: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Which bit patterns are no part of the image."""
    first = image.get("PixelPaddingValue")
    if first is None:
        return np.zeros(len(patterns), bool)
    last = image.get("PixelPaddingRangeLimit")
    ends = [int(end) % len(patterns) for end in (first, first if last is None else last)]
    if image.get("PixelRepresentation") == 1:
        half = len(patterns) // 2
        patterns = (patterns + half) % len(patterns)
        ends = [(end + half) % len(patterns) for end in ends]
    return (min(ends) <= patterns) & (patterns <= max(ends))


def _rescaled(image: Dataset, stored: NDArray[np.int_]) -> NDArray[np.float64]:
    if image.get("ModalityLUTSequence"):
        return _looked_up(image.ModalityLUTSequence[0], stored.astype(np.float64))[0]
    slope = _number(image, "RescaleSlope", 1.0)
    if slope == 0:
        raise ImageError("DICOM Rescale Slope 0")
    return stored.astype(np.float64) * slope + _number(image, "RescaleIntercept", 0.0)


def _windowed(image: Dataset, values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Shades, 0 to 1 within the window; None where the file has neither table nor window."""
    if image.get("VOILUTSequence"):
        shades, bits = _looked_up(image.VOILUTSequence[0], values)
        return shades / (2**bits - 1)
    center, width = (
        _number(image, "WindowCenter", math.nan),
        _number(image, "WindowWidth", math.nan),
    )
    if math.isnan(center) or math.isnan(width):
        return None
    function = image.get("VOILUTFunction") or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ImageError(f"DICOM VOI LUT function {function} is not known")
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise ImageError(f"DICOM Window Width {width:g}")
    if function == "SIGMOID":
        # C.11.2.1.3.1, 1 / (1 + exp(-4 x / w)), in a form that does not overflow.
        return np.asarray(0.5 + 0.5 * np.tanh(2 * (values - center) / width), np.float64)
    if function == "LINEAR":
        # C.11.2.1.2.1
        center, width = center - 0.5, width - 1
    if width == 0:
        return (values > center).astype(np.float64)
    return np.clip((values - center) / width + 0.5, 0, 1)


def _looked_up(item: Dataset, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Values through a table (C.11.1.1 and C.11.2.1.1), and the bits of its entries."""
    count, first, bits = (int(part) for part in item.LUTDescriptor)
    count = count or 2**16
    if not 8 <= bits <= 16:
        raise ImageError(f"DICOM table of {bits} bits, not 8 to 16")
    if first >= 2**15 and values.min() < 0:
        first -= 2**16
    data = item.LUTData
    if isinstance(data, bytes):
        wide = "<u2" if item.original_encoding[1] else ">u2"
        table = np.frombuffer(data, "u1" if len(data) <= count + count % 2 else wide)
    else:
        table = np.atleast_1d(np.asarray(data, dtype=np.int64)) & 0xFFFF
    if len(table) < count:
        raise ImageError(f"DICOM table of {len(table)} entries, {count} declared")
    index = np.clip(np.rint(values) - first, 0, count - 1).astype(np.int64)
    return table[:count][index].astype(np.float64), bits


def _number(image: Dataset, keyword: str, absent: float) -> float:
    """The first value of an element; infinite and nameless numbers are refused."""
    value = image.get(keyword)
    if isinstance(value, MutableSequence):
        value = value[0] if value else None
    if value is None or value == "":
        return absent
    if not math.isfinite(float(value)):
        raise ImageError(f"DICOM {keyword} {value}")
    return float(value)


MODALITIES = ("CR", "DX", "RG")
# Data elements are parsed one by one in Python, two or three reads each; an image has some hundreds.
MAX_READS = 20_000
# Bytes: of anything read but the pixels, of a sequence of tables (one of 16 bits has 2**17), and of
# the other tags below, where a long list would take seconds.
MAX_ELEMENT = 2**20
MAX_SEQUENCE = 400 * 2**10
MAX_VALUE = 2**10
MAX_TILES = 1_024  # of a JPEG 2000 picture; each costs memory before it is seen

PIXEL_DATA = Tag("PixelData")
CHARACTER_SET = Tag("SpecificCharacterSet")  # pydicom reads it unasked
TABLES = (Tag("ModalityLUTSequence"), Tag("VOILUTSequence"))
UNDEFINED = 2**32 - 1
TAGS: list[BaseTag | int] = [
    Tag(keyword)
    for keyword in (
        "Modality",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "RescaleIntercept",
        "RescaleSlope",
        "ModalityLUTSequence",
        "WindowCenter",
        "WindowWidth",
        "VOILUTFunction",
        "VOILUTSequence",
    )
]

NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_2000 = (uid.JPEG2000, uid.JPEG2000Lossless)
# CharLS, which reads JPEG-LS, loops for ever on some damaged streams; inflating is not bounded.
TRANSFER_SYNTAXES = (*NATIVE, *JPEG, *JPEG_2000, uid.RLELossless)

START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # ITU-T T.81, table B.1
CODESTREAM = b"\xff\x4f\xff\x51"  # ISO/IEC 15444-1, A.4.1 and A.5.1: SOC, SIZ


class Reader(io.BytesIO):
    """Bounds what parsing costs: elements without end, or one with a list without end."""

    def __init__(self, payload: bytes) -> None:
        super().__init__(payload)
        self.reads = 0
        self.longest = MAX_ELEMENT

    def read(self, size: int | None = -1) -> bytes:
        """Read as a file does; ImageError where it is too often or too much."""
        self.reads += 1
        if self.reads > MAX_READS:
            raise ImageError("a DICOM of too many data elements", "too_complex")
        found = super().read(size)
        if len(found) > self.longest:
            reason = f"a DICOM data element of over {MAX_ELEMENT // 2**20} MiB"
            raise ImageError(reason, "too_complex")
        return found


def read_dicom(payload: bytes, max_pixels: int = MAX_PIXELS) -> tuple[NDArray[np.uint8], str]:
    """Read a DICOM file (PS3.10, with preamble) of one radiograph.

    What its levels look like is in dicom_shades.py.

    Args:
        payload: the whole file, at most 64 MiB.
        max_pixels: of the picture; at most 40 million whatever is given.

    Returns:
        uint8, (Rows, Columns), 0 black to 255 white; and the photometric interpretation.

    Raises:
        ImageError: no radiograph, more than one frame or sample a pixel, a transfer syntax that is
            not read, out of bounds.py, truncated or corrupt.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read_dicom(payload, max_pixels)
    except ImageError:
        raise
    except Exception as error:
        # pydicom and the codecs raise nearly anything on a damaged file.
        raise ImageError(f"truncated or corrupt DICOM ({error})") from None


def _read_dicom(payload: bytes, max_pixels: int) -> tuple[NDArray[np.uint8], str]:
    reader = Reader(payload)
    reader.seek(132)
    meta = read_dataset(reader, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    syntax = uid.UID(meta.get("TransferSyntaxUID") or "")
    if not syntax:
        raise ImageError("DICOM without a transfer syntax")
    if syntax not in TRANSFER_SYNTAXES:
        raise ImageError(f"DICOM transfer syntax {syntax.name} is not read", "unsupported_dicom")
    image = read_dataset(
        reader,
        syntax.is_implicit_VR,
        syntax.is_little_endian,
        stop_when=_at_pixels,
        specific_tags=TAGS,
    )
    _check(image, syntax, max_pixels)
    reader.longest = len(payload)
    codes = _codes(image, _pixel_data(reader, syntax), syntax)
    grey = shades(image, codes, encapsulated=syntax.is_encapsulated)
    return grey, str(image.PhotometricInterpretation)


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    """Whether the header ends here; refuse what would be slow to parse before it is read."""
    if tag in TABLES:
        refused = MAX_SEQUENCE < length < UNDEFINED  # an undefined one is parsed while it is read
    else:
        refused = length > MAX_VALUE and (tag in TAGS or tag == CHARACTER_SET)
    if refused:
        raise ImageError(f"a DICOM data element {tag} that is too long", "too_complex")
    return tag >= PIXEL_DATA


def _pixel_data(reader: Reader, syntax: uid.UID) -> bytes:
    """The bytes of the pixels or of their one compressed stream; no other copy is left behind."""
    data = read_dataset(
        reader,
        syntax.is_implicit_VR,
        syntax.is_little_endian,
        stop_when=lambda tag, vr, length: tag > PIXEL_DATA,
    )
    if PIXEL_DATA not in data:
        raise ImageError("DICOM without pixel data, or truncated within it")
    value: bytes = data[PIXEL_DATA].value
    return get_frame(value, 0, number_of_frames=1) if syntax.is_encapsulated else value


def _check(image: Dataset, syntax: uid.UID, max_pixels: int) -> None:
    """Refuse by the header what is no single grey radiograph."""
    modality = image.get("Modality") or "missing"
    if modality not in MODALITIES:
        raise ImageError(f"DICOM modality {modality}, not CR, DX or RG", "not_a_radiograph")
    if "Rows" not in image or "Columns" not in image:
        reason = "DICOM without a picture (no Rows and Columns)"
        raise ImageError(reason, "not_a_radiograph")
    check_size(int(image.Columns), int(image.Rows), max_pixels)
    if int(image.get("NumberOfFrames") or 1) != 1:
        raise ImageError(f"DICOM of {image.NumberOfFrames} frames, not one", "not_a_radiograph")
    photometric = image.get("PhotometricInterpretation")
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or image.get("SamplesPerPixel", 1) != 1:
        reason = f"DICOM in colour ({photometric}), not MONOCHROME1 or MONOCHROME2"
        raise ImageError(reason, "not_a_radiograph")
    allocated, stored = image.get("BitsAllocated"), image.get("BitsStored")
    if allocated not in (8, 16):
        reason = f"DICOM Bits Allocated {allocated}, not 8 or 16"
        raise ImageError(reason, "unsupported_dicom")
    if not isinstance(stored, int) or not 1 <= stored <= allocated:
        reason = f"DICOM Bits Stored {stored}, not 1 to {allocated}"
        raise ImageError(reason, "unsupported_dicom")
    if image.get("HighBit", stored - 1) != stored - 1:
        reason = f"DICOM High Bit {image.HighBit}, not Bits Stored less one ({stored - 1})"
        raise ImageError(reason, "unsupported_dicom")
    if syntax == uid.ExplicitVRBigEndian and allocated == 8:
        reason = "DICOM in big endian (retired) of 8 bits is not read"
        raise ImageError(reason, "unsupported_dicom")


def _codes(image: Dataset, data: bytes, syntax: uid.UID) -> NDArray[Any]:
    """The stored pixels as bit patterns: uint8 or uint16, (Rows, Columns)."""
    shape = (int(image.Rows), int(image.Columns))
    kind = np.dtype(f"u{image.BitsAllocated // 8}").newbyteorder(
        "<" if syntax.is_little_endian else ">"
    )
    needed = math.prod(shape) * kind.itemsize
    if syntax in NATIVE:
        if len(data) < needed:
            raise ImageError(f"truncated DICOM: {len(data):,} of {needed:,} bytes of pixels")
        return np.frombuffer(data, kind, math.prod(shape)).reshape(shape)
    if syntax == uid.RLELossless:
        pixels = imagecodecs.dicomrle_decode(data, kind, out=needed)
        return np.frombuffer(pixels, kind, math.prod(shape)).reshape(shape)
    if syntax in JPEG_2000:
        # Some files hold a whole JP2 file around the codestream.
        data = data[max(0, data.find(CODESTREAM)) :]
        _check_codestream(_jpeg_2000_header(data), shape)
        found = imagecodecs.jpeg2k_decode(data, numthreads=1)
    else:
        _check_codestream(_jpeg_header(data), shape)
        check_scans(data, math.prod(shape))
        found = imagecodecs.jpeg8_decode(data)
    if found.shape != shape or found.dtype.itemsize > kind.itemsize:
        raise ImageError(f"corrupt DICOM: pixels of {found.dtype}, {kind} declared")
    # Of a signed codestream the bit pattern, as in an uncompressed file.
    return found.astype(f"i{kind.itemsize}" if found.dtype.kind == "i" else kind).view(kind)


def _jpeg_header(frame: bytes) -> tuple[int, int, int]:
    """Rows, columns and components that a JPEG stream declares (ITU-T T.81, B.2.2)."""
    segments = list(jpeg_segments(frame))
    if not segments or segments[-1][0] != END_OF_IMAGE:
        # The codec would fill the rest with grey.
        raise ImageError("truncated DICOM: its JPEG stream has no end")
    for marker, at in segments:
        if marker in START_OF_FRAME:
            rows, columns = (int.from_bytes(frame[at + k : at + k + 2]) for k in (3, 5))
            return rows, columns, frame[at + 7]
    raise ImageError("corrupt DICOM: no JPEG frame")


def _jpeg_2000_header(frame: bytes) -> tuple[int, int, int]:
    """Rows, columns and components that a codestream declares (ISO/IEC 15444-1, A.5.1)."""
    if not frame.startswith(CODESTREAM) or len(frame) < 45:
        raise ImageError("corrupt DICOM: no JPEG 2000 codestream")
    x, y, left, top, tile_x, tile_y, tile_left, tile_top = np.frombuffer(frame, ">u4", 8, 8)
    x, y, left, top = int(x), int(y), int(left), int(top)
    across = math.ceil((x - int(tile_left)) / max(1, int(tile_x)))
    down = math.ceil((y - int(tile_top)) / max(1, int(tile_y)))
    if across * down > MAX_TILES:
        reason = f"JPEG 2000 of {across * down:,} tiles: over {MAX_TILES:,}"
        raise ImageError(reason, "too_complex")
    return y - top, x - left, int.from_bytes(frame[40:42])


def _check_codestream(found: tuple[int, int, int], shape: tuple[int, int]) -> None:
    if found != (*shape, 1):
        raise ImageError(
            f"corrupt DICOM: the compressed picture has {found[1]}x{found[0]} px of {found[2]} "
            f"samples, the header {shape[1]}x{shape[0]} px of 1"
        )


VIEW_TAGS: list[BaseTag | int] = [
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
        stop_when=_at_view_end,
        specific_tags=VIEW_TAGS,
    )


def _at_view_end(tag: BaseTag, vr: str | None, length: int) -> bool:
    """Whether the header ends here, at the pixels or at a tag too long to be one of ours."""
    return tag >= PIXEL_DATA or (tag in VIEW_TAGS and MAX_VALUE < length < UNDEFINED)


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
