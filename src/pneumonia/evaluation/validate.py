"""Measure a registered model on images of one's own, from the command line; nothing is trained."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pneumonia.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from pneumonia.datasets.manifest import SourceImage
    from pneumonia.inference.predictor import Predictor


DESCRIPTION = """Measure the champion on images of your own: nothing is trained, nothing logged.

FOLDER holds DICOM, PNG or JPEG files and labels.csv (file,label[,patient_id]). The operating point
is the model's own. Intervals go by patient. For research and teaching, not a medical device."""
SHOWN = {
    "auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "brier": "Brier score",
    "ece": "calibration error",
}
RESAMPLES, SEED = 1000, 7


@dataclass(frozen=True)
class Validation:
    """What a model does on images.

    Attributes:
        images: those that could be read: file, label, patient_id, logit, probability, predicted.
        unread: file and reason of the others.
        metrics: value and its 95 % interval, by name.
    """

    images: pd.DataFrame
    unread: list[tuple[str, str]]
    metrics: dict[str, tuple[float, float, float]]


def validate(predictor: Predictor, images: list[SourceImage]) -> Validation:
    """Read and predict images one by one, and measure.

    Raises:
        InputError: no image of a class could be read.
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
            found = predictor.predict([image.read()[0]])[0]
        except (ImageError, OSError) as error:
            unread.append((image.file, reason_of(error)))
            continue
        rows.append(
            {
                "file": image.file,
                "label": image.label,
                "patient_id": image.patient_id,
                "logit": found.logit,
                "probability": found.probability,
                "predicted": LABELS.index(found.label),
            }
        )
    if {row["label"] for row in rows} != {0, 1}:
        lines = [f"{file}: {reason}" for file, reason in unread]
        raise InputError("\n".join([*lines, "no image of one class could be read"]))
    table = pd.DataFrame(rows)
    labels, logits = table["label"].to_numpy(), table["logit"].to_numpy()
    probability, threshold = table["probability"].to_numpy(), predictor.point.threshold
    patients = table["patient_id"].to_numpy(str)
    values = score(labels, probability, threshold, None, logits)
    bounds = intervals(labels, probability, threshold, patients, RESAMPLES, SEED, logits)
    return Validation(table, unread, {name: (values[name], *bounds[name]) for name in SHOWN})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `pneumonia validate`."""
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--output", type=Path, default=Path("predictions.csv"), metavar="FILE",
        help="where the predictions go, a row an image, without patients (predictions.csv)",
    )  # fmt: skip
    parser.add_argument(
        "--model", default="models:/pneumonia-chest-xray@champion",
        help="another registered model, models:/NAME/VERSION",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, write; 1 if there is an image that cannot be read, else 0.

    Raises:
        InputError: no such folder, model or class; a table with mistakes; or nowhere to write.
    """
    from pneumonia.datasets.sources.table import images_in

    images = images_in(arguments.folder, "FOLDER")
    predictor = _registered(arguments.model)
    done = validate(predictor, images)
    columns = ["file", "label", "predicted", "probability", "logit"]
    try:
        done.images[columns].to_csv(arguments.output, index=False, lineterminator="\n")
    except OSError as error:
        raise InputError(f"--output {arguments.output}: {error.strerror}") from None
    patients = done.images["patient_id"].nunique()
    sick = int(done.images["label"].sum())
    print(f"{len(done.images)} images of {patients} patients, {sick} images with pneumonia")
    print(f"threshold {predictor.point.threshold:.3f}, 95 % intervals by patient")
    for name, title in SHOWN.items():
        value, low, high = done.metrics[name]
        print(f"{title:26} {value:.3f} [{low:.3f}, {high:.3f}]")
    for file, reason in done.unread:
        print(f"validate: {file}: {reason}", file=sys.stderr)
    return int(bool(done.unread))


def _registered(model: str) -> Predictor:
    from pneumonia.tracking import store

    os.environ["MLFLOW_TRACKING_URI"] = store.uri()
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow.pyfunc import load_model

    try:
        # MLflow, while it loads, sets its own filters and advises on the signature.
        with warnings.catch_warnings(record=True):
            predictor: Predictor = load_model(model).unwrap_python_model().served.predictor
    except Exception as error:
        # Each kind of store has its own exceptions: files, SQL, HTTP.
        raise store.not_loaded(model, error) from None
    return predictor
