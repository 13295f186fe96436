"""Decode a DICOM radiograph (CR, DX, RG) into grey values, as a DICOM viewer would show it.

Only the tags listed here are read. None of them names a patient; the date of birth is not read.
Chapter numbers such as C.11.2 refer to DICOM PS3.3, 2024.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, MutableSequence
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

from pneumonia.images import limits
from pneumonia.images.limits import MAX_PIXELS, ImageError

MODALITIES = ("CR", "DX", "RG")
# pydicom reads two or three times for each data element; a file has some hundred elements.
MAX_READS = 20_000
MAX_ELEMENT = 2**20  # bytes in one read, except for the pixels
MAX_SEQUENCE = 400 * 2**10  # bytes in a sequence of lookup tables; a 16-bit table has 2**17 bytes
MAX_VALUE = 2**10  # bytes in any other tag; a long list would take seconds to parse
MAX_TILES = 1_024  # tiles in a JPEG 2000 image; each tile needs memory before it is decoded
STRIP_PIXELS = 2**20  # pixels looked up at a time

PIXEL_DATA = Tag("PixelData")
CHARACTER_SET = Tag("SpecificCharacterSet")  # pydicom always reads it
TABLES = (Tag("ModalityLUTSequence"), Tag("VOILUTSequence"))
UNDEFINED = 2**32 - 1  # this length of an element means that its length is not given
TAGS: list[BaseTag | int] = [
    Tag(keyword) for keyword in (
        "Modality", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows",
        "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
        "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleIntercept", "RescaleSlope",
        "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
    )
]  # fmt: skip

NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_2000 = (uid.JPEG2000, uid.JPEG2000Lossless)
# JPEG-LS is missing, because its decoder CharLS never returns from some damaged streams. Deflated
# files are missing, because their size has no limit.
TRANSFER_SYNTAXES = (*NATIVE, *JPEG, *JPEG_2000, uid.RLELossless)

START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # ITU-T T.81, table B.1
CODESTREAM = b"\xff\x4f\xff\x51"  # ISO/IEC 15444-1, A.4.1 and A.5.1: SOC, SIZ

VIEW_TAGS: list[BaseTag | int] = [
    Tag(keyword)
    for keyword in ("BodyPartExamined", "PatientAge", "ViewCodeSequence", "ViewPosition")
]
# Values of C.8.11.5 and other common values. Decubitus views are not here: they are frontal.
LATERAL_POSITIONS = ("LL", "RL", "LLO", "RLO", "LAT", "LATERAL")
# Right, left and unspecified lateral view, in SNOMED CT and in SNOMED RT (PS3.16, CID 4010).
LATERAL_CODES = ("399198007", "399173006", "399067008", "R-10232", "R-10236", "R-102CD")
CHEST_PARTS = ("CHEST", "THORAX", "LUNG", "RIB", "STERNUM", "HEART")
YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1}  # units of age (PS3.5, 6.2, AS)


@dataclass(frozen=True)
class DicomView:
    """The view, body part and age in a DICOM header; a missing value leaves its default."""

    lateral: bool = False  #: whether the view is lateral or oblique
    chest: bool | None = None  #: whether the body part is the chest; None if no body part is given
    age: float | None = None  #: the patient's age, years


def read_dicom(payload: bytes, max_pixels: int = MAX_PIXELS) -> tuple[NDArray[np.uint8], str]:
    """Decode a DICOM file (PS3.10, with preamble) of one radiograph; at most 64 MiB.

    Returns:
        The pixels, uint8, (Rows, Columns), 0 black to 255 white; the photometric interpretation.

    Raises:
        ImageError: the file is no radiograph, has several frames or colours, has an unsupported
            transfer syntax, exceeds the limits, or is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read_dicom(payload, max_pixels)
    except ImageError:
        raise
    except Exception as error:
        # pydicom and the codecs raise many types of exception for a damaged file.
        raise ImageError(f"truncated or corrupt DICOM ({error})") from None


