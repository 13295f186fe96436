"""Check the behaviour of a trained model on pairs of drawn images with only one difference.

Each check consists of a measure and a bound. There are three kinds of checks.

- Invariance: a change that does not matter for the diagnosis should not change the prediction.
- Direction: an added opacity should raise the probability; a removed opacity should lower it.
- Minimum function: every working model should reach these values easily.

The checks detect broken models. They do not find the best model; the metrics with intervals do.
So a good model passes each bound easily, and a model that guesses or uses a shortcut fails clearly.
The images are drawn like the images of the source `phantom`, and decoded like any others. Data sets
have seeds from 0 upwards; these images have another seed, so no model was trained on them.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumonia.core.parallel import cores
from pneumonia.datasets import phantom
from pneumonia.evaluation.shifts import shifted
from pneumonia.images.decoding import decode, encode_png
from pneumonia.inference.operating_point import OperatingPoint
from pneumonia.inference.predictor import Graph
from pneumonia.stats.metrics import ranked

Images = NDArray[np.uint8]
SEED = 2**32 - 2
PATIENTS = 40  # per class; one image is .0125 of all images and .025 of its class
SUBTYPES = ("bacteria", "virus")
FAINT = 0.5  # share of the opacity that remains
MOVED = 0.02  # share of the side: 4 px of 224; augmentation moves images up to three times as far
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))
JPEG_QUALITY = 75  # the default of Pillow and of most programs
LARGER = 2

# Name of the change: name of a shift in `evaluation.shifts`. The strength is always "mild": a
# technician would not notice the difference.
MILD = {
    "turned": "rotation", "exposure": "exposure", "contrast": "contrast", "blurred": "blur",
    "noisy": "noise",
}  # fmt: skip


@dataclass(frozen=True)
class BehaviourImages:
    """One image of each of N patients: first N / 2 normal images, then N / 2 with pneumonia."""

    labels: NDArray[np.int64]  #: int64, (N,), 0 normal, 1 pneumonia
    original: Images  #: uint8, (N, S, S, 1)
    #: the same patients and exposures with the other diagnosis: the normal images get an opacity,
    #: and the images with pneumonia lose their opacity.
    swapped: Images
    faint: Images  #: uint8, (N / 2, S, S, 1), images with pneumonia, with a fainter opacity
    #: the images in `original` after a change that keeps the diagnosis, by name of the change.
    changed: dict[str, Images]


def draw_images(size: int, patients: int = PATIENTS) -> BehaviourImages:
    """Draw the images; this takes seconds. The same arguments give the same bytes.

    `size` is the side of the model's input, in px; `patients` is the number of patients per class.
    """
    with_pneumonia = _first_images(patients, pneumonia=True)
    numbers = [*_first_images(patients, pneumonia=False), *with_pneumonia]
    subtypes = [SUBTYPES[number % len(SUBTYPES)] for number in range(patients)]
    subtypes += ["normal"] * patients
    with ThreadPoolExecutor(cores()) as pool:
        draw = partial(phantom.draw, SEED)
        images = [image.pixels for image in pool.map(draw, numbers)]
        swapped = pool.map(lambda index, subtype: draw(index, subtype=subtype), numbers, subtypes)
        faint = pool.map(lambda index: draw(index, strength=FAINT), with_pneumonia)

        def squares(encode: Callable[[Images], bytes], drawn: Sequence[Images]) -> Images:
            decoded = pool.map(lambda pixels: decode(encode(pixels), size).pixels, drawn)
            return np.stack(list(decoded))[..., None]

        original = squares(encode_png, images)
        # The direction of a mild shift depends on the image's number.
        ids = [f"{row}" for row in range(len(original))]
        mild = {name: shifted(original, ids, shift, "mild", SEED) for name, shift in MILD.items()}
        return BehaviourImages(
            labels=np.repeat(np.arange(2), patients),
            original=original,
            swapped=squares(encode_png, [image.pixels for image in swapped]),
            faint=squares(encode_png, [image.pixels for image in faint]),
            changed={
                "moved": _moved(original),
                **mild,
                "jpeg": squares(_jpeg, images),
                "larger": squares(_larger, images),
            },
        )


def _first_images(count: int, pneumonia: bool) -> list[int]:
    """Find the first `count` patients of one class; return the number of each one's first image."""
    numbers: list[int] = []
    number = 0
    while len(numbers) < count:
        patient = phantom.patient_of(number)
        first = number == 0 or phantom.patient_of(number - 1) != patient
        if first and (phantom.diagnosis_of(SEED, patient).subtype != "normal") == pneumonia:
            numbers.append(number)
        number += 1
    return numbers


