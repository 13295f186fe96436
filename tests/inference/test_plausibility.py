"""The statistics recognise upright drawn chest X-rays, also after saving and loading."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from pneumonia.core.errors import InputError
from pneumonia.evaluation.shifts import SHIFTS, shifted
from pneumonia.images.decoding import decode, encode_png
from pneumonia.inference.plausibility import Plausibility, PlausibilityVerdict, fit, load
from tests.inference.drawings import DRAWINGS
from tests.inference.images import SIZE, fitted, held_out, images
from tests.pipeline.imports import ROOT

NAMES = [field.name for field in fields(Plausibility)]
FINE = PlausibilityVerdict(plausible=True, orientation="", exposed=True)
Turn = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def verdicts(squares: NDArray[np.uint8]) -> list[PlausibilityVerdict]:
    return [fitted().judge(square) for square in squares]


@pytest.mark.slow
def test_ordinary_images_get_no_warning() -> None:
    assert verdicts(held_out()) == [FINE] * len(held_out())


@pytest.mark.parametrize("strength", ["mild", "medium"])
@pytest.mark.parametrize("shift", [name for name in SHIFTS if name != "inversion"])
def test_shifted_images_are_still_chest_images(shift: str, strength: str) -> None:
    ids = [str(number) for number in range(len(held_out()))]
    seen = verdicts(shifted(held_out()[..., None], ids, shift, strength, seed=3)[..., 0])
    assert sum(not one.plausible for one in seen) <= 1
    assert not any(one.orientation for one in seen)


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawings_of_other_things_are_not_chest_images(name: str) -> None:
    drawn = [DRAWINGS[name](np.random.default_rng(seed)) for seed in range(10)]
    for picture in drawn:
        verdict = fitted().judge(decode(encode_png(picture), SIZE).pixels)
        assert not verdict.plausible
        assert verdict.orientation == ""


@pytest.mark.parametrize(
    ("alone", "name"), [("distance", "hand"), ("likeness", "noise"), ("detail", "gradient")]
)
def test_each_of_the_three_values_refuses_on_its_own(alone: str, name: str) -> None:
    off = {"distance": np.inf, "likeness": -np.inf, "detail": -np.inf}
    del off[alone]
    statistics = replace(fitted(), **{key: np.float32(limit) for key, limit in off.items()})
    square = decode(encode_png(DRAWINGS[name](np.random.default_rng(0))), SIZE).pixels
    assert not statistics.judge(square).plausible
    everything = replace(statistics, **{alone: np.float32(np.inf if alone == "distance" else -9)})
    assert everything.judge(square).plausible


@pytest.mark.parametrize(
    ("wrong", "turn"),
    [
        ("inverted", lambda image: 255 - image),
        ("turned a quarter to the left", np.rot90),
        ("turned a quarter to the right", lambda image: np.rot90(image, -1)),
        ("turned by 180 degrees", lambda image: np.rot90(image, 2)),
        ("upside down", lambda image: image[::-1]),
    ],
)
def test_a_wrong_orientation_is_recognised(wrong: str, turn: Turn) -> None:
    for image in held_out():
        verdict = fitted().judge(turn(image))
        assert (verdict.plausible, verdict.orientation) == (True, wrong)


def test_a_black_border_does_not_count() -> None:
    for image in held_out()[:10]:
        framed = np.zeros((2 * SIZE, 2 * SIZE), np.uint8)
        framed[20 : 20 + SIZE, 40 : 40 + SIZE] = image
        framed[5:9, 5:9] = 255  # a marker on the rim
        assert fitted().judge(framed) == fitted().judge(image)


@pytest.mark.parametrize("grey", [0, 5, 128, 255])
def test_a_blank_image_is_not_plausible(grey: int) -> None:
    blank = np.full((SIZE, SIZE), grey, np.uint8)
    assert fitted().judge(blank) == PlausibilityVerdict(
        plausible=False, orientation="", exposed=False
    )


def test_exposure_is_judged_apart_from_the_content() -> None:
    image = held_out()[0].astype(float)
    for changed in (image / 5, 255 - (255 - image) / 5, 110 + image / 20):
        verdict = fitted().judge(np.rint(changed).astype(np.uint8))
        assert not verdict.exposed
    assert fitted().judge(np.rint(image / 3).astype(np.uint8)).plausible


@given(arrays.arrays(np.uint8, st.tuples(st.integers(16, 70), st.integers(16, 70))))
def test_any_rectangle_has_a_verdict_and_noise_is_not_plausible(
    picture: NDArray[np.uint8],
) -> None:
    before = picture.copy()
    assert not fitted().judge(picture).plausible
    assert (picture == before).all()


@given(st.integers(0, 39), st.integers(-4, 4), st.integers(-4, 4))
def test_an_image_moved_on_a_black_background_has_the_same_verdict(
    image: int, down: int, right: int
) -> None:
    ground = np.zeros((SIZE + 8, SIZE + 8), np.uint8)
    ground[4 + down : 4 + down + SIZE, 4 + right : 4 + right + SIZE] = held_out()[image]
    assert fitted().judge(ground) == FINE


@pytest.mark.slow
def test_the_same_images_give_the_same_bytes_with_one_thread_and_with_all(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from tests.inference.images import fitted;"
        f"fitted().save(Path({str(tmp_path / 'other.npz')!r}))"
    )
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, env=environment)
    fitted().save(tmp_path / "here.npz")
    written = (tmp_path / "here.npz").read_bytes()
    assert written == (tmp_path / "other.npz").read_bytes()
    assert len(written) < 500_000
    load(tmp_path / "here.npz").save(tmp_path / "again.npz")
    assert written == (tmp_path / "again.npz").read_bytes()


def test_loaded_statistics_judge_like_the_saved_ones(tmp_path: Path) -> None:
    fitted().save(tmp_path / "found.npz")
    found = load(tmp_path / "found.npz")
    squares = [*held_out(), *(np.rot90(image) for image in held_out())]
    assert [found.judge(square) for square in squares] == verdicts(np.stack(squares))


def test_one_image_is_fitted_without_a_division_by_zero() -> None:
    some = images()[:1][..., None]
    for train in (some, np.zeros_like(some)):
        statistics = fit(train, train, shifted)
        assert all(np.isfinite(getattr(statistics, name)).all() for name in NAMES)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.npz: no such file; `dvc repro evaluate`"):
        load(tmp_path / "nowhere.npz")


@given(data=st.data())
def test_a_damaged_file_is_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    fitted().save(path)
    payload = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        payload = payload[: data.draw(st.integers(0, len(payload) - 1))]
    else:
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(payload)
    try:
        found = load(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: not a file of image statistics (")
        assert "\n" not in str(error)
    else:
        # A bit of the archive's own dates and flags: the statistics are unharmed.
        assert all((getattr(found, name) == getattr(fitted(), name)).all() for name in NAMES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mean", np.zeros(5, np.float32)),
        ("mean", np.full(1024, np.nan, np.float32)),
        ("components", np.float32(1)),
        ("variances", np.ones(3, np.float32)),
        ("distance", np.float64(1)),
        ("likeness", np.zeros(1, np.float32)),
    ],
)
def test_statistics_of_another_kind_are_refused(
    tmp_path: Path, name: str, value: NDArray[np.float32]
) -> None:
    replace(fitted(), **{name: value}).save(tmp_path / "other.npz")
    with pytest.raises(
        InputError, match=r"not a file of image statistics \(.* has the wrong form\)"
    ):
        load(tmp_path / "other.npz")


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    arrays_of = {name: getattr(fitted(), name) for name in NAMES}
    trap = np.empty((), object)
    trap[()] = re.compile("never")
    np.savez(tmp_path / "trap.npz", **(arrays_of | {"mean": trap}))
    with pytest.raises(InputError, match="not a file of image statistics"):
        load(tmp_path / "trap.npz")