def read_view(payload: bytes) -> DicomView:
    """Read the header of a DICOM file of at most 64 MiB; a damaged file gives the defaults."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = _read(*_open(payload), _after_view, VIEW_TAGS)
            part = str(header.get("BodyPartExamined") or "").upper()
            position = str(header.get("ViewPosition") or "").strip().upper()
            codes = [str(item.get("CodeValue")) for item in header.get("ViewCodeSequence") or []]
            age = re.fullmatch(r"(\d{3})([DWMY])", str(header.get("PatientAge") or "").strip())
            return DicomView(
                lateral=position in LATERAL_POSITIONS or not set(codes).isdisjoint(LATERAL_CODES),
                chest=any(name in part for name in CHEST_PARTS) if part.strip() else None,
                age=int(age[1]) * YEARS[age[2]] if age else None,
            )
    except Exception:
        # pydicom raises many types of exception. Decoding the same file reports the damage.
        return DicomView()


class _Reader(io.BytesIO):
    """A file that limits the number and the length of reads, to limit the time for parsing."""

    def __init__(self, payload: bytes) -> None:
        super().__init__(payload)
        self.reads = 0
        self.longest = MAX_ELEMENT

    def read(self, size: int | None = -1) -> bytes:
        """Read like any file; raise an ImageError if a limit is exceeded."""
        self.reads += 1
        if self.reads > MAX_READS:
            raise ImageError("a DICOM of too many data elements", "too_complex")
        content = super().read(size)
        if len(content) > self.longest:
            limit = f"{MAX_ELEMENT // 2**20} MiB"
            raise ImageError(f"a DICOM data element of over {limit}", "too_complex")
        return content


def _open(payload: bytes) -> tuple[_Reader, uid.UID]:
    """Read the file meta information. Return the reader (now after it) and the transfer syntax."""
    reader = _Reader(payload)
    reader.seek(132)
    meta = read_dataset(reader, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    return reader, uid.UID(meta.get("TransferSyntaxUID") or "")


def _read(
    reader: _Reader,
    syntax: uid.UID,
    stop_when: Callable[[BaseTag, str | None, int], bool],
    tags: list[BaseTag | int] | None = None,
) -> Dataset:
    implicit, little_endian = syntax.is_implicit_VR, syntax.is_little_endian
    return read_dataset(reader, implicit, little_endian, stop_when=stop_when, specific_tags=tags)


def _read_dicom(payload: bytes, max_pixels: int) -> tuple[NDArray[np.uint8], str]:
    reader, syntax = _open(payload)
    if not syntax:
        raise ImageError("DICOM without a transfer syntax")
    if syntax not in TRANSFER_SYNTAXES:
        raise ImageError(f"DICOM transfer syntax {syntax.name} is not read", "unsupported_dicom")
    image = _read(reader, syntax, _at_pixels, TAGS)
    _check(image, syntax, max_pixels)
    reader.longest = len(payload)
    data = _read(reader, syntax, lambda tag, vr, length: tag > PIXEL_DATA)
    if PIXEL_DATA not in data:
        raise ImageError("DICOM without pixel data, or truncated within it")
    value: bytes = data[PIXEL_DATA].value
    del data  # frees the second copy of a compressed image
    if syntax.is_encapsulated:
        value = get_frame(value, 0, number_of_frames=1)
    grey = _grey(image, _codes(image, value, syntax), syntax.is_encapsulated)
    return grey, str(image.PhotometricInterpretation)


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    """Whether the header ends at this tag; refuse an element that would be slow to parse."""
    if tag in TABLES:
        refused = MAX_SEQUENCE < length < UNDEFINED  # undefined length: pydicom reads it in parts
    else:
        refused = length > MAX_VALUE and (tag in TAGS or tag == CHARACTER_SET)
    if refused:
        raise ImageError(f"a DICOM data element {tag} that is too long", "too_complex")
    return tag >= PIXEL_DATA


def _check(image: Dataset, syntax: uid.UID, max_pixels: int) -> None:
    """Read the header, and refuse a file that is not a single grey radiograph."""
    modality = image.get("Modality") or "missing"
    if modality not in MODALITIES:
        raise ImageError(f"DICOM modality {modality}, not CR, DX or RG", "not_a_radiograph")
    if "Rows" not in image or "Columns" not in image:
        raise ImageError("DICOM without an image (no Rows and Columns)", "not_a_radiograph")
    limits.check_size(int(image.Columns), int(image.Rows), max_pixels)
    if int(image.get("NumberOfFrames") or 1) != 1:
        raise ImageError(f"DICOM of {image.NumberOfFrames} frames, not one", "not_a_radiograph")
    photometric = image.get("PhotometricInterpretation")
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or image.get("SamplesPerPixel", 1) != 1:
        reason = f"DICOM in colour ({photometric}), not MONOCHROME1 or MONOCHROME2"
        raise ImageError(reason, "not_a_radiograph")
    allocated, stored = image.get("BitsAllocated"), image.get("BitsStored")
    reason = ""
    if allocated not in (8, 16):
        reason = f"DICOM Bits Allocated {allocated}, not 8 or 16"
    elif not isinstance(stored, int) or not 1 <= stored <= allocated:
        reason = f"DICOM Bits Stored {stored}, not 1 to {allocated}"
    elif image.get("HighBit", stored - 1) != stored - 1:
        reason = f"DICOM High Bit {image.HighBit}, not Bits Stored less one ({stored - 1})"
    elif syntax == uid.ExplicitVRBigEndian and allocated == 8:
        reason = "DICOM in big endian (retired) of 8 bits is not read"
    if reason:
        raise ImageError(reason, "unsupported_dicom")


def _codes(image: Dataset, data: bytes, syntax: uid.UID) -> NDArray[Any]:
    """The stored pixels as bit patterns: uint8 or uint16, (Rows, Columns)."""
    shape = (int(image.Rows), int(image.Columns))
    order = "<" if syntax.is_little_endian else ">"
    kind = np.dtype(f"{order}u{image.BitsAllocated // 8}")
    needed = math.prod(shape) * kind.itemsize
    if syntax in NATIVE:
        if len(data) < needed:
            raise ImageError(f"truncated DICOM: {len(data):,} of {needed:,} bytes of pixels")
        return np.frombuffer(data, kind, math.prod(shape)).reshape(shape)
    if syntax == uid.RLELossless:
        pixels = imagecodecs.dicomrle_decode(data, kind, out=needed)
        return np.frombuffer(pixels, kind, math.prod(shape)).reshape(shape)
    if syntax in JPEG_2000:
        # In some files the codestream is inside a JP2 file.
        data = data[max(0, data.find(CODESTREAM)) :]
        _check_stream(_jpeg_2000_header(data), shape)
        decoded = imagecodecs.jpeg2k_decode(data, numthreads=1)
    else:
        _check_stream(_jpeg_header(data), shape)
        limits.check_scans(data, math.prod(shape))
        decoded = imagecodecs.jpeg8_decode(data)
    if decoded.shape != shape or decoded.dtype.itemsize > kind.itemsize:
        raise ImageError(f"corrupt DICOM: pixels of {decoded.dtype}, {kind} declared")
    # Signed pixels become their bit patterns, as in an uncompressed file.
    return decoded.astype(f"i{kind.itemsize}" if decoded.dtype.kind == "i" else kind).view(kind)


def _jpeg_header(stream: bytes) -> tuple[int, int, int]:
    """Rows, columns and components that a JPEG stream declares (ITU-T T.81, B.2.2)."""
    segments = list(limits.jpeg_segments(stream))
    if not segments or segments[-1][0] != limits.END_OF_IMAGE:
        # The decoder would fill the missing part with grey.
        raise ImageError("truncated DICOM: its JPEG stream has no end")
    for marker, start in segments:
        if marker in START_OF_FRAME:
            rows, columns = (int.from_bytes(stream[start + k : start + k + 2]) for k in (3, 5))
            return rows, columns, stream[start + 7]
    raise ImageError("corrupt DICOM: no JPEG frame")


def _jpeg_2000_header(stream: bytes) -> tuple[int, int, int]:
    """Rows, columns and components that a codestream declares (ISO/IEC 15444-1, A.5.1)."""
    if not stream.startswith(CODESTREAM) or len(stream) < 45:
        raise ImageError("corrupt DICOM: no JPEG 2000 codestream")
    x, y, left, top, tile_x, tile_y, tile_left, tile_top = map(
        int, np.frombuffer(stream, ">u4", 8, 8)
    )
    across = math.ceil((x - tile_left) / max(1, tile_x))
    down = math.ceil((y - tile_top) / max(1, tile_y))
    if across * down > MAX_TILES:
        reason = f"JPEG 2000 of {across * down:,} tiles: over {MAX_TILES:,}"
        raise ImageError(reason, "too_complex")
    return y - top, x - left, int.from_bytes(stream[40:42])


def _check_stream(declared: tuple[int, int, int], shape: tuple[int, int]) -> None:
    if declared != (*shape, 1):
        raise ImageError(
            f"corrupt DICOM: the compressed image has {declared[1]}x{declared[0]} px of "
            f"{declared[2]} samples, the header {shape[1]}x{shape[0]} px of 1"
        )


# pydicom.pixels has apply_modality_lut and apply_voi_lut. We do not use them: they work on whole
# images in float64, apply a rescale only if both of its tags are present, do not check tables, and
# do not handle padding.
def _grey(image: Dataset, codes: NDArray[Any], encapsulated: bool) -> NDArray[np.uint8]:
    """Turn stored pixels into grey: compute the grey of every bit pattern once, then look it up.

    First comes the modality table or rescale (C.11.1), then the first VOI table, or else the first
    window (C.11.2). Without both, grey covers the range of the values, or, if all are equal, the
    range of Bits Stored. MONOCHROME1 is inverted. Padding (C.7.5.1.1.2) is black.

    Raises:
        ImageError: a window or a table is not valid.
    """
    patterns = np.arange(2**image.BitsAllocated)
    signed = image.get("PixelRepresentation") == 1
    top = 2**image.BitsStored - 1
    # Lossy values may exceed Bits Stored. In uncompressed values, high bits may hold other data.
    stored = np.minimum(patterns, top) if encapsulated and not signed else patterns & top
    if signed:
        stored = np.where(stored > top // 2, stored - (top + 1), stored)
    padding = _padding(image, patterns)
    values = _apply_modality(image, stored)
    grey = _apply_voi(image, values)
    if grey is None:
        used = np.zeros(len(patterns), bool)
        for strip in _strips(codes):
            used[strip] = True
        shown = values[used & ~padding]
        if not len(shown) or shown.min() == shown.max():
            shown = values
        low, high = float(shown.min()), float(shown.max())
        grey = (values - low) / (high - low or 1)
    if image.PhotometricInterpretation == "MONOCHROME1":
        grey = 1 - grey
    table = np.rint(255 * np.clip(np.where(padding, 0, grey), 0, 1)).astype(np.uint8)
    pixels = np.empty(codes.shape, np.uint8)
    for strip, out in zip(_strips(codes), _strips(pixels), strict=True):
        np.take(table, strip, out=out)
    return pixels


def _strips(pixels: NDArray[Any]) -> list[NDArray[Any]]:
    """Divide the pixels into strips: for a look-up, NumPy makes a 64-bit copy of its indices."""
    rows = max(1, STRIP_PIXELS // pixels.shape[1])
    return [pixels[top : top + rows] for top in range(0, len(pixels), rows)]


def _padding(image: Dataset, patterns: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Which bit patterns are padding, not part of the image."""
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