def _moved(images: Images) -> Images:
    """Move each image by `MOVED` of its side, in one of four directions in turn."""
    step = max(1, round(MOVED * images.shape[1]))
    out = np.zeros_like(images)
    for row, image in enumerate(images):
        target, source = [], []
        for sign in DIRECTIONS[row % len(DIRECTIONS)]:
            target.append(slice(max(0, sign * step), min(0, sign * step) or None))
            source.append(slice(max(0, -sign * step), min(0, -sign * step) or None))
        out[row][tuple(target)] = image[tuple(source)]
    return out


def _jpeg(image: Images) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _larger(image: Images) -> bytes:
    """Encode the image as a scanner with twice the resolution would write it."""
    height, width = image.shape
    enlarged = Image.fromarray(image).resize(
        (LARGER * width, LARGER * height), Image.Resampling.LANCZOS
    )
    return encode_png(np.asarray(enlarged))


Probabilities = NDArray[np.float64]
# A function from images, uint8 (N, S, S, 1), to probabilities of pneumonia, float64 (N,).
PredictImages = Callable[[Images], Probabilities]
AT_LEAST, AT_MOST = ">=", "<="
INVARIANCE, DIRECTION, FUNCTION = "invariance", "direction", "minimum function"
# The kinds of checks, and the meaning of their values.
KINDS = {
    INVARIANCE: "share of the decisions that stay when the image is",
    DIRECTION: "the probability of the same image, with and without the opacity",
    FUNCTION: "on the images as they are",
}


@dataclass(frozen=True)
class BehaviourPredictions:
    """A model's probabilities for `BehaviourImages`, in fields of the same names."""

    labels: NDArray[np.int64]
    threshold: float
    original: Probabilities
    swapped: Probabilities
    faint: Probabilities
    changed: dict[str, Probabilities]

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Whether the model calls each original image pneumonia, (N,)."""
        return self.original >= self.threshold


@dataclass(frozen=True)
class BehaviourCheck:
    """A check: a measure of the model's behaviour, and the bound for its value."""

    kind: str  #: a key of `KINDS`
    name: str  #: the comparison in words
    measure: Callable[[BehaviourPredictions], float]  #: computes the model's value
    sign: str  #: ">=" or "<="
    bound: float  #: the lowest value allowed for ">=", the highest for "<="


@dataclass(frozen=True)
class CheckOutcome:
    """A model's value in a check."""

    check: BehaviourCheck
    value: float

    @property
    def holds(self) -> bool:
        """Whether the value is within the bound; False for NaN."""
        at_least = self.check.sign == AT_LEAST
        return self.value >= self.check.bound if at_least else self.value <= self.check.bound

    def as_record(self) -> dict[str, Any]:
        """Return the outcome for JSON; NaN becomes None, because JSON has no NaN."""
        check, value = self.check, self.value if math.isfinite(self.value) else None
        return {
            "kind": check.kind, "check": check.name, "value": value, "sign": check.sign,
            "bound": check.bound, "holds": self.holds,
        }  # fmt: skip


def run_checks(
    predict: PredictImages, threshold: float, images: BehaviourImages
) -> list[CheckOutcome]:
    """Run every check; an image is called pneumonia if its probability reaches the threshold."""
    predictions = BehaviourPredictions(
        images.labels,
        threshold,
        predict(images.original),
        predict(images.swapped),
        predict(images.faint),
        {name: predict(squares) for name, squares in images.changed.items()},
    )
    return [CheckOutcome(check, check.measure(predictions)) for check in CHECKS]


def check_model(graph: Graph, point: OperatingPoint) -> list[CheckOutcome]:
    """Run every check on a graph at its operating point, with images of the graph's input size."""
    return run_checks(
        lambda images: point.probability(graph.run(images)[0]),
        point.threshold,
        draw_images(graph.size),
    )


def failures(outcomes: Sequence[CheckOutcome]) -> list[str]:
    """Describe each failed check in one phrase."""
    return [
        f"{outcome.check.name} {outcome.value:.3f}, "
        f"not {outcome.check.sign} {outcome.check.bound:g}"
        for outcome in outcomes
        if not outcome.holds
    ]


def failed_checks(graph: Graph, point: OperatingPoint) -> list[str]:
    """Run every check on a graph, and describe each failed check in one phrase."""
    return failures(check_model(graph, point))


