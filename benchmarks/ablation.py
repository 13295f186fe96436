"""Measure the effect of a param of the training on easy and on hard images.

On the Kermany set every model is nearly perfect on a random hold-out. So two parts are held out of
the images that are not in the test split:

- easy: a tenth of the patients, as in validation;
- hard: patients whose images are misleading. A linear model on the images at 8x8 and at 16x16 px,
  fitted to other patients, predicts the wrong class for them, or nearly so. On other images it
  reads the label from framing and exposure; on these images that does not work.

A network is trained on the remaining images with the shipped params and the changes of `--set`. It
is scored on both parts, on the hard one also under each medium shift of
`pneumonia.evaluation.shifts`. `two views` scores the hard part with the mean logit of each image
and its enlarged inner nine tenths. The test split is not read. Prints one line; the numbers in
docs/explanation/models.md come from here.

With `--average A B` nothing is trained. It scores the mean of the logits that two runs have written
with `--logits`, as an ensemble of the two.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

if TYPE_CHECKING:
    import keras

ROOT = Path(__file__).parents[1]
SHIFTS = ("exposure", "contrast", "noise", "zoom", "resolution", "collimator")
# For each class: the share of patients in the hard part, and how strongly their draw depends on how
# misleading their images are.
HARD = {0: (0.24, 2.5), 1: (0.13, 0.7)}


def hold_out(
    images: NDArray[np.uint8], labels: NDArray[np.int64], patients: NDArray[np.str_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which images are hard and which are easy, each of shape (N,); the rest is for training."""
    misleading = _misleading(images, labels, patients)
    table = pd.DataFrame({"patient": patients, "label": labels, "misleading": misleading})
    by_patient = table.groupby("patient").agg({"label": "max", "misleading": "mean"})
    rng = np.random.default_rng(0)
    hard: list[str] = []
    for label, (share, strength) in HARD.items():
        of_class = by_patient[by_patient["label"] == label]
        odds = np.exp(strength * of_class["misleading"].clip(-3, 1.5))
        count = round(share * len(of_class))
        hard += list(rng.choice(of_class.index, count, replace=False, p=odds / odds.sum()))
    is_hard = np.isin(patients, hard)
    remaining = np.unique(patients[~is_hard])
    easy = rng.choice(remaining, len(remaining) // 10, replace=False)
    return is_hard, np.isin(patients, easy)


def _misleading(
    images: NDArray[np.uint8], labels: NDArray[np.int64], patients: NDArray[np.str_]
) -> NDArray[np.float64]:
    """How far a linear model is on the side of the wrong class, (N,), in standard deviations."""
    total = np.zeros(len(labels))
    for side, penalty in ((8, 0.1), (16, 0.01)):
        pixels = _resized(images, side).reshape(len(labels), -1)
        logits = np.empty(len(labels))
        folds = GroupKFold(6, shuffle=True, random_state=0)
        for train, held in folds.split(labels, groups=patients):
            model = make_pipeline(
                StandardScaler(), LogisticRegression(C=penalty, max_iter=3000)
            ).fit(pixels[train], labels[train])
            logits[held] = model.decision_function(pixels[held])
        total += (logits - logits.mean()) / logits.std()
    return np.where(labels == 1, -1, 1) * total / 2


def _resized(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    from PIL import Image

    if images.shape[1] == side:
        return images
    squares = [
        Image.fromarray(image[..., 0]).resize((side, side), Image.Resampling.BOX)
        for image in images
    ]
    return np.stack([np.asarray(square) for square in squares])[..., None]


def changed(block: dict[str, Any], changes: list[str]) -> dict[str, Any]:
    """The params of a training and `augment`, changed by `key=value` or `augment.key=value`."""
    block = {**block, "augment": dict(block["augment"])}
    for change in changes:
        key, _, value = change.partition("=")
        *above, last = key.split(".")
        target = block[above[0]] if above else block
        if last not in target:
            sys.exit(f"--set {change}: no '{key}' among the params of this training")
        target[last] = yaml.safe_load(value)
    return block


def train(
    name: str, block: dict[str, Any], splits: tuple[Any, Any], size: int
) -> tuple[keras.Model, float]:
    """The trained network and the seconds of the training."""
    from pneumonia.core.config import AugmentParams, ScratchParams, TransferParams
    from pneumonia.models import devices, loop, scratch, transfer
    from pneumonia.models.batches import TrainingData
    from pneumonia.models.checkpoint import Checkpoint

    def print_epoch(row: dict[str, float]) -> None:
        values = " ".join(f"{key}={value:.4g}" for key, value in row.items())
        print(f"  {values} seconds={time.perf_counter() - begin:.0f}", file=sys.stderr, flush=True)

    data = TrainingData(*splits, AugmentParams.model_validate(block.pop("augment")))
    history: list[dict[str, float]] = []
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder), "")
        if name == "scratch":
            params = ScratchParams.model_validate(block)
            devices.make_deterministic(params.seed, params.precision)
            model = scratch.build(params, size)
            groups = [loop.LayerGroup(model.layers)]
        else:
            params = TransferParams.model_validate(block)
            devices.make_deterministic(params.seed, params.precision)
            model = transfer.build(params, size)
            transfer.fit_head(model, data.train, params)
            groups = transfer.groups(model, params)
        if params.epochs:
            loop.fit(model, groups, data, params, params.epochs, history, checkpoint, print_epoch)
    return model, time.perf_counter() - begin


