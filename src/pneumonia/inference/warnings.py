"""What a user should know of a picture before the model's answer to it is believed.

A warning takes no answer away. What none of them can tell is in docs/explanation/warnings.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from pneumonia.images.decoding import DecodedImage
from pneumonia.inference.plausibility import INVERTED, Plausibility

# Share of the picture. No grey image of the Kermany set has any, whether stored in colour or not;
# photographs have .16 and more; below lie a coloured arrow or a letter on an image.
COLOURED = 0.05
ADULT = 18  # years


@dataclass(frozen=True)
class Warning:
    """One doubt about a picture.

    Attributes:
        code: for programs: colour_photograph, not_a_chest_xray, inverted, turned, too_small,
            exposure, lateral or adult.
        message: for people: what is the matter and what to do.
    """

    code: str
    message: str


def warn(payload: bytes, decoded: DecodedImage, plausibility: Plausibility | None) -> list[Warning]:
    """Say what is doubtful about a picture; nothing, about an ordinary image.

    Args:
        payload: the whole file that was decoded.
        decoded: what `data.image.decode` made of it.
        plausibility: statistics that came with the model; without them, only the file is judged.

    Returns:
        the weightiest first; no code twice, and no text that is the sender's.
    """
    found = []
    if decoded.colour > COLOURED:
        found.append(
            Warning(
                "colour_photograph",
                "The picture is in colour; a radiograph is grey. Send the image itself, not a "
                "photograph of something else or an image with coloured drawings on it.",
            )
        )
    found += _of_pixels(decoded, plausibility) if plausibility else []
    found += _of_size(decoded)
    found += _of_header(payload) if payload[128:132] == b"DICM" else []
    first = {warning.code: warning for warning in reversed(found)}
    return [warning for warning in found if first[warning.code] is warning]


def _of_pixels(decoded: DecodedImage, plausibility: Plausibility) -> list[Warning]:
    verdict = plausibility.judge(decoded.pixels)
    found = []
    if not verdict.plausible:
        found.append(
            Warning(
                "not_a_chest_xray",
                "The picture does not look like the frontal chest X-rays that the model was "
                "trained on, and its answer means nothing then. Check that the right file was "
                "sent and that it shows the whole chest.",
            )
        )
    elif verdict.wrong == INVERTED:
        found.append(
            Warning(
                "inverted",
                "The image seems to be inverted: air should be dark and bone bright. Invert it and "
                "send it again.",
            )
        )
    elif verdict.wrong:
        found.append(
            Warning(
                "turned",
                f"The image seems to be {verdict.wrong}. Turn it upright, the head at the top, and "
                "send it again.",
            )
        )
    # Of an inverted image brightness says nothing.
    if not verdict.exposed and verdict.wrong != INVERTED:
        found.append(
            Warning(
                "exposure",
                "The picture is darker, brighter, flatter or harder than the images that the model "
                "was trained on. Check exposure and window, and send it again from the original.",
            )
        )
    return found


def _of_size(decoded: DecodedImage) -> list[Warning]:
    """Of an image smaller than the square, which is enlarged and shows less than the model expects.

    Held against the square and not a fixed size: a model trained on small images asks no more.
    """
    side = len(decoded.pixels)
    if max(decoded.width, decoded.height) >= side:
        return []
    return [
        Warning(
            "too_small",
            f"The picture is {decoded.width}x{decoded.height} px; the model looks at {side} px. "
            "Fine signs of disease may be lost. Send the image at its original size.",
        )
    ]


def _of_header(payload: bytes) -> list[Warning]:
    # Half a second of imports that only DICOM needs.
    from pneumonia.images.dicom import read_view

    view = read_view(payload)
    found = []
    if view.chest is False:
        found.append(
            Warning(
                "not_a_chest_xray",
                "The DICOM header names another body part than the chest. Check that the right "
                "file was sent.",
            )
        )
    if view.lateral:
        found.append(
            Warning(
                "lateral",
                "The DICOM header names a lateral or oblique view. The model knows frontal images "
                "only; send the frontal one.",
            )
        )
    if view.age is not None and view.age >= ADULT:
        found.append(
            Warning(
                "adult",
                "The DICOM header says that the patient is an adult. If the model was trained on "
                "the Kermany set, it has seen children of 1 to 5 years only; do not rely on it.",
            )
        )
    return found
