"""Decode an image file into the grey square that every model sees.

`prepare`, the server and batch scoring all call `decode`, so they see the same pixels. Decoding a
prepared square returns the same square.
"""

from __future__ import annotations

import io
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base

from pneumonia.images import limits
from pneumonia.images.limits import MAX_PIXELS, ImageError

FORMATS = ("JPEG", "PNG")
SUFFIXES = (".jpeg", ".jpg", ".png")
# Scaled JPEG decoding keeps at least this many pixels per pixel of the square, along each side. So
# it changes less than another common resampling filter would (benchmarks/decoding.py).
DRAFT_MARGIN = 2
STRIP_PIXELS = 2**20  # pixels converted at a time: a full-size copy would take too much memory
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "F")
SAMPLE = 64  # px, side of the small copy on which colour is measured
# The least difference of a coloured pixel in Cb or Cr (ITU-R 601), of 255. In grey images that are
# stored as colour the difference is 0 at any JPEG quality.
CHROMA = 12
# How a viewer must turn the stored pixels, by EXIF orientation (EXIF 2.32, tag 0x0112).
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class DecodedImage:
    """An image as the models see it, and properties of its file."""

    pixels: NDArray[np.uint8]  #: uint8, (size, size), 0 black to 255 white
    #: width, height: size of the image in the file, px, after the EXIF rotation.
    width: int
    height: int
    #: Pillow's name of the file's colour mode, for example "L" or "RGB"; for a DICOM file its
    #: photometric interpretation.
    mode: str
    #: share of the area whose colour differs from the median colour, 0 to 1. The share is 0 for a
    #: grey image, even if the file stores it as colour or gives it one tint everywhere.
    colour: float = 0.0


def decode(payload: bytes, size: int, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Decode a JPEG, PNG or DICOM file into a grey square.

    Colour becomes luma (ITU-R 601). A 16-bit PNG keeps its high byte. Transparent parts become
    black. EXIF orientation is applied. For DICOM see `dicom.read_dicom`. The image is resized with
    antialiasing (Lanczos) and padded with black to a square. It is not stretched, because in the
    Kermany data set the aspect ratio predicts the label.

    Args:
        payload: all bytes of the file.
        size: side of the square, px.
        max_pixels: the most pixels that the image in the file may have; at most 40 million.

    Raises:
        ImageError: the file is empty, of another format, damaged, or exceeds the module `limits`.
    """
    limits.check_bytes(payload)
    if payload[128:132] == b"DICM":
        # Only DICOM needs these imports, which take half a second.
        from pneumonia.images.dicom import read_dicom

        pixels, mode = read_dicom(payload, max_pixels)
        height, width = pixels.shape
        inner = inner_size(width, height, size)
        grey = Image.fromarray(pixels).resize(inner, Image.Resampling.LANCZOS)
        return DecodedImage(_padded(grey, size), width, height, mode)
    try:
        with warnings.catch_warnings():
            # Pillow warns about sizes and metadata. Important problems raise an ImageError.
            warnings.simplefilter("ignore")
            return _decode_with_pillow(payload, size, max_pixels)
    except UnidentifiedImageError:
        raise ImageError("not a JPEG, PNG or DICOM image", "not_an_image") from None
    except Image.DecompressionBombError:
        raise ImageError(f"over {MAX_PIXELS // 10**6} megapixels", "too_large") from None
    except ImageError:
        raise
    except Exception as error:
        # Damaged files make Pillow raise OSError, struct.error, IndexError, SyntaxError and more.
        raise ImageError(f"truncated or corrupt image ({error})") from None


def square_mask(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Resize and pad a mask (H, W) to (size, size), as `decode` does with its image."""
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    inner = inner_size(grey.width, grey.height, size)
    return _padded(grey.resize(inner, Image.Resampling.BILINEAR), size) >= 128


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Read a prepared image as an array: uint8, (S, S)."""
    with Image.open(path) as image:
        return np.asarray(image, dtype=np.uint8)


def encode_png(pixels: NDArray[np.uint8], strategy: int = zlib.Z_FILTERED) -> bytes:
    """Encode grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4), uint8, as PNG without metadata.

    With the strategy `zlib.Z_RLE`, X-rays become 1 % smaller in half the time. The default is
    Pillow's strategy, because the image_id of a phantom image is a hash of these bytes. Other ids
    would change the order of the images in training.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=4, compress_type=strategy)
    return buffer.getvalue()


def _decode_with_pillow(payload: bytes, size: int, max_pixels: int) -> DecodedImage:
    limits.check_segments(payload)
    image = Image.open(io.BytesIO(payload), formats=FORMATS)
    mode, (width, height) = image.mode, image.size
    limits.check_size(width, height, max_pixels)
    limits.check_scans(payload, width * height)
    inner = inner_size(width, height, size)
    # Scaled decoding rounds the size up; the box leaves out this fraction of a pixel.
    drafted = image.draft(None, (DRAFT_MARGIN * inner[0], DRAFT_MARGIN * inner[1]))
    box = drafted[1] if drafted else None
    image.load()
    grey = _grey(image).resize(inner, Image.Resampling.LANCZOS, box=box)
    colour = _colour(image)
    orientation = image.getexif().get(Base.Orientation, 1)
    if orientation in TURNS:
        grey = grey.transpose(TURNS[orientation])
        if orientation >= 5:
            width, height = height, width
    return DecodedImage(_padded(grey, size), width, height, mode, colour)


def _colour(image: Image.Image) -> float:
    """Measure the coloured share of a loaded image; see `DecodedImage.colour`."""
    if image.mode in GREY_MODES:
        return 0.0
    sample = image.resize((SAMPLE, SAMPLE), Image.Resampling.NEAREST)
    chroma = np.asarray(_opaque(sample).convert("RGB").convert("YCbCr"), np.int16)[..., 1:]
    coloured = np.abs(chroma - np.median(chroma, axis=(0, 1))).max(-1) > CHROMA
    return float(coloured.mean())


def _grey(image: Image.Image) -> Image.Image:
    """Convert an image in any of Pillow's JPEG and PNG modes to 8-bit grey."""
    if image.mode == "L" and "transparency" not in image.info:
        return image
    grey = Image.new("L", image.size)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        if strip.mode.startswith("I"):
            # Pillow's conversion would clip at 255.
            deep = np.asarray(strip)
            opaque = deep != strip.info.get("transparency", -1)
            strip = Image.fromarray(((deep >> 8) * opaque).astype(np.uint8))
        else:
            strip = _opaque(strip).convert("L")
        grey.paste(strip, (0, top))
    return grey


def _opaque(image: Image.Image) -> Image.Image:
    """Replace transparent parts with black."""
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        black = Image.new("RGBA", image.size, "black")
        return Image.alpha_composite(black, image.convert("RGBA"))
    return image


def inner_size(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height, px, of an image whose longer side fills a square of `size` px."""
    side = max(width, height)
    return max(1, round(width * size / side)), max(1, round(height * size / side))


def image_box(width: int, height: int, size: int) -> tuple[slice, slice]:
    """Rows and columns of a square of `size` px that an image of `width` x `height` px fills."""
    across, down = inner_size(width, height, size)
    top, left = (size - down) // 2, (size - across) // 2
    return slice(top, top + down), slice(left, left + across)


def _padded(grey: Image.Image, size: int) -> NDArray[np.uint8]:
    square = Image.new("L", (size, size), 0)
    square.paste(grey, ((size - grey.width) // 2, (size - grey.height) // 2))
    return np.asarray(square, dtype=np.uint8)