def _stays(change: str) -> Callable[[BehaviourPredictions], float]:
    """Return a measure: the share of the images with the same decision after the change."""

    def measure(model: BehaviourPredictions) -> float:
        return float(np.mean((model.changed[change] >= model.threshold) == model.positive))

    return measure


def _largest_change(model: BehaviourPredictions) -> float:
    """The mean absolute difference in probability for the image change that moves it most."""
    means = [np.mean(np.abs(changed - model.original)) for changed in model.changed.values()]
    return float(np.max(means))  # NaN if one mean is NaN, unlike `max`


def _rises(model: BehaviourPredictions) -> float:
    """Share of the normal images whose probability rises when an opacity is added."""
    normal = model.labels == 0
    return float(np.mean(model.swapped[normal] > model.original[normal]))


def _falls(model: BehaviourPredictions) -> float:
    """Share of the images with pneumonia whose probability falls when the opacity is removed."""
    pneumonia = model.labels == 1
    return float(np.mean(model.swapped[pneumonia] < model.original[pneumonia]))


def _stronger(model: BehaviourPredictions) -> float:
    """Mean difference in probability between the full and the faint opacities."""
    return float(np.mean(model.original[model.labels == 1] - model.faint))


def _auc(model: BehaviourPredictions) -> float:
    auc, _ = ranked(model.labels, model.original, np.ones((1, len(model.labels))))
    return float(auc[0])


def _sensitivity(model: BehaviourPredictions) -> float:
    return float(np.mean(model.positive[model.labels == 1]))


def _specificity(model: BehaviourPredictions) -> float:
    return float(np.mean(~model.positive[model.labels == 0]))


# How the bounds were chosen. The first value of each line is the worst of four good networks that
# `make repro` trains: scratch, transfer and the second seed of each. All good models must pass. By
# chance, a share of 80 images, or of the 40 images of a class, varies by .03 to .08.
# - Same decision: .925. Random model: .5. A model that sees only the border: .72 under exposure. A
#   model that sees only the finest detail: .69 blurred, .61 as a JPEG file, .55 turned.
# - Mean change: .046. Random: .36; only the border: .25; only the mean grey: .14.
# - Opacity added, removed: .975. Random: .5; only the mean grey: .38 and .25. A normal image loses
#   as much air, blurred, so only a model that sees the opacity itself separates the two classes.
# - Opacity doubled: .23. A model that sees anything else: .02 or less.
# - AUC .87, sensitivity .90, specificity .68. Random model: the AUC is .5, and sensitivity and
#   specificity add up to 1, so one of the two fails almost always.
CHECKS = (
    BehaviourCheck(INVARIANCE, "moved by 2 % of its side", _stays("moved"), AT_LEAST, 0.85),
    BehaviourCheck(INVARIANCE, "turned by 2 degrees", _stays("turned"), AT_LEAST, 0.85),
    BehaviourCheck(INVARIANCE, "4 % brighter or darker", _stays("exposure"), AT_LEAST, 0.85),
    BehaviourCheck(
        INVARIANCE, "8 % higher or lower in contrast", _stays("contrast"), AT_LEAST, 0.85
    ),
    BehaviourCheck(INVARIANCE, "blurred a little", _stays("blurred"), AT_LEAST, 0.85),
    BehaviourCheck(INVARIANCE, "a little noisier", _stays("noisy"), AT_LEAST, 0.85),
    BehaviourCheck(INVARIANCE, "a JPEG file", _stays("jpeg"), AT_LEAST, 0.85),
    BehaviourCheck(INVARIANCE, "twice as large a file", _stays("larger"), AT_LEAST, 0.85),
    BehaviourCheck(
        INVARIANCE, "worst of these: mean change of probability", _largest_change, AT_MOST, 0.1
    ),
    BehaviourCheck(DIRECTION, "opacity added: images that rise", _rises, AT_LEAST, 0.9),
    BehaviourCheck(DIRECTION, "opacity erased: images that fall", _falls, AT_LEAST, 0.9),
    BehaviourCheck(DIRECTION, "opacity doubled: mean rise", _stronger, AT_LEAST, 0.1),
    BehaviourCheck(FUNCTION, "AUC", _auc, AT_LEAST, 0.75),
    BehaviourCheck(FUNCTION, "sensitivity", _sensitivity, AT_LEAST, 0.7),
    BehaviourCheck(FUNCTION, "specificity", _specificity, AT_LEAST, 0.5),
)
