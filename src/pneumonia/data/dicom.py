"""DICOM: one radiograph (CR, DX, RG) as the grey picture that its file means to show.

Only the tags below are read; nothing that names a patient is among them.
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
    MAX_PIXELS,
    ImageError,
    check_scans,
    check_size,
    jpeg_segments,
)
from pneumonia.data.dicom_shades import shades

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
