"""DICOM: one radiograph (CR, DX, RG) as the grey picture that its file means to show.

Only the tags below are read; nothing that names a patient is among them. Chapters are those of
DICOM PS3.3 and PS3.5 (2024).
"""

from __future__ import annotations

import io
import math
import warnings
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag

from pneumonia.data.bounds import (
    END_OF_IMAGE,
    ImageError,
    check_scans,
    check_size,
    jpeg_segments,
)

MODALITIES = ("CR", "DX", "RG")
# Data elements are parsed one by one in Python; a film has some hundreds.
MAX_READS = 100_000
MAX_ELEMENT = 2**20  # bytes of any element but the pixels; a table of 16 bits has 2**17
MAX_TILES = 1_024  # of a JPEG 2000 picture; each costs memory before it is seen
STRIP_PIXELS = 2**20

PIXEL_DATA = Tag("PixelData")
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


class _Reader(io.BytesIO):
    """Bounds what parsing costs: elements without end, or one with a list without end."""

    def __init__(self, payload: bytes) -> None:
        super().__init__(payload)
        self.reads = 0
        self.longest = MAX_ELEMENT

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise ImageError(f"over {MAX_READS:,} DICOM data elements")
        found = super().read(size)
        if len(found) > self.longest:
            raise ImageError(f"a DICOM data element of over {MAX_ELEMENT // 2**20} MiB")
        return found


def read_film(payload: bytes) -> tuple[NDArray[np.uint8], str]:
    """Read a DICOM file (PS3.10, with preamble) of one radiograph.

    Modality table or rescale (C.11.1), then the first VOI table, else the first window (C.11.2);
    without both the range of the pixels that are used, or of Bits Stored where all are equal.
    MONOCHROME1 is inverted. Pixel padding (C.7.5.1.1.2) is black.

    Args:
        payload: the whole file, at most 64 MiB.

    Returns:
        uint8, (Rows, Columns), 0 black to 255 white; and the photometric interpretation.

    Raises:
        ImageError: no radiograph, more than one frame or sample a pixel, a transfer syntax that is
            not read, out of bounds.py, truncated or corrupt.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read_film(payload)
    except ImageError:
        raise
    except Exception as error:
        # pydicom and the codecs raise nearly anything on a damaged file.
        raise ImageError(f"truncated or corrupt DICOM ({error})") from None


def _read_film(payload: bytes) -> tuple[NDArray[np.uint8], str]:
    reader = _Reader(payload)
    reader.seek(132)
    meta = read_dataset(reader, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    syntax = uid.UID(meta.get("TransferSyntaxUID") or "")
    if not syntax:
        raise ImageError("DICOM without a transfer syntax")
    if syntax not in TRANSFER_SYNTAXES:
        raise ImageError(f"DICOM transfer syntax {syntax.name} is not read")
    encoding = (syntax.is_implicit_VR, syntax.is_little_endian)
    film = read_dataset(
        reader, *encoding, stop_when=lambda tag, vr, length: tag >= PIXEL_DATA, specific_tags=TAGS
    )
    _check(film, syntax)
    reader.longest = len(payload)
    data = read_dataset(reader, *encoding, stop_when=lambda tag, vr, length: tag > PIXEL_DATA)
    if PIXEL_DATA not in data:
        raise ImageError("DICOM without pixel data, or truncated within it")
    codes = _codes(film, data[PIXEL_DATA].value, syntax)
    return _shown(film, codes, encapsulated=syntax.is_encapsulated), str(
        film.PhotometricInterpretation
    )


def _check(film: Dataset, syntax: uid.UID) -> None:
    """Refuse by the header what is no single grey radiograph."""
    modality = film.get("Modality") or "missing"
    if modality not in MODALITIES:
        raise ImageError(f"DICOM modality {modality}, not CR, DX or RG")
    if "Rows" not in film or "Columns" not in film:
        raise ImageError("DICOM without a picture (no Rows and Columns)")
    check_size(int(film.Columns), int(film.Rows))
    if int(film.get("NumberOfFrames") or 1) != 1:
        raise ImageError(f"DICOM of {film.NumberOfFrames} frames, not one")
    photometric = film.get("PhotometricInterpretation")
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or film.get("SamplesPerPixel", 1) != 1:
        raise ImageError(f"DICOM in colour ({photometric}), not MONOCHROME1 or MONOCHROME2")
    allocated, stored = film.get("BitsAllocated"), film.get("BitsStored")
    if allocated not in (8, 16):
        raise ImageError(f"DICOM Bits Allocated {allocated}, not 8 or 16")
    if not isinstance(stored, int) or not 1 <= stored <= allocated:
        raise ImageError(f"DICOM Bits Stored {stored}, not 1 to {allocated}")
    if film.get("HighBit", stored - 1) != stored - 1:
        raise ImageError(f"DICOM High Bit {film.HighBit}, not Bits Stored less one ({stored - 1})")
    if syntax == uid.ExplicitVRBigEndian and allocated == 8:
        raise ImageError("DICOM in big endian (retired) of 8 bits is not read")


def _codes(film: Dataset, data: bytes, syntax: uid.UID) -> NDArray[Any]:
    """The stored pixels as bit patterns: uint8 or uint16, (Rows, Columns)."""
    shape = (int(film.Rows), int(film.Columns))
    kind = np.dtype(f"u{film.BitsAllocated // 8}").newbyteorder(
        "<" if syntax.is_little_endian else ">"
    )
    needed = math.prod(shape) * kind.itemsize
    if syntax in NATIVE:
        if len(data) < needed:
            raise ImageError(f"truncated DICOM: {len(data):,} of {needed:,} bytes of pixels")
        return np.frombuffer(data, kind, math.prod(shape)).reshape(shape)
    frame = get_frame(data, 0, number_of_frames=1)
    if syntax == uid.RLELossless:
        pixels = imagecodecs.dicomrle_decode(frame, kind, out=needed)
        return np.frombuffer(pixels, kind, math.prod(shape)).reshape(shape)
    if syntax in JPEG_2000:
        frame = frame[max(0, frame.find(CODESTREAM)) :]
        _check_codestream(_jpeg_2000_header(frame), shape)
        found = imagecodecs.jpeg2k_decode(frame, numthreads=1)
    else:
        _check_codestream(_jpeg_header(frame), shape)
        check_scans(frame, math.prod(shape))
        found = imagecodecs.jpeg8_decode(frame)
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
        raise ImageError(f"JPEG 2000 of {across * down:,} tiles: over {MAX_TILES:,}")
    return y - top, x - left, int.from_bytes(frame[40:42])


def _check_codestream(found: tuple[int, int, int], shape: tuple[int, int]) -> None:
    if found != (*shape, 1):
        raise ImageError(
            f"corrupt DICOM: the compressed picture has {found[1]}x{found[0]} px of {found[2]} "
            f"samples, the header {shape[1]}x{shape[0]} px of 1"
        )


def _shown(film: Dataset, codes: NDArray[Any], encapsulated: bool) -> NDArray[np.uint8]:
    """Grey of stored pixels: a table over all bit patterns, made once, looked up in strips."""
    patterns = np.arange(2**film.BitsAllocated)
    signed = film.get("PixelRepresentation") == 1
    top = 2**film.BitsStored - 1
    # A lossy codec may overshoot; above Bits Stored an uncompressed pixel may hold other things.
    stored = np.minimum(patterns, top) if encapsulated and not signed else patterns & top
    if signed:
        stored = np.where(stored > top // 2, stored - (top + 1), stored)
    padding = _padding(film, patterns)
    values = _rescaled(film, stored)
    grey = _windowed(film, values)
    if grey is None:
        used = np.zeros(len(patterns), bool)
        for strip in _strips(codes):
            used[strip] = True
        low, high = _range(values[used & ~padding], values)
        grey = (values - low) / (high - low)
    if film.PhotometricInterpretation == "MONOCHROME1":
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


def _padding(film: Dataset, patterns: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Which bit patterns are no part of the film."""
    first = film.get("PixelPaddingValue")
    if first is None:
        return np.zeros(len(patterns), bool)
    last = film.get("PixelPaddingRangeLimit")
    ends = [int(end) % len(patterns) for end in (first, first if last is None else last)]
    if film.get("PixelRepresentation") == 1:
        half = len(patterns) // 2
        patterns = (patterns + half) % len(patterns)
        ends = [(end + half) % len(patterns) for end in ends]
    return (min(ends) <= patterns) & (patterns <= max(ends))


