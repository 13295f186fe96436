"""Explain images from the command line: the overlay of each as a PNG."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pneumonia.core.errors import InputError

if TYPE_CHECKING:
    from pneumonia.inference.predictor import Predictor


DESCRIPTION = """Write the heat map of images laid over them, one PNG an image.

FILE is a JPEG, PNG or DICOM image. The picture has the image's own proportions; its colours have one
scale for all images of the model. Not a medical device: it shows where the model looked."""
LONGEST = 1024  # side of a picture, px
POINTS = Path("reports/evaluate/operating_point.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `pneumonia explain`."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument(
        "--output", type=Path, default=Path("explained"), metavar="FOLDER",
        help="where the pictures go, FILE's name + .heat.png (explained)",
    )  # fmt: skip
    parser.add_argument(
        "--model", choices=("scratch", "transfer"), help="default: the better one by validation"
    )
    parser.add_argument(
        "--opacity", type=float, default=0.6, help="of the hottest spot, 0 to 1 (0.6)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Explain every file that can be read; 1 if there is one that cannot, else 0.

    Raises:
        InputError: no trained model, an option out of range, or two files of one name.
    """
    if not 0 <= arguments.opacity <= 1:
        raise InputError(f"--opacity: should be 0 to 1, not {arguments.opacity:g}")
    names = [file.name for file in arguments.files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{twice[0]}: two files have this name, and so would their pictures")
    predictor = trained(arguments.model)
    from tqdm import tqdm

    from pneumonia.images.limits import ImageError

    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {arguments.output}: {error.strerror}") from None
    failed = False
    for file in tqdm(arguments.files, unit="image", disable=None if len(names) > 1 else True):
        try:
            line = _explain(predictor, file, arguments.output, arguments.opacity)
        except (ImageError, OSError) as error:
            where, reason = file, str(error)
            if isinstance(error, OSError):
                where, reason = error.filename or file, error.strerror or reason
            tqdm.write(f"explain: {where}: {reason}", file=sys.stderr)
            failed = True
        else:
            tqdm.write(line)
    return int(failed)


def trained(model: str | None) -> Predictor:
    """What the pipeline trained here: "scratch", "transfer", or None for the better one.

    Raises:
        InputError: it trained nothing yet.
    """
    from pneumonia.inference.bundle import load_model
    from pneumonia.inference.operating_point import OperatingPoints

    return load_model(model or OperatingPoints.read(POINTS).better).predictor


def _explain(predictor: Predictor, file: Path, output: Path, opacity: float) -> str:
    """Write one picture, whole or not at all; what was found, in a line."""
    from pneumonia.images.decoding import decode, encode_png, image_box
    from pneumonia.inference.overlay import overlay

    payload = file.read_bytes()
    found = predictor.predict(payload)
    image = decode(payload, predictor.graph.size)
    side = max(min(LONGEST, max(image.width, image.height)), predictor.graph.size)
    square = decode(payload, side).pixels
    drawn = overlay(square, found.heat_map, predictor.point.map_scale, opacity)
    picture = output / f"{file.name}.heat.png"
    writing = picture.with_suffix(".writing")
    writing.write_bytes(encode_png(drawn[image_box(image.width, image.height, side)]))
    writing.rename(picture)
    sign = ">=" if found.probability >= found.threshold else "<"
    return (
        f"{file}: {found.label}, probability {found.probability:.3f} {sign} {found.threshold:.3f}; "
        f"{picture}"
    )
