"""The command `pneumonia validate`: measure a model on a folder of labelled images, no training."""

from __future__ import annotations

import argparse
import sys
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


def predict(
    predictor: Predictor, images: list[SourceImage]
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Predict images one by one.

    Returns:
        a table with one row for each image that could be read: file, label, patient_id, logit,
        probability, predicted; and a list of the other images: file name and reason.

    Raises:
        InputError: for at least one class, no image could be read.
    """
    import pandas as pd
    from tqdm import tqdm

    from pneumonia.datasets.manifest import reason_of
    from pneumonia.images.limits import ImageError
    from pneumonia.inference.predictor import LABELS

    rows, unread = [], []
    for image in tqdm(images, desc="validate", unit="image", mininterval=1, disable=None):
        try:
            prediction = predictor.predict(image.read()[0])
        except (ImageError, OSError) as error:
            unread.append((image.file, reason_of(error)))
            continue
        rows.append(
            {
                "file": image.file, "label": image.label, "patient_id": image.patient_id,
                "logit": prediction.logit, "probability": prediction.probability,
                "predicted": LABELS.index(prediction.label),
            }
        )  # fmt: skip
    if {row["label"] for row in rows} != {0, 1}:
        lines = [f"{file}: {reason}" for file, reason in unread]
        raise InputError("\n".join([*lines, "no image of one class could be read"]))
    return pd.DataFrame(rows), unread


def measure(table: pd.DataFrame, threshold: float) -> dict[str, tuple[float, float, float]]:
    """Compute the value and the 95 % interval of each metric in `SHOWN`."""
    from pneumonia.stats.metrics import intervals, score

    labels, logits = table["label"].to_numpy(), table["logit"].to_numpy()
    probability, patients = table["probability"].to_numpy(), table["patient_id"].to_numpy(str)
    values = score(labels, probability, threshold, ranking=logits)
    bounds = intervals(labels, probability, threshold, patients, RESAMPLES, SEED, logits)
    return {name: (values[name], *bounds[name]) for name in SHOWN}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pneumonia validate`."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="images and labels")
    parser.add_argument(
        "--output", type=Path, default=Path("predictions.csv"), metavar="FILE",
        help="where the predictions go, one row an image, without patients (predictions.csv)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Print the metrics, write the predictions; return 1 if an image cannot be read, else 0.

    Raises:
        InputError: the folder, the model or a class is missing; the table has errors; or the
            output cannot be written.
    """
    from pneumonia.datasets.sources.table import images_in
    from pneumonia.inference.bundle import champion, load_model

    images = images_in(arguments.folder, "FOLDER")
    predictor = load_model(arguments.model or champion()).predictor
    table, unread = predict(predictor, images)
    metrics = measure(table, predictor.point.threshold)
    try:
        table[COLUMNS].to_csv(arguments.output, index=False, lineterminator="\n")
    except OSError as error:
        raise InputError(f"--output {arguments.output}: {error.strerror}") from None
    patients = table["patient_id"].nunique()
    positive = int(table["label"].sum())
    print(f"{len(table)} images of {patients} patients, {positive} images with pneumonia")
    print(f"threshold {predictor.point.threshold:.3f}, 95 % intervals by patient")
    for name, title in SHOWN.items():
        value, low, high = metrics[name]
        print(f"{title:26} {value:.3f} [{low:.3f}, {high:.3f}]")
    for file, reason in unread:
        print(f"validate: {file}: {reason}", file=sys.stderr)
    return int(bool(unread))
