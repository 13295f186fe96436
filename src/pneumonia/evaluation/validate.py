"""`pneumonia validate`: measure a model on a folder of labelled images; nothing is trained."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pneumonia.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from pneumonia.datasets.manifest import SourceImage
    from pneumonia.inference.predictor import Predictor

DESCRIPTION = """Measure a model on your own labelled images; nothing is trained or logged.

FOLDER holds DICOM, PNG or JPEG files and labels.csv (file,label[,patient_id]).
The operating point is the model's own. Intervals are by patient. For research
and teaching, not a medical device."""
SHOWN = {
    "auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "brier": "Brier score",
    "ece": "calibration error",
}
COLUMNS = ["file", "label", "predicted", "probability", "logit"]
RESAMPLES, SEED = 1000, 7


@dataclass(frozen=True)
class Validation:
    """A model's results on images."""

    #: a row for each image that could be read: file, label, patient_id, logit, probability,
    #: predicted.
    images: pd.DataFrame
    unread: list[tuple[str, str]]  #: file name and reason of the others
    metrics: dict[str, tuple[float, float, float]]  #: value and 95 % interval, by name


def validate(predictor: Predictor, images: list[SourceImage]) -> Validation:
    """Read images, predict them one by one, and measure.

    Raises:
        InputError: no image of one class could be read.
    """
    import pandas as pd
    from tqdm import tqdm

    from pneumonia.datasets.manifest import reason_of
    from pneumonia.images.limits import ImageError
    from pneumonia.inference.predictor import LABELS
    from pneumonia.stats.metrics import intervals, score

    rows, unread = [], []
    for image in tqdm(images, desc="validate", unit="image", mininterval=1, disable=None):
        try:
            prediction = predictor.predict(image.read()[0])
        except (ImageError, OSError) as error:
            unread.append((image.file, reason_of(error)))
            continue
        rows.append(
            {
                "file": image.file,
                "label": image.label,
                "patient_id": image.patient_id,
                "logit": prediction.logit,
                "probability": prediction.probability,
                "predicted": LABELS.index(prediction.label),
            }
        )
    if {row["label"] for row in rows} != {0, 1}:
        lines = [f"{file}: {reason}" for file, reason in unread]
        raise InputError("\n".join([*lines, "no image of one class could be read"]))
    table = pd.DataFrame(rows)
    labels, logits = table["label"].to_numpy(), table["logit"].to_numpy()
    probability, threshold = table["probability"].to_numpy(), predictor.point.threshold
    patients = table["patient_id"].to_numpy(str)
    values = score(labels, probability, threshold, ranking=logits)
    bounds = intervals(labels, probability, threshold, patients, RESAMPLES, SEED, logits)
    return Validation(table, unread, {name: (values[name], *bounds[name]) for name in SHOWN})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pneumonia validate`."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="images and labels")
    parser.add_argument(
        "--output", type=Path, default=Path("predictions.csv"), metavar="FILE",
        help="where the predictions go, one row an image, without patients (predictions.csv)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, write; 1 if some image cannot be read, else 0.

    Raises:
        InputError: no such folder, model or class; errors in the table; or the output cannot be
            written.
    """
    from pneumonia.datasets.sources.table import images_in
    from pneumonia.inference.bundle import champion, load_model

    images = images_in(arguments.folder, "FOLDER")
    predictor = load_model(arguments.model or champion()).predictor
    result = validate(predictor, images)
    try:
        result.images[COLUMNS].to_csv(arguments.output, index=False, lineterminator="\n")
    except OSError as error:
        raise InputError(f"--output {arguments.output}: {error.strerror}") from None
    patients = result.images["patient_id"].nunique()
    positive = int(result.images["label"].sum())
    print(f"{len(result.images)} images of {patients} patients, {positive} images with pneumonia")
    print(f"threshold {predictor.point.threshold:.3f}, 95 % intervals by patient")
    for name, title in SHOWN.items():
        value, low, high = result.metrics[name]
        print(f"{title:26} {value:.3f} [{low:.3f}, {high:.3f}]")
    for file, reason in result.unread:
        print(f"validate: {file}: {reason}", file=sys.stderr)
    return int(bool(result.unread))
