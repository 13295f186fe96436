"""The one preprocessing: bytes of an image file to the grey square that every model sees.

`prepare`, the served model and batch scoring call `decode`, so an image gets the same pixels
everywhere. Decoding a prepared square again gives that square.
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

from pneumonia.images.limits import (
    MAX_PIXELS,
    ImageError,
    check_bytes,
    check_scans,
    check_segments,
    check_size,
)

FORMATS = ("JPEG", "PNG")
SUFFIXES = (".jpeg", ".jpg", ".png")
# JPEG's own scaled decoding must leave this many pixels for one of the square, so that what it
# changes stays below what one ordinary resampler differs from another (benchmarks/decoding.py).
DRAFT_MARGIN = 2
STRIP_PIXELS = 2**20  # converted at a time, so that colour costs no second whole picture
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "F")
SAMPLE = 64  # px, side of the grid that colour is sampled on
# Of 255, in ITU-R 601's Cb or Cr. Grey images in colour files depart by 0, at any quality of JPEG.
CHROMA = 12
# EXIF 2.32, tag 0x0112: what a viewer does to the stored pixels.
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
    """An image as the models see it, and what its file was.

    Attributes:
        pixels: uint8, (size, size), 0 black to 255 white.
        width, height: of the source as displayed, px.
        mode: Pillow's name of the source's colour mode, for example "L" or "RGB"; of a DICOM image
            its photometric interpretation.
        colour: share of the picture whose colour departs from its most usual one, 0 to 1; 0 for a
            grey image, however its file stores it, and for one that is tinted all over.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    mode: str
    colour: float = 0.0


def decode(payload: bytes, size: int, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Turn the bytes of a JPEG, PNG or DICOM file into a grey square.

    Colour becomes luma (ITU-R 601), of 16 bits in a PNG the high byte is kept (rounded down), a
    transparent part is black, EXIF orientation is applied; for DICOM see `dicom.read_dicom`. The
    image is resized with antialiasing (Lanczos) and padded with black to a square, not squashed: in
    the Kermany set the aspect ratio gives the label away.

    Args:
        payload: the whole file.
        size: side of the square, px.
        max_pixels: of the source; at most 40 million whatever is given.

    Raises:
        ImageError: empty, none of the three, truncated, corrupt, no image, or out of bounds.py.
    """
    check_bytes(payload)
    if payload[128:132] == b"DICM":
        # Half a second of imports that only DICOM needs.
        from pneumonia.images.dicom import read_dicom

        pixels, mode = read_dicom(payload, max_pixels)
        height, width = pixels.shape
        inner = inner_size(width, height, size)
        grey = Image.fromarray(pixels).resize(inner, Image.Resampling.LANCZOS)
        return DecodedImage(_padded(grey, size), width, height, mode)
    try:
        with warnings.catch_warnings():
            # Pillow's doubts about sizes and metadata; what matters is refused in our own words.
            warnings.simplefilter("ignore")
            return _decode_with_pillow(payload, size, max_pixels)
    except UnidentifiedImageError:
        raise ImageError("not a JPEG, PNG or DICOM image", "not_an_image") from None
    except Image.DecompressionBombError:
        raise ImageError(f"over {MAX_PIXELS // 10**6} megapixels", "too_large") from None
    except ImageError:
        raise
    except Exception as error:
        # Pillow's readers raise nearly anything (OSError, struct.error, IndexError, SyntaxError),
        # depending on where a file breaks off.
        raise ImageError(f"truncated or corrupt image ({error})") from None


def square_mask(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Take a mask (H, W) the way `decode` takes its image: resize, pad to a square of `size`."""
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    inner = inner_size(grey.width, grey.height, size)
    return _padded(grey.resize(inner, Image.Resampling.BILINEAR), size) >= 128


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Read a prepared image: uint8, (S, S)."""
    with Image.open(path) as image:
        return np.asarray(image, dtype=np.uint8)


def encode_png(pixels: NDArray[np.uint8], strategy: int = zlib.Z_FILTERED) -> bytes:
    """Lossless PNG of grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4), uint8, without metadata.

    An image comes out a percent smaller in half the time with the strategy `zlib.Z_RLE`, which looks
    for runs alone: behind PNG's filters little else repeats. The default is Pillow's own: the bytes
    of a drawn image name it, and with other names images go through training in another order.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=4, compress_type=strategy)
    return buffer.getvalue()


def _decode_with_pillow(payload: bytes, size: int, max_pixels: int) -> DecodedImage:
    check_segments(payload)
    image = Image.open(io.BytesIO(payload), formats=FORMATS)
    mode, (width, height) = image.mode, image.size
    check_size(width, height, max_pixels)
    check_scans(payload, width * height)
    inner = inner_size(width, height, size)
    # The box is the image without the fraction of a pixel by which scaled decoding rounds up.
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
    """Share of a loaded picture that has a colour of its own; see `DecodedImage`."""
    if image.mode in GREY_MODES:
        return 0.0
    # Some pixels tell, and cost nothing beside decoding.
    sample = image.resize((SAMPLE, SAMPLE), Image.Resampling.NEAREST)
    chroma = np.asarray(_opaque(sample).convert("RGB").convert("YCbCr"), np.int16)[..., 1:]
    departs = np.abs(chroma - np.median(chroma, axis=(0, 1))).max(-1) > CHROMA
    return float(departs.mean())


def _grey(image: Image.Image) -> Image.Image:
    """8-bit grey of an image in any of Pillow's JPEG and PNG modes."""
    if image.mode == "L" and "transparency" not in image.info:
        return image
    grey = Image.new("L", image.size)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        grey.paste(_grey_strip(strip), (0, top))
    return grey


def _grey_strip(strip: Image.Image) -> Image.Image:
    if strip.mode.startswith("I"):
        # Pillow's own conversion would clip at 255.
        deep = np.asarray(strip)
        opaque = deep != strip.info.get("transparency", -1)
        return Image.fromarray(((deep >> 8) * opaque).astype(np.uint8))
    return _opaque(strip).convert("L")


def _opaque(image: Image.Image) -> Image.Image:
    """The picture on black where it is transparent."""
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        black = Image.new("RGBA", image.size, "black")
        return Image.alpha_composite(black, image.convert("RGBA"))
    return image


def inner_size(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height of the image within its square, px: the longer side fills it."""
    side = max(width, height)
    return max(1, round(width * size / side)), max(1, round(height * size / side))


def image_box(width: int, height: int, size: int) -> tuple[slice, slice]:
    """Rows and columns of a square of `size` px that an image of `width` by `height` px fills."""
    across, down = inner_size(width, height, size)
    top, left = (size - down) // 2, (size - across) // 2
    return slice(top, top + down), slice(left, left + across)


def _padded(grey: Image.Image, size: int) -> NDArray[np.uint8]:
    if grey.size != (size, size):
        square = Image.new("L", (size, size), 0)
        square.paste(grey, ((size - grey.width) // 2, (size - grey.height) // 2))
        grey = square
    return np.asarray(grey, dtype=np.uint8)