def _apply_modality(image: Dataset, stored: NDArray[np.int_]) -> NDArray[np.float64]:
    if image.get("ModalityLUTSequence"):
        return _apply_table(image.ModalityLUTSequence[0], stored.astype(np.float64))[0]
    slope = _first_number(image, "RescaleSlope", 1.0)
    if slope == 0:
        raise ImageError("DICOM Rescale Slope 0")
    return stored.astype(np.float64) * slope + _first_number(image, "RescaleIntercept", 0.0)


def _apply_voi(image: Dataset, values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Grey values, 0 to 1 in the window; None if the file has neither a table nor a window."""
    if image.get("VOILUTSequence"):
        entries, bits = _apply_table(image.VOILUTSequence[0], values)
        return entries / (2**bits - 1)
    center = _first_number(image, "WindowCenter", math.nan)
    width = _first_number(image, "WindowWidth", math.nan)
    if math.isnan(center) or math.isnan(width):
        return None
    function = image.get("VOILUTFunction") or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ImageError(f"DICOM VOI LUT function {function} is not known")
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise ImageError(f"DICOM Window Width {width:g}")
    if function == "SIGMOID":
        # C.11.2.1.3.1: 1 / (1 + exp(-4 x / w)); in this form the formula cannot overflow.
        return np.asarray(0.5 + 0.5 * np.tanh(2 * (values - center) / width), np.float64)
    if function == "LINEAR":
        # The standard shifts a linear window by half a value (C.11.2.1.2.1).
        center, width = center - 0.5, width - 1
    if width == 0:
        return (values > center).astype(np.float64)
    return np.clip((values - center) / width + 0.5, 0, 1)


def _apply_table(item: Dataset, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Look values up in a table (C.11.1.1, C.11.2.1.1); return the entries and their bits."""
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


def _first_number(image: Dataset, keyword: str, absent: float) -> float:
    """The first value of an element; refuse infinity and NaN."""
    value = image.get(keyword)
    if isinstance(value, MutableSequence):
        value = value[0] if value else None
    if value is None or value == "":
        return absent
    if not math.isfinite(float(value)):
        raise ImageError(f"DICOM {keyword} {value}")
    return float(value)


def _after_view(tag: BaseTag, vr: str | None, length: int) -> bool:
    """Whether to stop reading: at the pixels, or at a tag that is too long."""
    return tag >= PIXEL_DATA or (tag in VIEW_TAGS and MAX_VALUE < length < UNDEFINED)
