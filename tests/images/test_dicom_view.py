"""View, body part and age are read from a DICOM header, and nothing else."""

from __future__ import annotations

from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from pneumonia.images.dicom import VIEW_TAGS, DicomView, read_view
from tests.images.dicom_files import COMPRESSED, dicom_bytes
from tests.images.test_decoding import smooth_image
from tests.images.test_dicom import RADIOGRAPHS, SHIPPED


def view_of(**tags: Any) -> DicomView:
    return read_view(dicom_bytes(smooth_image(40, 40), **tags))


def view_code(value: str) -> list[Dataset]:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "SCT", "some view"
    return [code]


def test_an_empty_header_gives_the_defaults() -> None:
    assert view_of() == DicomView(lateral=False, chest=None, age=None)
    assert (
        view_of(BodyPartExamined="", ViewPosition="", PatientAge="", ViewCodeSequence=[])
        == DicomView()
    )


@pytest.mark.parametrize(
    ("position", "lateral"),
    [("AP", False), ("PA", False), ("LL", True), ("RL", True), ("LATERAL", True), ("LLD", False)],
)
def test_the_view_position_is_read(position: str, lateral: bool) -> None:
    assert view_of(ViewPosition=position).lateral is lateral


@pytest.mark.parametrize(
    ("code", "lateral"), [("399173006", True), ("R-10232", True), ("399348003", False)]
)
def test_the_view_code_is_read(code: str, lateral: bool) -> None:
    assert view_of(ViewCodeSequence=view_code(code)).lateral is lateral


@pytest.mark.parametrize(
    ("part", "chest"),
    [("CHEST", True), ("PORT CHEST", True), ("THORAX", True), ("HAND", False), ("ABDOMEN", False)],
)
def test_the_body_part_is_read(part: str, chest: bool) -> None:
    assert view_of(BodyPartExamined=part).chest is chest


@pytest.mark.filterwarnings("ignore:Invalid value for VR AS")
@pytest.mark.parametrize(
    ("written", "years"),
    [("034Y", 34), ("006M", 0.5), ("052W", 0.996), ("010D", 0.027), ("34", None), ("0xxY", None)],
)
def test_the_age_is_read_in_years(written: str, years: float | None) -> None:
    found = view_of(PatientAge=written).age
    assert found == (None if years is None else pytest.approx(years, abs=0.001))


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_compressed_images_have_headers_too(syntax: str) -> None:
    payload = dicom_bytes(
        smooth_image(40, 40), COMPRESSED[syntax], ViewPosition="LL", PatientAge="040Y"
    )
    assert read_view(payload) == DicomView(lateral=True, chest=None, age=40)


def test_headers_of_real_images_are_read() -> None:
    lateral, *others = (read_view((SHIPPED / name).read_bytes()) for name in RADIOGRAPHS)
    assert lateral == DicomView(lateral=True, chest=False, age=47)
    assert others == [DicomView(lateral=False, chest=False, age=47)] * 2


def test_no_tag_names_a_patient() -> None:
    names = {pydicom.datadict.keyword_for_tag(tag) for tag in VIEW_TAGS}
    assert names == {"BodyPartExamined", "PatientAge", "ViewCodeSequence", "ViewPosition"}


@given(st.data())
def test_a_damaged_header_causes_no_error(data: st.DataObject) -> None:
    payload = bytearray(
        dicom_bytes(smooth_image(20, 20), ViewPosition="LL", ViewCodeSequence=view_code("x"))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    assert isinstance(
        read_view(bytes(payload[: data.draw(st.integers(0, len(payload)))])), DicomView
    )