def metrics(logits: dict[str, NDArray[Any]]) -> str:
    """AUCs; on the easy images also Brier score and mean probability minus prevalence."""
    easy, hard = logits["easy_labels"], logits["hard_labels"]
    shifted = [roc_auc_score(hard, logits[shift]) for shift in SHIFTS]
    probability = 1 / (1 + np.exp(-logits["easy"].astype(np.float64)))
    values = {
        "easy": roc_auc_score(easy, logits["easy"]),
        "hard": roc_auc_score(hard, logits["hard"]),
        "hard shifted": float(np.mean(shifted)),
        "two views": roc_auc_score(hard, logits["two views"]),
        "easy Brier": brier_score_loss(easy, probability),
        "easy excess": float(probability.mean() - easy.mean()),
    }
    return ", ".join(f"{key} {value:.4f}" for key, value in values.items())


def main() -> None:
    """Hold out images, train, score, and print a line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT / "data/prepared", help="prepared folder")
    parser.add_argument("--model", choices=("scratch", "transfer"), default="transfer")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    parser.add_argument("--size", type=int, default=160, help="side of the images in px (160)")
    parser.add_argument(
        "--threads", type=int, default=0, help="threads of an operation; 0 means all cores (0)"
    )
    parser.add_argument("--logits", type=Path, help="file for the logits, .npz")
    parser.add_argument(
        "--average",
        type=Path,
        nargs=2,
        metavar="NPZ",
        help="score the mean of the logits of two runs",
    )
    arguments = parser.parse_args()
    if arguments.average:
        first, second = (dict(np.load(path)) for path in arguments.average)
        print(f"average: {metrics({key: (first[key] + second[key]) / 2 for key in first})}")
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    from pneumonia.datasets.manifest import load_images, read_manifest
    from pneumonia.evaluation.shifts import shifted

    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())
    block = shipped[f"train_{arguments.model}"] | {"augment": shipped["augment"]}
    block = changed(block, arguments.changes)
    table = read_manifest(arguments.data)
    table = table[table["split"] != "test"]
    images = load_images(arguments.data, table)
    labels, patients = table["label"].to_numpy(), table["patient_id"].to_numpy(str)
    hard, easy = hold_out(images, labels, patients)
    images = _resized(images, arguments.size)

    import tensorflow as tf

    from pneumonia.models.batches import LabelledImages
    from pneumonia.models.loop import forward

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    rest = ~hard & ~easy
    squares = tuple(
        LabelledImages(images[part], labels[part].astype(np.float32)) for part in (rest, easy)
    )
    model, seconds = train(arguments.model, block, squares, arguments.size)
    infer = forward(model)
    logits = {part: infer(images[mask])[:, 0] for part, mask in (("easy", easy), ("hard", hard))}
    border = arguments.size // 20
    inner = _resized(images[hard][:, border:-border, border:-border], arguments.size)
    logits["two views"] = (logits["hard"] + infer(inner)[:, 0]) / 2
    ids = table["image_id"][hard].tolist()
    for shift in SHIFTS:
        logits[shift] = infer(shifted(images[hard], ids, shift, "medium", 7))[:, 0]
    logits |= {"easy_labels": labels[easy], "hard_labels": labels[hard]}
    if arguments.logits:
        np.savez(arguments.logits, **logits)
    name = f"{arguments.model} {' '.join(arguments.changes) or 'as shipped'}"
    print(
        f"{name}: {metrics(logits)}, "
        f"{rest.sum()} / {easy.sum()} / {hard.sum()} images, {seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
