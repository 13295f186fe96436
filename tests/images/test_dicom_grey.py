"""Grey values of DICOM images: windows, tables, inversion, padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset

from pneumonia.images.dicom import read_dicom
from pneumonia.images.limits import ImageError
from tests.images.dicom_files import dicom_bytes, radiograph, written
from tests.images.test_dicom import ramp, shown


def table(entries: NDArray[Any], first: int, bits: int, form: str = "OW") -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) % 2**16, first % 2**16, bits])
    if form == "OW":
        item.add_new("LUTData", "OW", entries.tobytes())
    else:
        item.add_new("LUTData", "US", entries.tolist())
    return [item]


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 1500, "WindowWidth": 900}])
def test_monochrome1_is_the_inverse_of_monochrome2(window: dict[str, int]) -> None:
    second = shown(ramp(), BitsStored=12, **window).astype(int)
    first = shown(ramp(), BitsStored=12, PhotometricInterpretation="MONOCHROME1", **window)
    assert np.abs(255 - second - first).max() <= 1
    assert first[0, 0] == 255
    assert second[0, 0] == 0


def test_without_a_window_the_used_range_is_shown() -> None:
    pixels = np.linspace(300, 1500, 40 * 40).astype(np.uint16).reshape(40, 40)
    found = shown(pixels, BitsStored=12)
    assert (found.min(), found.max()) == (0, 255)
    assert np.abs(found - 255 * (pixels - 300.0) / 1200).max() <= 0.5001


@pytest.mark.parametrize("level", [0, 1000, 4095])
def test_a_constant_image_is_grey_by_bits_stored(level: int) -> None:
    found = shown(np.full((20, 30), level, np.uint16), BitsStored=12)
    assert np.unique(found).tolist() == [round(255 * level / 4095)]


@given(
    st.floats(-2000, 6000),
    st.floats(1, 6000),
    st.sampled_from([0.25, 1, 2.5, -1]),
    st.integers(-3000, 3000),
)
def test_rescale_and_window_are_those_of_the_standard(
    center: float, width: float, slope: float, intercept: int
) -> None:
    center, width = round(center, 2), round(width, 2)
    found = shown(
        ramp(), BitsStored=12, RescaleSlope=str(slope), RescaleIntercept=str(intercept),
        WindowCenter=str(center), WindowWidth=str(width),
    )  # fmt: skip
    expected = np.empty(ramp().shape)
    # PS3.3 C.11.2.1.2.1, word by word.
    values = ramp().astype(float) * slope + intercept
    below = values <= center - 0.5 - (width - 1) / 2
    above = ~below & (values > center - 0.5 + (width - 1) / 2)
    between = ~below & ~above
    expected[below], expected[above] = 0, 255
    expected[between] = ((values[between] - (center - 0.5)) / (width - 1) + 0.5) * 255
    assert np.abs(found - expected).max() <= 0.51


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_each_window_function_agrees_with_pydicom(function: str) -> None:
    image = radiograph(
        ramp(), BitsStored=12, WindowCenter=1800, WindowWidth=1100, VOILUTFunction=function
    )
    expected = 255 * pydicom.pixels.apply_windowing(ramp(), image) / 4095
    image.PixelData = ramp().tobytes()
    image["PixelData"].VR = "OW"
    assert np.abs(read_dicom(written(image))[0] - expected).max() <= 0.5001


def test_the_first_of_several_windows_counts() -> None:
    one = shown(ramp(), BitsStored=12, WindowCenter=1000, WindowWidth=500)
    two = shown(ramp(), BitsStored=12, WindowCenter=[1000, 3000], WindowWidth=[500, 99])
    assert np.array_equal(one, two)


@pytest.mark.parametrize("form", ["OW", "US"])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_a_voi_table_takes_precedence_over_a_window(form: str, syntax: uid.UID) -> None:
    entries = (np.sqrt(np.arange(3000) / 2999) * 1023).astype(np.uint16)
    payload = dicom_bytes(
        ramp(), syntax, BitsStored=12, WindowCenter=1, WindowWidth=2,
        VOILUTSequence=table(entries, 500, 10, form),
    )  # fmt: skip
    expected = 255 * entries.astype(float)[np.clip(ramp().astype(int) - 500, 0, 2999)] / 1023
    assert np.abs(read_dicom(payload)[0] - expected).max() <= 0.5001


def test_a_table_in_big_endian_gives_the_same() -> None:
    entries = np.arange(4096, dtype=np.uint16)[::-1].copy()
    image = {"BitsStored": 12, "VOILUTSequence": table(entries.byteswap(), 0, 12)}
    found = read_dicom(dicom_bytes(ramp(), uid.ExplicitVRBigEndian, **image))[0]
    image["VOILUTSequence"] = table(entries, 0, 12)
    assert np.array_equal(found, shown(ramp(), **image))
    assert found[0, 0] == 255


def test_a_modality_table_comes_before_the_window() -> None:
    entries = np.arange(4096, dtype=np.uint16)[::-1].copy()
    window = {"BitsStored": 12, "WindowCenter": 1000, "WindowWidth": 700}
    found = shown(ramp(), ModalityLUTSequence=table(entries, 0, 12), **window)
    assert np.array_equal(found, shown(entries.reshape(-1, 64), **window))


def test_a_signed_table_begins_below_zero() -> None:
    pixels = ramp().astype(np.int16) - 2048
    entries = np.arange(4096, dtype=np.uint16)
    found = shown(pixels, VOILUTSequence=table(entries, -2048, 12))
    assert np.array_equal(found, shown(ramp(), VOILUTSequence=table(entries, 0, 12)))


def test_bits_above_bits_stored_are_ignored() -> None:
    overlay = ramp() | np.uint16(0x8000)
    assert np.array_equal(shown(overlay, BitsStored=12), shown(ramp(), BitsStored=12))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
def test_padding_is_black_and_no_part_of_the_range(photometric: str, signed: bool) -> None:
    image = (
        np.linspace(500, 1500, 40 * 40).reshape(40, 40).astype(np.int16 if signed else np.uint16)
    )
    padded = image.copy()
    first, last = (-2000, -1990) if signed else (4000, 4010)
    padded[:, :5], padded[:, 5:9] = first, last
    tags = {"PhotometricInterpretation": photometric}
    found = shown(padded, PixelPaddingValue=first, PixelPaddingRangeLimit=last, **tags)
    assert found[:, :9].max() == 0
    assert (found[:, 9:].min(), found[:, 9:].max()) == (0, 255)
    only_first = shown(padded, PixelPaddingValue=first, **tags)
    assert only_first[:, :5].max() == 0
    assert (only_first[:, 5:9].min() > 0) == ((photometric == "MONOCHROME1") == signed)


def test_a_table_of_impossible_depth_or_length_is_refused() -> None:
    with pytest.raises(ImageError, match="table of 17 bits"):
        shown(ramp(), VOILUTSequence=table(ramp()[0], 0, 17))
    short = table(ramp()[0], 0, 12)
    short[0].LUTDescriptor = [65, 0, 12]
    with pytest.raises(ImageError, match="table of 64 entries, 65 declared"):
        shown(ramp(), VOILUTSequence=short)
