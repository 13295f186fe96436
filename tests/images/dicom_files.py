"""DICOM files of an array, as a detector would write them."""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder

COMPRESSED = {
    "JPEG baseline": uid.JPEGBaseline8Bit,
    "JPEG extended": uid.JPEGExtended12Bit,
    "JPEG lossless": uid.JPEGLosslessSV1,
    "JPEG 2000": uid.JPEG2000Lossless,
    "RLE": uid.RLELossless,
}


def radiograph(pixels: NDArray[Any], **tags: Any) -> Dataset:
    """A DICOM data set without pixels; `tags` are added, and a tag of None is removed."""
    image = Dataset()
    bits = 8 * pixels.dtype.itemsize
    image.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
    image.SOPInstanceUID = "1.2.3"
    image.PatientName = "Nobody^Knows"
    image.Modality = "DX"
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = bits
    image.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in tags.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    if "HighBit" not in tags:
        image.HighBit = image.BitsStored - 1
    return image


def dicom_bytes(
    pixels: NDArray[Any], syntax: uid.UID = uid.ExplicitVRLittleEndian, **tags: Any
) -> bytes:
    """A DICOM file of integers (H, W) in a transfer syntax."""
    image = radiograph(pixels, **tags)
    if syntax.is_encapsulated:
        image.PixelData = encapsulate([compressed(pixels, syntax, int(image.BitsStored))])
        image["PixelData"].VR = "OB"
    else:
        order = "<" if syntax.is_little_endian else ">"
        image.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
        image["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
    return written(image, syntax)


def written(image: Dataset, syntax: uid.UID = uid.ExplicitVRLittleEndian) -> bytes:
    """The file of a data set, with preamble."""
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    image.save_as(
        buffer,
        enforce_file_format=True,
        implicit_vr=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian,
    )
    return buffer.getvalue()


def compressed(pixels: NDArray[Any], syntax: uid.UID, bits: int) -> bytes:
    """The compressed stream of a transfer syntax."""
    if syntax == uid.RLELossless:
        return get_encoder(syntax).encode(
            np.ascontiguousarray(pixels),
            rows=pixels.shape[0],
            columns=pixels.shape[1],
            samples_per_pixel=1,
            number_of_frames=1,
            bits_allocated=8 * pixels.itemsize,
            bits_stored=bits,
            pixel_representation=0,
            photometric_interpretation="MONOCHROME2",
        )
    if syntax in (uid.JPEG2000, uid.JPEG2000Lossless):
        return imagecodecs.jpeg2k_encode(
            pixels, codecformat="j2k", reversible=True, bitspersample=bits
        )
    if syntax in (uid.JPEGLossless, uid.JPEGLosslessSV1):
        return imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=bits)
    return imagecodecs.jpeg8_encode(pixels, level=95, bitspersample=bits)
