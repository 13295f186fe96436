"""A DICOM radiograph is decoded as its file says; other DICOM files are refused with a reason."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid

from pneumonia.images.decoding import decode
from pneumonia.images.dicom import TAGS, read_dicom
from pneumonia.images.limits import ImageError
from tests.conftest import image_bytes
from tests.images.dicom_files import COMPRESSED, dicom_bytes, radiograph, written
from tests.images.test_decoding import SIDES, SIZES, smooth_image
from tests.pipeline.imports import ROOT

SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
CR = "dicomdirtests/77654033/CR"
RADIOGRAPHS = (f"{CR}1/6154", f"{CR}2/6247", f"{CR}3/6278")
NOT_DICOM = "not a JPEG, PNG or DICOM image"
MODALITY = r"DICOM modality (\w+), not CR, DX or RG"
JPEG_LS = r"DICOM transfer syntax JPEG-LS .* is not read"
# The files of pydicom that are refused for another reason than their modality.
OTHER_REASONS = {
    "ExplVR_BigEndNoMeta.dcm": NOT_DICOM,
    "ExplVR_LitEndNoMeta.dcm": NOT_DICOM,
    "JPEGLSNearLossless_08.dcm": JPEG_LS,
    "JPEGLSNearLossless_16.dcm": JPEG_LS,
    "MR_small_jpeg_ls_lossless.dcm": JPEG_LS,
    "README.txt": NOT_DICOM,
    "SC_rgb_jls_lossy_line.dcm": JPEG_LS,
    "SC_rgb_jls_lossy_sample.dcm": JPEG_LS,
    "crayons.icc": NOT_DICOM,
    "dicomdirtests/README.txt": NOT_DICOM,
    "dicomdirtests/TINY_ALPHA/README": NOT_DICOM,
    "image_dfl.dcm": "DICOM transfer syntax Deflated Explicit VR Little Endian is not read",
    "meta_missing_tsyntax.dcm": "DICOM without a transfer syntax",
    "no_meta.dcm": NOT_DICOM,
    "rtplan.dump": NOT_DICOM,
    "rtstruct.dcm": NOT_DICOM,
    "rtstruct.dump": NOT_DICOM,
    "test1.json": NOT_DICOM,
    "test_PN.json": NOT_DICOM,
    "zipMR.gz": NOT_DICOM,
}
OTHERS = sorted(
    name
    for file in SHIPPED.rglob("*")
    if file.is_file() and (name := file.relative_to(SHIPPED).as_posix()) not in RADIOGRAPHS
)


def ramp(bits: int = 12) -> NDArray[np.uint16]:
    """Every value of a bit depth once, in an image of 64 columns."""
    return np.arange(2**bits, dtype=np.uint16).reshape(-1, 64)


def shown(pixels: NDArray[Any], **tags: Any) -> NDArray[np.uint8]:
    return read_dicom(dicom_bytes(pixels, **tags))[0]


@pytest.mark.parametrize("name", RADIOGRAPHS)
def test_the_radiographs_that_pydicom_ships_are_read(name: str) -> None:
    payload = (SHIPPED / name).read_bytes()
    image = decode(payload, 32)
    assert (image.width, image.height, image.mode) == (16, 16, "MONOCHROME1")
    xray = pydicom.dcmread(io.BytesIO(payload))
    values = pydicom.pixels.apply_modality_lut(xray.pixel_array, xray)
    expected = 255 - 255 * np.clip(
        (values - (xray.WindowCenter - 0.5)) / (xray.WindowWidth - 1) + 0.5, 0, 1
    )
    assert np.abs(read_dicom(payload)[0] - expected).max() <= 0.5001


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_files_of_pydicom_are_refused_with_a_reason(name: str) -> None:
    with pytest.raises(ImageError) as refused:
        decode((SHIPPED / name).read_bytes(), 32)
    reason = OTHER_REASONS.get(name, MODALITY)
    assert re.fullmatch(reason, str(refused.value))


@given(
    st.sampled_from([np.uint8, np.uint16, np.int16]),
    SIDES, SIDES, SIZES, st.sampled_from(["CR", "DX", "RG"]),
    st.sampled_from([uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian]),
)  # fmt: skip
def test_any_size_and_depth_becomes_a_grey_square(
    kind: Any, height: int, width: int, size: int, modality: str, syntax: uid.UID
) -> None:
    pixels = smooth_image(height, width).astype(kind)
    image = decode(dicom_bytes(pixels, syntax, Modality=modality), size)
    assert image.pixels.shape == (size, size)
    assert image.pixels.dtype == np.uint8
    assert (image.width, image.height, image.mode) == (width, height, "MONOCHROME2")


@given(SIDES, SIDES, SIZES)
def test_an_image_that_uses_all_levels_gives_the_square_of_its_png(
    height: int, width: int, size: int
) -> None:
    pixels = smooth_image(height, width)
    pixels[0, :2] = (0, 255)
    expected = decode(image_bytes(pixels, "PNG"), size).pixels
    for deep in (pixels, pixels.astype(np.uint16) * 257, pixels.astype(np.int16) - 128):
        assert np.array_equal(decode(dicom_bytes(deep), size).pixels, expected)


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("JPEG baseline", 8),
        ("JPEG extended", 12),
        *((name, bits) for name in ("JPEG lossless", "JPEG 2000", "RLE") for bits in (8, 12, 16)),
    ],
)
def test_a_compressed_image_gives_the_same_as_an_uncompressed(name: str, bits: int) -> None:
    image = smooth_image(61, 83)
    pixels = image if bits == 8 else (image.astype(np.uint16) << (bits - 8))
    tags = {"BitsStored": bits, "WindowCenter": 2**bits / 2, "WindowWidth": 2**bits}
    found = read_dicom(dicom_bytes(pixels, COMPRESSED[name], **tags))[0].astype(int)
    lossy = name in ("JPEG baseline", "JPEG extended")
    assert np.abs(found - shown(pixels, **tags)).max() <= (2 if lossy else 0)


@pytest.mark.parametrize("name", ["JPEG lossless", "JPEG 2000", "RLE"])
def test_a_signed_compressed_image_gives_the_same_as_an_uncompressed(name: str) -> None:
    pixels = (smooth_image(61, 83).astype(np.int16) - 128) * 16
    tags = {"BitsStored": 16, "WindowCenter": 0, "WindowWidth": 4096}
    # JPEG and RLE carry bit patterns; a JPEG 2000 stream is itself signed.
    stream = pixels if name == "JPEG 2000" else pixels.view(np.uint16)
    payload = dicom_bytes(stream, COMPRESSED[name], PixelRepresentation=1, **tags)
    assert np.array_equal(read_dicom(payload)[0], shown(pixels, **tags))


def test_values_above_bits_stored_from_a_lossy_codec_are_white() -> None:
    pixels = np.full((32, 32), 4095, np.uint16)
    pixels[:, :16] = 4100
    found = read_dicom(dicom_bytes(pixels, COMPRESSED["JPEG 2000"], BitsStored=16))[0]
    assert found.max() == 255
    image = pydicom.dcmread(io.BytesIO(dicom_bytes(pixels, COMPRESSED["JPEG 2000"], BitsStored=16)))
    image.BitsStored, image.HighBit, image.WindowCenter, image.WindowWidth = 12, 11, 2048, 4096
    assert read_dicom(written(image, COMPRESSED["JPEG 2000"]))[0].min() == 255


def test_big_endian_of_16_bits_gives_the_same() -> None:
    found = read_dicom(dicom_bytes(ramp(), uid.ExplicitVRBigEndian, BitsStored=12))[0]
    assert np.array_equal(found, shown(ramp(), BitsStored=12))
    with pytest.raises(ImageError, match="big endian"):
        read_dicom(dicom_bytes(smooth_image(20, 20), uid.ExplicitVRBigEndian))


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"Modality": "CT"}, "DICOM modality CT, not CR, DX or RG"),
        ({"Modality": None}, "DICOM modality missing"),
        ({"NumberOfFrames": 2}, "DICOM of 2 frames, not one"),
        ({"PhotometricInterpretation": "RGB"}, "DICOM in colour"),
        ({"SamplesPerPixel": 3}, "DICOM in colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "DICOM in colour"),
        ({"BitsAllocated": 32}, "Bits Allocated 32, not 8 or 16"),
        ({"BitsStored": 17}, "Bits Stored 17, not 1 to 16"),
        ({"BitsStored": 12, "HighBit": 15}, "High Bit 15, not Bits Stored less one"),
        ({"Rows": None}, "without an image"),
        ({"Rows": 20000, "Columns": 20000}, "over 40 megapixels"),
        ({"Rows": 15}, "a side is under 16 px"),
        ({"Rows": 65}, r"truncated DICOM: 8,192 of 8,320 bytes of pixels"),
        ({"WindowCenter": 5, "WindowWidth": 0}, "DICOM Window Width 0"),
        ({"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "function CUBIC"),
        ({"RescaleSlope": 0, "RescaleIntercept": 1}, "Rescale Slope 0"),
    ],
)  # fmt: skip
def test_anything_but_one_grey_radiograph_is_refused(tags: dict[str, Any], reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(dicom_bytes(ramp(), **tags), 32)


def test_a_file_without_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match="without pixel data"):
        decode(written(radiograph(ramp())), 32)


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("share", [0.6, 0.9])
def test_a_truncated_image_is_refused(name: str, share: float) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    if name == "JPEG extended":
        pixels, bits = pixels.astype(np.uint16), 12
    else:
        bits = 8
    payload = dicom_bytes(pixels, COMPRESSED[name], BitsStored=bits)
    with pytest.raises(ImageError, match="truncated"):
        decode(payload[: int(share * len(payload))], 32)
    image = pydicom.dcmread(io.BytesIO(payload))
    stream = pydicom.encaps.get_frame(image.PixelData, 0, number_of_frames=1)
    image.PixelData = pydicom.encaps.encapsulate([stream[: int(share * len(stream))]])
    with pytest.raises(ImageError, match="truncated"):
        decode(written(image, COMPRESSED[name]), 32)


@pytest.mark.parametrize("name", ["JPEG extended", "JPEG lossless", "JPEG 2000"])
def test_a_stream_of_another_size_than_the_header_is_not_decoded(name: str) -> None:
    payload = dicom_bytes(ramp(), COMPRESSED[name], BitsStored=12)
    image = pydicom.dcmread(io.BytesIO(payload))
    image.Rows = 32
    with pytest.raises(ImageError, match="compressed image has 64x64 px of 1 samples"):
        decode(written(image, COMPRESSED[name]), 32)


def test_a_colour_stream_behind_a_grey_header_is_refused() -> None:
    image = radiograph(smooth_image(64, 64))
    colour = image_bytes(np.asarray(Image.fromarray(smooth_image(64, 64)).convert("RGB")))
    image.PixelData = pydicom.encaps.encapsulate([colour])
    image["PixelData"].VR = "OB"
    with pytest.raises(ImageError, match="of 3 samples"):
        decode(written(image, uid.JPEGBaseline8Bit), 32)


def test_too_many_elements_are_refused() -> None:
    payload = dicom_bytes(ramp())
    at = payload.index(b"\x28\x00\x02\x00US")
    empty = b"\x09\x00\x01\x00UN\0\0\0\0\0\0"
    with pytest.raises(ImageError, match="too many data elements"):
        decode(payload[:at] + empty * 20_000 + payload[at:], 32)


def test_a_too_long_element_is_refused() -> None:
    image = radiograph(ramp())
    image.PixelData = ramp().tobytes()
    image["PixelData"].VR = "OW"
    image.add_new("WindowCenter", "UT", "1\\" * 1000)
    with pytest.raises(ImageError, match=r"data element \(0028,1050\) that is too long"):
        decode(written(image, uid.ImplicitVRLittleEndian), 32)


def test_a_too_long_table_is_refused() -> None:
    payload = dicom_bytes(ramp(), uid.ImplicitVRLittleEndian)
    at = payload.index(b"\xe0\x7f\x10\x00")
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 60_000
    sequence = b"\x28\x00\x10\x30" + len(items).to_bytes(4, "little") + items
    with pytest.raises(ImageError, match=r"data element \(0028,3010\) that is too long"):
        decode(payload[:at] + sequence + payload[at:], 32)


def test_no_tag_of_a_patient_is_read() -> None:
    groups = {tag >> 16 for tag in TAGS}
    assert groups == {0x0008, 0x0028}
    assert 0x0010 not in groups
    with pytest.raises(ImageError) as refused:
        decode(dicom_bytes(ramp(), Modality="CT", PatientName="Doe^Jane", PatientID="77"), 32)
    assert "Doe" not in str(refused.value)


def test_other_formats_do_not_import_pydicom() -> None:
    script = (
        "import sys; from pneumonia.images.decoding import decode, encode_png; import numpy;"
        "decode(encode_png(numpy.zeros((20, 20), 'uint8')), 32);"
        "sys.exit('pydicom' in sys.modules or 'imagecodecs' in sys.modules)"
    )
    environment = {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
