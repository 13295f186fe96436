"""From the stored pixels of a DICOM image to the grey of a viewer (chapters of PS3.3, 2024)."""

from __future__ import annotations

import math
from collections.abc import MutableSequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pneumonia.data.bounds import ImageError

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
