"""Messages to the sender of an image: warnings, or the reason why the image is not usable.

A warning does not stop the prediction. docs/explanation/warnings.md has the limits of the checks.
"""

from __future__ import annotations

from dataclasses import dataclass

from pneumonia.images.decoding import DecodedImage
from pneumonia.images.limits import ImageError
from pneumonia.inference.plausibility import INVERTED, Plausibility

# Share of coloured pixels above which an image counts as coloured. Grey images of the Kermany set
# have 0, and X-rays with a coloured arrow or letter have less than this; photographs have >= .16.
COLOURED = 0.05
ADULT = 18  # years

REMEDIES = {
    "corrupt_image": "the file is truncated or corrupt: export or upload it again",
    "empty_file": "the file is empty: choose another or upload it again",
    "not_an_image": "the file is not a readable image: send a JPEG, a PNG or a DICOM radiograph",
    "not_a_radiograph": "the DICOM file is not a single radiograph: send one grey frame of "
    "modality CR, DX or RG",
    "too_complex": "save the image again as a plain JPEG or PNG",
    "too_elongated": "crop the image to the X-ray",
    "too_large": "send a smaller version",
    "too_small": "send a larger version",
    "unsupported_dicom": "this encoding of DICOM is not supported: export the file uncompressed, "
    "with 8 to 16 bits",
}


def image_error(error: ImageError) -> dict[str, str]:
    """Return the code and the message for an image that is not usable.

    An error's text may quote the file. Only `too_...` errors show their text, which is numbers.
    """
    remedy = REMEDIES[error.code]
    message = f"{error}: {remedy}" if error.code.startswith("too_") else remedy
    return {"code": error.code, "message": message}


@dataclass(frozen=True)
class ImageWarning:
    """One reason to doubt the prediction for an image."""

    #: for programs: colour_photograph, not_a_chest_xray, inverted, turned, too_small, exposure,
    #: lateral or adult.
    code: str
    message: str  #: text for people: the problem and what to do


def warn(
    payload: bytes, decoded: DecodedImage, plausibility: Plausibility | None
) -> list[ImageWarning]:
    """Check an image and the file, `payload`, that it was decoded from.

    Without statistics of the training images, only colour, size and DICOM header are checked. The
    most important warning comes first, and no code is repeated. An ordinary chest X-ray gets none.
    """
    verdict = plausibility.judge(decoded.pixels) if plausibility else None
    orientation = verdict.orientation if verdict else ""
    view = None
    if payload[128:132] == b"DICM":
        # Only DICOM needs this import, which takes half a second.
        from pneumonia.images.dicom import read_view

        view = read_view(payload)
    side = len(decoded.pixels)
    checks = [
        (
            decoded.colour > COLOURED, "colour_photograph",
            "The image is in colour; a radiograph is grey. Send the X-ray itself, not a photograph "
            "of something else or an X-ray with coloured drawings on it.",
        ),
        (
            verdict and not verdict.plausible, "not_a_chest_xray",
            "The image does not look like the frontal chest X-rays that the model was trained on, "
            "so its prediction means nothing. Check that the right file was sent and that it shows "
            "the whole chest.",
        ),
        (
            orientation == INVERTED, "inverted",
            "The image seems to be inverted: air should be dark and bone bright. Invert it and "
            "send it again.",
        ),
        (
            orientation not in ("", INVERTED), "turned",
            f"The image seems to be {orientation}. Turn it upright, with the head at the top, and "
            "send it again.",
        ),
        (
            # The brightness of an inverted image says nothing about its exposure.
            verdict and not verdict.exposed and orientation != INVERTED, "exposure",
            "The image is darker or brighter, or has less or more contrast, than the images that "
            "the model was trained on. Check exposure and window, and send it again from the "
            "original.",
        ),
        (
            # The image is enlarged to the model's square, so it shows less detail.
            max(decoded.width, decoded.height) < side, "too_small",
            f"The image has {decoded.width}x{decoded.height} px; the model uses {side} px. Fine "
            "signs of disease may be lost. Send the image at its original size.",
        ),
        (
            view and view.chest is False, "not_a_chest_xray",
            "The DICOM header names a body part other than the chest. Check that the right file "
            "was sent.",
        ),
        (
            view and view.lateral, "lateral",
            "The DICOM header names a lateral or oblique view. The model was trained only on "
            "frontal images; send the frontal image.",
        ),
        (
            view and view.age is not None and view.age >= ADULT, "adult",
            "The DICOM header says that the patient is an adult. A model trained on the Kermany "
            "set has seen only children of 1 to 5 years; do not rely on it.",
        ),
    ]  # fmt: skip
    warnings: dict[str, ImageWarning] = {}
    for applies, code, message in checks:
        if applies:
            warnings.setdefault(code, ImageWarning(code, message))
    return list(warnings.values())
