"""Each shift changes an image as documented, independently of other images, and reproducibly."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pneumonia.datasets import phantom
from pneumonia.evaluation.shifts import SHIFTS, STRENGTHS, shifted
from pneumonia.images.decoding import decode, encode_png
from tests.conftest import image_bytes

SIDE = 224
CONDITIONS = [(shift, strength) for shift, spec in SHIFTS.items() for strength in spec.amounts]
GRADED = [shift for shift, spec in SHIFTS.items() if len(spec.amounts) == len(STRENGTHS)]


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    """Twelve drawn images, padded as by `prepare`."""
    drawn = [decode(encode_png(phantom.draw(7, index).pixels), SIDE) for index in range(12)]
    return np.stack([image.pixels for image in drawn])[..., None]


def ids(images: NDArray[np.uint8]) -> list[str]:
    return [f"image{number}" for number in range(len(images))]


def flat(grey: int, count: int = 1) -> NDArray[np.uint8]:
    return np.full((count, SIDE, SIDE, 1), grey, np.uint8)


def as_floats(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    return images.astype(np.float64)


def test_the_suite_has_three_strengths_of_everything_but_inversion() -> None:
    assert [shift for shift in SHIFTS if shift not in GRADED] == ["inversion"]
    assert list(SHIFTS["inversion"].amounts) == ["strong"]
    assert all(list(SHIFTS[shift].amounts) == list(STRENGTHS) for shift in GRADED)
    assert len(CONDITIONS) == 3 * len(GRADED) + 1 >= 31


@pytest.mark.parametrize(("shift", "strength"), CONDITIONS)
def test_an_image_is_changed_alike_in_any_set_and_the_input_stays(
    images: NDArray[np.uint8], shift: str, strength: str
) -> None:
    before = images.copy()
    changed = shifted(images, ids(images), shift, strength, seed=3)
    assert changed.dtype == np.uint8
    assert changed.shape == images.shape
    assert (images == before).all()
    assert (changed != images).any(axis=(1, 2, 3)).all()
    some = [7, 2]
    alone = shifted(images[some], [ids(images)[row] for row in some], shift, strength, seed=3)
    assert (alone == changed[some]).all()


@pytest.mark.parametrize("shift", ["exposure", "gamma", "contrast", "zoom", "rotation"])
def test_both_directions_occur_and_the_seed_decides_which(
    images: NDArray[np.uint8], shift: str
) -> None:
    copies = np.repeat(images[:1], 24, axis=0)
    results = {
        seed: [image.tobytes() for image in shifted(copies, ids(copies), shift, "medium", seed)]
        for seed in (1, 2)
    }
    assert [len(set(result)) for result in results.values()] == [2, 2]
    assert results[1] != results[2]


@pytest.mark.parametrize("shift", GRADED)
def test_a_stronger_shift_changes_more(images: NDArray[np.uint8], shift: str) -> None:
    changes = [
        np.abs(as_floats(shifted(images, ids(images), shift, strength, 3)) - images).mean()
        for strength in STRENGTHS
    ]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_an_unknown_shift_or_strength_is_an_error() -> None:
    for shift, strength in (("fog", "mild"), ("inversion", "mild")):
        with pytest.raises(KeyError):
            shifted(flat(9), ["a"], shift, strength, 3)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_exposure_moves_each_grey_value_by_its_share_of_the_range(strength: str) -> None:
    moved = as_floats(shifted(flat(128, 20), ids(flat(128, 20)), "exposure", strength, 3)) - 128
    share = round(SHIFTS["exposure"].amounts[strength] * 255)
    assert set(np.unique(moved)) == {-share, share}


def test_gamma_keeps_black_and_white_and_bends_the_middle() -> None:
    halves = flat(255)
    halves[:, : SIDE // 3], halves[:, SIDE // 3 : SIDE // 2] = 64, 12
    changed = shifted(np.repeat(halves, 20, 0), ids(flat(0, 20)), "gamma", "medium", 3)
    assert (changed[:, SIDE // 2 :] == 255).all()
    bent = {round(255 * (64 / 255) ** np.exp(sign * 0.25)) for sign in (-1, 1)}
    assert set(np.unique(changed[:, : SIDE // 3])) == bent


def test_contrast_stretches_about_the_mean(images: NDArray[np.uint8]) -> None:
    squeezed = (images // 4 + 100).astype(np.uint8)  # far from where it would be clipped
    changed = shifted(squeezed, ids(images), "contrast", "medium", 3)
    for before, after in zip(as_floats(squeezed), as_floats(changed), strict=True):
        assert after.mean() == pytest.approx(before.mean(), abs=0.2)
        assert abs(np.log(after.std() / before.std())) == pytest.approx(0.25, abs=0.02)


def test_noise_has_its_standard_deviation_and_is_each_images_own() -> None:
    changed = as_floats(shifted(flat(128, 2), ["a", "b"], "noise", "medium", 3)) - 128
    assert changed.std() == pytest.approx(0.03 * 255, rel=0.03)
    assert abs(np.corrcoef(changed[0].ravel(), changed[1].ravel())[0, 1]) < 0.05


def test_inversion_twice_is_no_change(images: NDArray[np.uint8]) -> None:
    once = shifted(images, ids(images), "inversion", "strong", 3)
    assert (shifted(once, ids(images), "inversion", "strong", 3) == images).all()


@pytest.mark.parametrize("shift", ["exposure", "gamma", "contrast", "noise", "inversion"])
def test_the_padding_stays_black(shift: str) -> None:
    padded = flat(0, 4)
    padded[:, 20:-20] = 90
    changed = shifted(padded, ids(padded), shift, "strong", 3)
    assert (changed[:, :20] == 0).all()
    assert (changed[:, -20:] == 0).all()
    assert changed[:, 20:-20].any()


def test_a_black_image_is_no_error() -> None:
    for shift, strength in CONDITIONS:
        assert shifted(flat(0), ["a"], shift, strength, 3).shape == flat(0).shape


def test_jpeg_is_what_decode_reads_from_a_jpeg_file(images: NDArray[np.uint8]) -> None:
    changed = shifted(images, ids(images), "jpeg", "strong", 3)
    for before, after in zip(images[..., 0], changed[..., 0], strict=True):
        assert (decode(image_bytes(before, quality=15), SIDE).pixels == after).all()


def test_blur_and_resolution_lose_detail_and_keep_the_mean(images: NDArray[np.uint8]) -> None:
    def detail(images: NDArray[np.uint8]) -> float:
        return float(np.abs(np.diff(as_floats(images), axis=1)).mean())

    for shift in ("blur", "resolution"):
        changed = shifted(images, ids(images), shift, "strong", 3)
        assert detail(changed) < 0.9 * detail(images)
        assert changed.mean() == pytest.approx(images.mean(), abs=0.5)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_zoom_keeps_the_centre_and_has_its_factor(strength: str) -> None:
    disc = flat(0, 20)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    disc[:, y**2 + x**2 < 80**2] = 200
    areas = []
    for image in as_floats(shifted(disc, ids(disc), "zoom", strength, 3))[..., 0]:
        centre = (image * y).sum() / image.sum(), (image * x).sum() / image.sum()
        assert centre == pytest.approx((0, 0), abs=0.05)
        areas.append(image.sum() / disc[0].sum())
    amount = 1 + SHIFTS["zoom"].amounts[strength]
    for area in areas:
        assert min(abs(area - amount**2), abs(area - amount**-2)) < 0.02
    assert max(areas) > 1 > min(areas)


def test_rotation_turns_about_the_centre_by_its_angle() -> None:
    bar = flat(0, 20)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    bar[:, (abs(y) < 8) & (abs(x) < 70)] = 200
    angles = []
    for image in as_floats(shifted(bar, ids(bar), "rotation", "strong", 3))[..., 0]:
        spread = np.array([[(image * a * b).sum() for a in (y, x)] for b in (y, x)])
        main = np.linalg.eigh(spread)[1][:, 1]
        angles.append(np.rad2deg(np.arctan(main[0] / main[1])))
    assert np.abs(angles) == pytest.approx(15, abs=0.3)
    assert max(angles) > 0 > min(angles)


def test_the_collimator_blacks_out_the_border_and_nothing_else(images: NDArray[np.uint8]) -> None:
    whole = flat(200, 20)
    changed = shifted(whole, ids(whole), "collimator", "strong", 3)[..., 0]
    least, most = round(0.06 * SIDE), round(0.12 * SIDE)
    for image in changed:
        assert set(np.unique(image)) == {0, 200}
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        widths = rows[0], SIDE - 1 - rows[-1], columns[0], SIDE - 1 - columns[-1]
        assert all(least <= width <= most for width in widths)
        assert (image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 200).all()
    padded = np.where(np.arange(SIDE)[None, :, None, None] < 30, 0, whole).astype(np.uint8)
    inner = shifted(padded, ids(whole), "collimator", "strong", 3)
    # The blades lie on the content, not on the padding.
    assert (inner[:, 30 : 30 + least - 2] == 0).all()
