"""Each warning is given for its reason, and none for an ordinary image."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pneumonia.datasets import phantom
from pneumonia.images.decoding import decode, encode_png
from pneumonia.inference.plausibility import Plausibility
from pneumonia.inference.warnings import ImageWarning, warn
from tests.images.dicom_files import dicom_bytes
from tests.inference.drawings import DRAWINGS
from tests.inference.images import HELD_OUT, SIZE, fitted

Picture = NDArray[np.uint8]


def image(number: int = 0, size: int = SIZE) -> Picture:
    """A drawn image that is not in the statistics; its shorter side has `size` px."""
    return phantom.draw(7, HELD_OUT.start + number, size).pixels


def of_file(payload: bytes, statistics: Plausibility | None) -> list[ImageWarning]:
    return warn(payload, decode(payload, SIZE), statistics)


def codes(picture: Picture, **tags: Any) -> list[str]:
    payload = dicom_bytes(picture, **tags) if tags else encode_png(picture)
    return [warning.code for warning in of_file(payload, fitted())]


@pytest.mark.parametrize("number", range(10))
def test_an_ordinary_image_gets_no_warning_in_any_format(number: int) -> None:
    picture = image(number)
    assert codes(picture) == []
    assert codes(np.repeat(picture[..., None], 3, axis=2)) == []
    header = {"BodyPartExamined": "CHEST", "ViewPosition": "AP", "PatientAge": "003Y"}
    assert codes(picture, **header) == []


def test_a_colour_photograph_gets_two_warnings() -> None:
    landscape = DRAWINGS["landscape"](np.random.default_rng(0))
    picture = np.stack([landscape, landscape[::-1], 255 - landscape], axis=-1)
    assert codes(picture)[:2] == ["colour_photograph", "not_a_chest_xray"]


def test_a_drawing_on_an_image_gets_a_warning_from_a_twentieth_on() -> None:
    picture = np.repeat(image()[..., None], 3, axis=2)
    width = picture.shape[1]
    for share, expected in ((0.02, False), (0.1, True)):
        drawn = picture.copy()
        drawn[:, width // 2 : width // 2 + max(1, round(share * width))] = (250, 220, 0)
        assert ("colour_photograph" in codes(drawn)) is expected


@pytest.mark.parametrize("name", DRAWINGS)
def test_other_things_are_not_chest_images(name: str) -> None:
    assert "not_a_chest_xray" in codes(DRAWINGS[name](np.random.default_rng(3)))


def test_an_inverted_image_gets_that_warning_only() -> None:
    assert codes(255 - image()) == ["inverted"]


def test_a_turned_image_is_told_its_orientation() -> None:
    for turns, words in ((1, "a quarter to the left"), (2, "by 180 degrees"), (3, "to the right")):
        [warning] = of_file(encode_png(np.rot90(image(), turns)), fitted())
        assert warning.code == "turned"
        assert words in warning.message


@given(st.integers(40, 2 * SIZE))
def test_an_image_smaller_than_the_model_s_square_is_too_small(side: int) -> None:
    picture = np.tile(image(), (2, 2))[:side, :side]
    found = {warning.code: warning.message for warning in of_file(encode_png(picture), None)}
    assert list(found) == (["too_small"] if side < SIZE else [])
    if found:
        assert f"{side}x{side} px" in found["too_small"]
        assert f"{SIZE} px" in found["too_small"]


def test_exposure_out_of_range_gets_a_warning() -> None:
    picture = image().astype(float)
    for changed in (picture / 5, 255 - (255 - picture) / 5):
        assert "exposure" in codes(np.rint(changed).astype(np.uint8))
    assert codes(np.zeros((SIZE, SIZE), np.uint8)) == ["not_a_chest_xray", "exposure"]


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"ViewPosition": "LL"}, "lateral"),
        ({"PatientAge": "018Y"}, "adult"),
        ({"BodyPartExamined": "HAND"}, "not_a_chest_xray"),
    ],
)
def test_a_dicom_header_can_give_a_warning(tags: dict[str, str], code: str) -> None:
    assert codes(image(), **tags) == [code]


@pytest.mark.parametrize("tags", [{"ViewPosition": "PA"}, {"PatientAge": "017Y"}])
def test_a_child_s_frontal_image_gets_no_warning(tags: dict[str, str]) -> None:
    assert codes(image(), **tags) == []


def test_no_code_comes_twice() -> None:
    page = DRAWINGS["page of text"](np.random.default_rng(0))
    found = codes(page, BodyPartExamined="HAND", ViewPosition="LL", PatientAge="070Y")
    assert [code for code in found if code != "exposure"] == [
        "not_a_chest_xray",
        "lateral",
        "adult",
    ]


def test_without_statistics_only_the_file_is_judged() -> None:
    page = DRAWINGS["page of text"](np.random.default_rng(0))
    assert of_file(encode_png(page), None) == []
    payload = dicom_bytes(image(), ViewPosition="LL")
    assert [warning.code for warning in of_file(payload, None)] == ["lateral"]


def test_messages_say_what_to_do_and_repeat_nothing_that_was_sent() -> None:
    header = {"BodyPartExamined": "SECRETPART", "ViewPosition": "RL", "PatientAge": "077Y"}
    pictures = [
        dicom_bytes(image(size=64), **header),
        encode_png(255 - image()),
        encode_png(np.rot90(image())),
        encode_png(np.zeros((SIZE, SIZE), np.uint8)),
        encode_png(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)),
    ]
    found = {one.code: one.message for payload in pictures for one in of_file(payload, fitted())}
    assert set(found) == {
        "colour_photograph", "not_a_chest_xray", "inverted", "turned", "exposure", "too_small",
        "lateral", "adult",
    }  # fmt: skip
    for message in found.values():
        assert re.search(r"[Ss]end|[Cc]heck|do not rely", message)
        assert message.endswith(".")
        assert "\n" not in message
        assert "SECRET" not in message
        assert "77" not in message


@given(st.binary(max_size=300), st.integers(0, 39))
def test_any_bytes_in_a_header_give_the_same_warnings(payload: bytes, number: int) -> None:
    decoded = decode(encode_png(image(number, 64)), SIZE)
    dicom = bytes(128) + b"DICM" + payload
    assert warn(dicom, decoded, fitted()) == warn(payload, decoded, fitted())
