"""The phantom is reproducible, consistent by patient, and without a shortcut to the label."""

from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import pairwise
from multiprocessing import get_context

import numpy as np
import pytest
from numpy.typing import NDArray

from pneumonia.datasets.phantom import PhantomImage, diagnosis_of, draw, patient_of

SIZE = 96


@cache
def images(count: int = 200, seed: int = 3) -> tuple[PhantomImage, ...]:
    return tuple(draw(seed, index, SIZE) for index in range(count))


def squares(side: int, seed: int = 3) -> NDArray[np.float64]:
    """The images sampled to side x side, whatever their shape."""
    out = []
    for image in images(seed=seed):
        height, width = image.pixels.shape
        row = np.linspace(0, height - 1, side).round().astype(int)
        column = np.linspace(0, width - 1, side).round().astype(int)
        out.append(image.pixels[np.ix_(row, column)] / 255.0)
    return np.stack(out)


def blocks(pictures: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Mean grey of each of count x count equal blocks, one row an image."""
    side = pictures.shape[1] // count
    tiled = pictures.reshape(len(pictures), count, side, count, side)
    means: NDArray[np.float64] = tiled.mean(axis=(2, 4)).reshape(len(pictures), -1)
    return means


def probe_auc(features: NDArray[np.float64], seed: int = 3) -> float:
    """Area under the ROC curve, on half of the patients, of ridge regression on the other half."""
    labels = np.array([image.label for image in images(seed=seed)])
    held = np.array([image.patient % 2 == 1 for image in images(seed=seed)])
    middle, spread = features[~held].mean(0), features[~held].std(0) + 1e-6
    scaled = (features - middle) / spread
    kernel = scaled @ scaled[~held].T
    target = labels[~held] - labels[~held].mean()
    penalty = features.shape[1] * np.eye(int((~held).sum()))
    score = kernel[held] @ np.linalg.solve(kernel[~held] + penalty, target)
    sick, well = score[labels[held] == 1], score[labels[held] == 0]
    return float((sick[:, None] > well[None, :]).mean())


def test_same_image_twice() -> None:
    first, again = draw(5, 11, SIZE), draw(5, 11, SIZE)
    assert first.pixels.tobytes() == again.pixels.tobytes()
    assert first.mask.tobytes() == again.mask.tobytes()


def test_another_diagnosis_leaves_anatomy_and_exposure() -> None:
    for index in range(8):
        plain = images()[index]
        same = draw(3, index, SIZE, subtype=plain.subtype, strength=1.0)
        assert np.array_equal(same.pixels, plain.pixels)
        other = draw(3, index, SIZE, subtype="normal" if plain.label else "bacteria")
        assert (other.label, other.pixels.shape) == (1 - plain.label, plain.pixels.shape)
        changed = other.pixels != plain.pixels
        # The outer tenth of an image is hardly lung.
        rim = np.ones_like(changed)
        margins = [side // 10 for side in rim.shape]
        rim[margins[0] : -margins[0], margins[1] : -margins[1]] = False
        assert changed.mean() > 0.05
        assert changed[rim].mean() < changed[~rim].mean() / 5


def test_a_weaker_opacity_is_nearer_to_none() -> None:
    for image in [one for one in images(24) if one.label]:
        none, half, whole = (
            draw(3, image.index, SIZE, strength=strength).pixels.astype(int)
            for strength in (0.0, 0.5, 1.0)
        )
        assert np.array_equal(whole, image.pixels)
        brighter = [(one - none)[image.mask].mean() for one in (half, whole)]
        assert 0 < brighter[0] < brighter[1]


def test_alone_equals_in_sequence() -> None:
    for index in (0, 17, 101):
        alone, within = draw(3, index, SIZE), images()[index]
        assert (alone.patient, alone.label, alone.split) == (
            within.patient,
            within.label,
            within.split,
        )
        assert np.array_equal(alone.pixels, within.pixels)
        assert np.array_equal(alone.mask, within.mask)


def test_other_processes_draw_the_same() -> None:
    indices = [4, 2, 3]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        drawn = list(pool.map(draw, [3] * 3, indices, [SIZE] * 3))
    for index, image in zip(indices, drawn, strict=True):
        assert np.array_equal(image.pixels, images()[index].pixels)
        assert np.array_equal(image.mask, images()[index].mask)


def test_other_seed_or_index_differs() -> None:
    image = draw(3, 1, SIZE).pixels
    assert not np.array_equal(image, draw(4, 1, SIZE).pixels)
    assert not np.array_equal(image, draw(3, 2, SIZE).pixels)  # the same patient


def test_patient_of_cycles() -> None:
    assert [patient_of(index) for index in range(9)] == [0, 1, 1, 2, 3, 3, 3, 4, 5]
    assert all(image.patient == patient_of(image.index) for image in images())


def test_patient_shares_diagnosis_and_split() -> None:
    seen: dict[int, tuple[int, str, str]] = {}
    for image in images():
        facts = (image.label, image.subtype, image.split)
        assert seen.setdefault(image.patient, facts) == facts
        diagnosis = diagnosis_of(3, image.patient)
        assert (image.subtype, image.split) == (diagnosis.subtype, diagnosis.split)
        assert image.label == (image.subtype != "normal")


def test_shapes_and_types() -> None:
    for image in images():
        assert image.pixels.dtype == np.uint8 and image.mask.dtype == np.bool_
        assert image.pixels.shape == image.mask.shape
        assert min(image.pixels.shape) == SIZE and max(image.pixels.shape) <= 1.4 * SIZE
    assert len({image.pixels.shape for image in images()}) > 20


@pytest.mark.parametrize("size", [64, 224])
def test_sizes(size: int) -> None:
    image = draw(3, 0, size)
    assert min(image.pixels.shape) == size
    assert image.pixels.max() > 180 and image.pixels.min() < 30


def test_mask_only_in_pneumonia_and_of_sane_extent() -> None:
    for image in images():
        assert image.mask.any() == (image.label == 1)
        if image.label:
            assert 0.002 < image.mask.mean() < 0.45
    covered = [image.mask.mean() for image in images() if image.label]
    assert 0.05 < float(np.median(covered)) < 0.25


def test_mask_lies_off_the_edge() -> None:
    for image in images():
        frame = image.mask.copy()
        frame[3:-3, 3:-3] = False
        assert not frame.any()


def test_prevalence_and_split() -> None:
    diagnoses = [diagnosis_of(3, patient) for patient in range(200)]
    subtypes = [diagnosis.subtype for diagnosis in diagnoses]
    assert subtypes.count("bacteria") == subtypes.count("virus") == 60
    assert sum(diagnosis.split == "test" for diagnosis in diagnoses) == 40
    assert 0.5 < np.mean([image.label for image in images()]) < 0.7


def test_patients_are_numbered_within_their_subtype() -> None:
    diagnoses = [diagnosis_of(3, patient) for patient in range(200)]
    for subtype, count in (("normal", 80), ("bacteria", 60), ("virus", 60)):
        numbers = [each.number for each in diagnoses if each.subtype == subtype]
        assert numbers == list(range(count))


def test_each_subtype_has_its_pattern() -> None:
    patterns: dict[str, set[str]] = {}
    for image in images():
        patterns.setdefault(image.subtype, set()).add(image.pattern)
        assert (image.grade > 0) == (image.label == 1)
    assert patterns == {
        "normal": {"none"},
        "bacteria": {"lobar", "patchy"},
        "virus": {"interstitial"},
    }
    grades = [image.grade for image in images() if image.label]
    assert min(grades) < 0.2 and max(grades) > 0.8


def halves(image: PhantomImage) -> tuple[int, int]:
    middle = image.mask.shape[1] // 2
    return int(image.mask[:, :middle].sum()), int(image.mask[:, middle:].sum())


def test_interstitial_disease_is_in_both_lungs_and_the_others_in_one() -> None:
    for image in images():
        if image.label:
            less, more = sorted(halves(image))
            if image.pattern == "interstitial":
                assert less > 0.15 * more
            else:
                assert less < 0.25 * more


def straightness(mask: NDArray[np.bool_]) -> float:
    """Mean distance, px, of the mask's upper or lower border from a line, the better of the two."""
    columns = np.flatnonzero(mask.sum(axis=0) > 3)
    columns = columns[len(columns) // 5 : -(len(columns) // 5)]  # corners are round
    upper = mask[:, columns].argmax(axis=0)
    lower = mask.shape[0] - 1 - mask[::-1, columns].argmax(axis=0)
    misses = []
    for border in (upper, lower):
        line = np.polynomial.Polynomial.fit(columns, border, 1)(columns)
        misses.append(float(np.median(np.abs(border - line))))
    return min(misses)


def test_a_fissure_is_straight() -> None:
    missed: dict[str, list[float]] = {"lobar": [], "patchy": []}
    for image in images():
        if image.pattern in missed and image.mask.sum() > 150:
            missed[image.pattern].append(straightness(image.mask))
    assert np.median(missed["lobar"]) < 0.6
    assert np.median(missed["lobar"]) < 0.5 * np.median(missed["patchy"])


def test_every_subtype_has_the_same_aspects() -> None:
    for subtype in ("normal", "bacteria", "virus"):
        aspects = [
            image.pixels.shape[1] / image.pixels.shape[0]
            for image in images()
            if image.subtype == subtype
        ]
        assert np.mean(aspects) == pytest.approx(1.16, abs=0.02)
        assert max(after - before for before, after in pairwise(sorted(aspects))) < 0.04


@pytest.mark.parametrize("seed", [3, 4])
def test_border_and_thumbnail_do_not_predict_the_label(seed: int) -> None:
    pictures = squares(SIZE, seed)
    rim = np.ones((SIZE, SIZE), dtype=np.bool_)
    rim[4:-4, 4:-4] = False
    assert probe_auc(pictures[:, rim], seed) < 0.62
    assert probe_auc(blocks(pictures, 8), seed) < 0.62


def test_shape_does_not_predict_the_label() -> None:
    shapes = [[image.pixels.shape[0], image.pixels.shape[1]] for image in images()]
    assert probe_auc(np.array(shapes, dtype=np.float64)) < 0.62


def test_disease_has_texture() -> None:
    """Grey varies more from pixel to pixel inside the mask than in the rest of the image."""
    rougher = []
    for image in images():
        if image.label:
            grey = image.pixels.astype(float)
            steps = np.abs(grey[1:-1, 1:-1] - 0.5 * (grey[1:-1, :-2] + grey[1:-1, 2:]))
            inside = image.mask[1:-1, 1:-1]
            rougher.append(steps[inside].mean() > steps[~inside].mean())
    assert np.mean(rougher) > 0.8
