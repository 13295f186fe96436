"""The drawn films are reproducible, consistent by patient, and hold no shortcut to the label."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from pneumonia.data.phantom import Film, diagnosis_of, draw, patient_of

SIZE = 96


@cache
def films(count: int = 200, seed: int = 3) -> tuple[Film, ...]:
    return tuple(draw(seed, index, SIZE) for index in range(count))


def squares(side: int) -> NDArray[np.float64]:
    """The films sampled to side x side, whatever their shape."""
    out = []
    for film in films():
        height, width = film.pixels.shape
        row = np.linspace(0, height - 1, side).round().astype(int)
        column = np.linspace(0, width - 1, side).round().astype(int)
        out.append(film.pixels[np.ix_(row, column)] / 255.0)
    return np.stack(out)


def blocks(pictures: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Mean grey of each of count x count equal blocks, one row a film."""
    side = pictures.shape[1] // count
    tiled = pictures.reshape(len(pictures), count, side, count, side)
    means: NDArray[np.float64] = tiled.mean(axis=(2, 4)).reshape(len(pictures), -1)
    return means


def probe_auc(features: NDArray[np.float64]) -> float:
    """Area under the ROC curve, on half of the patients, of ridge regression on the other half."""
    labels = np.array([film.label for film in films()])
    held = np.array([film.patient % 2 == 1 for film in films()])
    middle, spread = features[~held].mean(0), features[~held].std(0) + 1e-6
    scaled = (features - middle) / spread
    kernel = scaled @ scaled[~held].T
    target = labels[~held] - labels[~held].mean()
    penalty = features.shape[1] * np.eye(int((~held).sum()))
    score = kernel[held] @ np.linalg.solve(kernel[~held] + penalty, target)
    sick, well = score[labels[held] == 1], score[labels[held] == 0]
    return float((sick[:, None] > well[None, :]).mean())


def test_same_film_twice() -> None:
    first, again = draw(5, 11, SIZE), draw(5, 11, SIZE)
    assert first.pixels.tobytes() == again.pixels.tobytes()
    assert first.mask.tobytes() == again.mask.tobytes()


def test_alone_equals_in_sequence() -> None:
    for index in (0, 17, 101):
        alone, within = draw(3, index, SIZE), films()[index]
        assert (alone.patient, alone.label, alone.split) == (
            within.patient,
            within.label,
            within.split,
        )
        assert np.array_equal(alone.pixels, within.pixels)
        assert np.array_equal(alone.mask, within.mask)


def test_other_seed_or_index_differs() -> None:
    film = draw(3, 1, SIZE).pixels
    assert not np.array_equal(film, draw(4, 1, SIZE).pixels)
    assert not np.array_equal(film, draw(3, 2, SIZE).pixels)  # the same patient


def test_patient_of_cycles() -> None:
    assert [patient_of(index) for index in range(9)] == [0, 1, 1, 2, 3, 3, 3, 4, 5]
    assert all(film.patient == patient_of(film.index) for film in films())


def test_patient_shares_diagnosis_and_split() -> None:
    seen: dict[int, tuple[int, str, str]] = {}
    for film in films():
        facts = (film.label, film.subtype, film.split)
        assert seen.setdefault(film.patient, facts) == facts
        assert (film.subtype, film.split) == diagnosis_of(3, film.patient)
        assert film.label == (film.subtype != "normal")


def test_shapes_and_types() -> None:
    for film in films():
        assert film.pixels.dtype == np.uint8 and film.mask.dtype == np.bool_
        assert film.pixels.shape == film.mask.shape
        assert min(film.pixels.shape) == SIZE and max(film.pixels.shape) <= 1.4 * SIZE
    assert len({film.pixels.shape for film in films()}) > 20


@pytest.mark.parametrize("size", [64, 224])
def test_sizes(size: int) -> None:
    film = draw(3, 0, size)
    assert min(film.pixels.shape) == size
    assert film.pixels.max() > 180 and film.pixels.min() < 30


def test_mask_only_in_pneumonia_and_of_sane_extent() -> None:
    for film in films():
        assert film.mask.any() == (film.label == 1)
        if film.label:
            assert 0.002 < film.mask.mean() < 0.45
    covered = [film.mask.mean() for film in films() if film.label]
    assert 0.05 < float(np.median(covered)) < 0.25


def test_mask_lies_off_the_edge() -> None:
    for film in films():
        frame = film.mask.copy()
        frame[3:-3, 3:-3] = False
        assert not frame.any()


def test_prevalence_and_split() -> None:
    diagnoses = [diagnosis_of(3, patient) for patient in range(200)]
    subtypes = [subtype for subtype, _ in diagnoses]
    assert subtypes.count("bacteria") == subtypes.count("virus") == 60
    assert sum(split == "test" for _, split in diagnoses) == 40
    assert 0.5 < np.mean([film.label for film in films()]) < 0.7


def test_border_does_not_tell_the_label() -> None:
    pictures = squares(SIZE)
    rim = np.ones((SIZE, SIZE), dtype=np.bool_)
    rim[4:-4, 4:-4] = False
    assert probe_auc(pictures[:, rim]) < 0.65


def test_thumbnail_and_shape_hardly_tell_the_label() -> None:
    assert probe_auc(blocks(squares(SIZE), 8)) < 0.72
    shapes = [[film.pixels.shape[0], film.pixels.shape[1]] for film in films()]
    assert probe_auc(np.array(shapes, dtype=np.float64)) < 0.65


def test_disease_has_texture() -> None:
    """Grey varies more from pixel to pixel inside the mask than in the rest of the film."""
    rougher = []
    for film in films():
        if film.label:
            grey = film.pixels.astype(float)
            steps = np.abs(grey[1:-1, 1:-1] - 0.5 * (grey[1:-1, :-2] + grey[1:-1, 2:]))
            inside = film.mask[1:-1, 1:-1]
            rougher.append(steps[inside].mean() > steps[~inside].mean())
    assert np.mean(rougher) > 0.8