def _rescaled(film: Dataset, stored: NDArray[np.int_]) -> NDArray[np.float64]:
    if film.get("ModalityLUTSequence"):
        return _looked_up(film.ModalityLUTSequence[0], stored.astype(np.float64))[0]
    slope = _number(film, "RescaleSlope", 1.0)
    if slope == 0:
        raise ImageError("DICOM Rescale Slope 0")
    return stored.astype(np.float64) * slope + _number(film, "RescaleIntercept", 0.0)


def _windowed(film: Dataset, values: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Shades, 0 to 1 within the window; None where the file has neither table nor window."""
    if film.get("VOILUTSequence"):
        shades, bits = _looked_up(film.VOILUTSequence[0], values)
        return shades / (2**bits - 1)
    center, width = _number(film, "WindowCenter", math.nan), _number(film, "WindowWidth", math.nan)
    if math.isnan(center) or math.isnan(width):
        return None
    function = film.get("VOILUTFunction") or "LINEAR"
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


def _number(film: Dataset, keyword: str, absent: float) -> float:
    """The first value of an element; infinite and nameless numbers are refused."""
    value = film.get(keyword)
    if isinstance(value, list) or hasattr(value, "append"):
        value = value[0] if len(value) else None
    if value is None or value == "":
        return absent
    if not math.isfinite(float(value)):
        raise ImageError(f"DICOM {keyword} {value}")
    return float(value)
