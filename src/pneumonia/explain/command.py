"""The command `pneumonia explain`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pneumonia.core.errors import InputError

if TYPE_CHECKING:
    from pneumonia.inference.predictor import Predictor

DESCRIPTION = """Write the heat map of each image, laid over the image, as a PNG file.

FILE is a JPEG, PNG or DICOM image. The PNG has the proportions of the image;
its colours have one scale for all images of a model. Not a medical device: the
map shows where the model looked."""
LONGEST = 1024  # longest side of a PNG, px


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pneumonia explain`."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="images")
    parser.add_argument(
        "--output", type=Path, default=Path("explained"), metavar="FOLDER",
        help="where the PNG files go, named FILE.heat.png (explained)",
    )  # fmt: skip
    parser.add_argument(
        "--opacity", type=float, default=0.6, metavar="SHARE",
        help="of the hottest colour, 0 to 1 (0.6)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Explain every readable file; return 1 if a file cannot be read, else 0.

    Raises:
        InputError: no such model, an option out of range, or two files with the same name.
    """
    if not 0 <= arguments.opacity <= 1:
        raise InputError(f"--opacity: should be 0 to 1, not {arguments.opacity:g}")
    names = [file.name for file in arguments.files]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"{repeated[0]}: two files have this name, and so would their heat maps")
    from tqdm import tqdm

    from pneumonia.images.limits import ImageError
    from pneumonia.inference.bundle import champion, load_model

    predictor = load_model(arguments.model or champion()).predictor
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


def _explain(predictor: Predictor, file: Path, output: Path, opacity: float) -> str:
    """Write one heat map completely or not at all; return the prediction as a line of text."""
    from pneumonia.images.decoding import decode, encode_png, image_box
    from pneumonia.inference.overlay import overlay

    payload = file.read_bytes()
    prediction = predictor.predict(payload)
    image = decode(payload, predictor.graph.size)
    side = max(min(LONGEST, max(image.width, image.height)), predictor.graph.size)
    square = decode(payload, side).pixels
    drawn = overlay(square, prediction.heat_map, prediction.map_scale, opacity)
    heat_file = output / f"{file.name}.heat.png"
    writing = heat_file.with_suffix(".writing")
    writing.write_bytes(encode_png(drawn[image_box(image.width, image.height, side)]))
    writing.rename(heat_file)
    sign = ">=" if prediction.probability >= prediction.threshold else "<"
    return (
        f"{file}: {prediction.label}, probability {prediction.probability:.3f} {sign} "
        f"{prediction.threshold:.3f}; {heat_file}"
    )
