"""The images that the checks are made on: drawn, so that one thing differs and all else is the same.

They come through `decode`, as any image does, and are drawn as the source `phantom` draws its own.
Their seed is one that no collection has, as those count from 0: no model was trained on them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.data import phantom
from pneumonia.data.image import decode, encode_png
from pneumonia.evaluation.shifts import shifted
from pneumonia.serving.cores import cores

Images = NDArray[np.uint8]
SEED = 2**32 - 2
PATIENTS = 40  # of each class; a step of a share over all images is .0125, of one class .025
SUBTYPES = ("bacteria", "virus")
FAINT = 0.5  # share of its opacity
MOVED = (
    0.02  # share of the side; 4 px of 224, a third of what augmentation moves an image by at most
)
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))
JPEG_QUALITY = 75  # of Pillow and of most programs that are not told another
LARGER = 2

# By the name of the change, the shift of `evaluation.shifts`, of which "mild" is what a technician
# would not notice between two images.
MILD = {
    "turned": "rotation",
    "exposure": "exposure",
    "contrast": "contrast",
    "blurred": "blur",
    "noisy": "noise",
}


@dataclass(frozen=True)
class BehaviourImages:
    """Images of N patients, one each, first the normal ones, then as many with pneumonia.

    Attributes:
        labels: int64, (N,), 0 normal, 1 pneumonia.
        plain: uint8, (N, S, S, 1).
        other: the same patients and exposures with the other diagnosis: an opacity added to those
            that are normal, taken from those that have one.
        faint: uint8, (N / 2, S, S, 1), those with pneumonia, with `FAINT` of their opacity.
        changed: `plain`, changed in a way that leaves the diagnosis; by the name of the change.
    """

    labels: NDArray[np.int64]
    plain: Images
    other: Images
    faint: Images
    changed: dict[str, Images]


def draw_images(size: int, patients: int = PATIENTS) -> BehaviourImages:
    """Draw them; same arguments, same bytes. Seconds.

    Args:
        size: side of the square that the model sees, px.
        patients: of each class.
    """
    ill = _first(patients, sick=True)
    numbers = [*_first(patients, sick=False), *ill]
    subtypes = [SUBTYPES[number % len(SUBTYPES)] for number in range(patients)]
    subtypes += ["normal"] * patients
    with ThreadPoolExecutor(cores()) as pool:
        draw = partial(phantom.draw, SEED)
        images = [image.pixels for image in pool.map(draw, numbers)]
        swapped = zip(numbers, subtypes, strict=True)
        other = pool.map(lambda one: draw(one[0], subtype=one[1]), swapped)
        faint = pool.map(lambda index: draw(index, strength=FAINT), ill)

        def squares(write: Callable[[Images], bytes], pixels: Sequence[Images]) -> Images:
            read = pool.map(lambda one: decode(write(one), size).pixels, pixels)
            return np.stack(list(read))[..., None]

        plain = squares(encode_png, images)
        return BehaviourImages(
            labels=np.repeat(np.arange(2), patients),
            plain=plain,
            other=squares(encode_png, [image.pixels for image in other]),
            faint=squares(encode_png, [image.pixels for image in faint]),
            changed={
                "moved": _moved(plain),
                **{name: _mild(plain, shift) for name, shift in MILD.items()},
                "jpeg": squares(_jpeg, images),
                "larger": squares(_larger, images),
            },
        )


def _first(count: int, sick: bool) -> list[int]:
    """The first image of each of the first patients who are, or are not, sick."""
    found: list[int] = []
    index = 0
    while len(found) < count:
        patient = phantom.patient_of(index)
        new = index == 0 or phantom.patient_of(index - 1) != patient
        if new and (phantom.diagnosis_of(SEED, patient).subtype != "normal") == sick:
            found.append(index)
        index += 1
    return found


def _mild(images: Images, shift: str) -> Images:
    """Change squares mildly; the direction of each comes from its place."""
    return shifted(images, [f"{row}" for row in range(len(images))], shift, "mild", SEED)


def _moved(images: Images) -> Images:
    """Move squares by `MOVED` of their side, one after the other in four directions."""
    step = max(1, round(MOVED * images.shape[1]))
    out = np.zeros_like(images)
    for row, image in enumerate(images):
        to, back = [], []
        for way in DIRECTIONS[row % len(DIRECTIONS)]:
            to.append(slice(max(0, way * step), min(0, way * step) or None))
            back.append(slice(max(0, -way * step), min(0, -way * step) or None))
        out[row][tuple(to)] = image[tuple(back)]
    return out


def _jpeg(image: Images) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _larger(image: Images) -> bytes:
    """The image as a scanner of twice the resolution would have written it."""
    height, width = image.shape
    enlarged = Image.fromarray(image).resize(
        (LARGER * width, LARGER * height), Image.Resampling.LANCZOS
    )
    return encode_png(np.asarray(enlarged))
