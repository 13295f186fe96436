"""The one preprocessing: bytes of a JPEG or PNG file to the grey square that every model sees.

`prepare`, the served model and batch scoring call `decode`, so a film gets the same pixels
everywhere. Decoding a prepared square again gives that square.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG")
SUFFIXES = (".jpeg", ".jpg", ".png")
MAX_BYTES = 64 * 2**20
MAX_SIDE = 8_000  # px; a strip is padded to a square, so the longer side bounds the memory


class ImageError(ValueError):
    """The bytes are no usable image; the text says why, without naming the file."""


@dataclass(frozen=True)
class DecodedImage:
    """A film as the models see it, and what its file was.

    Attributes:
        pixels: uint8, (size, size), 0 black to 255 white.
        width, height: of the source as displayed, px.
        mode: Pillow's name of the source's colour mode, for example "L" or "RGB".
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    mode: str


def decode(payload: bytes, size: int) -> DecodedImage:
    """Turn an image file's bytes into a grey square.

    Colour becomes luma (ITU-R 601), 16 bits become 8, a transparent part is black, EXIF
    orientation is applied. The film is padded with black to a square, not squashed: in the
    Kermany set the aspect ratio gives the label away. The resize is antialiased (Lanczos).

    Args:
        payload: the whole file, at most 64 MiB.
        size: side of the square, px.

    Raises:
        ImageError: empty, no JPEG or PNG, truncated, corrupt or larger than the bounds.
    """
    if not payload:
        raise ImageError("the file is empty (0 bytes)")
    if len(payload) > MAX_BYTES:
        raise ImageError(f"the file is over {MAX_BYTES // 2**20} MiB")
    try:
        with warnings.catch_warnings():
            # Bounded below, with our own words.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(payload), formats=FORMATS)
        if max(image.size) > MAX_SIDE:
            raise ImageError(f"{image.width}x{image.height} px: a side is over {MAX_SIDE:,} px")
        mode = image.mode
        image.load()
        upright = ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        raise ImageError("not a JPEG or PNG image") from None
    except Image.DecompressionBombError:
        raise ImageError(f"a side is over {MAX_SIDE:,} px") from None
    except ImageError:
        raise
    except Exception as error:
        # Pillow's readers raise nearly anything (OSError, struct.error, IndexError, SyntaxError),
        # depending on where a file breaks off.
        raise ImageError(f"truncated or corrupt image ({error})") from None
    return DecodedImage(
        _square(_grey(upright), size, Image.Resampling.LANCZOS), upright.width, upright.height, mode
    )


def square_mask(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Take a mask (H, W) the way `decode` takes its film: pad to a square, resize to `size`."""
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    return _square(grey, size, Image.Resampling.BILINEAR) >= 128


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Read a prepared image: uint8, (S, S)."""
    with Image.open(path) as image:
        return np.asarray(image, dtype=np.uint8)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Lossless PNG of a grey (H, W) or colour (H, W, 3) uint8 array, without metadata."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=4)
    return buffer.getvalue()


def _grey(image: Image.Image) -> Image.Image:
    """8-bit grey of an image in any of Pillow's JPEG and PNG modes."""
    if image.mode.startswith("I"):
        # 16-bit PNG: keep the high byte; Pillow's own conversion would clip at 255.
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        opaque = Image.new("RGBA", image.size, "black")
        return Image.alpha_composite(opaque, image.convert("RGBA")).convert("L")
    return image.convert("L")


def _square(grey: Image.Image, size: int, resampling: Image.Resampling) -> NDArray[np.uint8]:
    side = max(grey.size)
    if grey.width != grey.height:
        square = Image.new("L", (side, side), 0)
        square.paste(grey, ((side - grey.width) // 2, (side - grey.height) // 2))
        grey = square
    if side != size:
        grey = grey.resize((size, size), resampling)
    return np.asarray(grey, dtype=np.uint8)
