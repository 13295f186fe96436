"""What one choice in the training of a network buys on images that are hard to tell by their look.

Any hold-out of the Kermany set saturates. So two parts of the images that are not test are held out:

- easy: a tenth of the patients, as validation has them;
- hard: patients drawn by how much their images' look misleads. A linear model on the images at 8x8
  and at 16x16 px, fitted to other patients, takes them for the other class, or nearly. On such
  images framing and exposure, which it reads the label from everywhere else, are of no use.

A network is trained on the rest with the params as shipped but for what `--set` changes, and scored
on both parts, on the hard one also under each medium shift of `pneumonia.evaluation.shifts`. The
test split is not read. One line a run; the figures of docs/explanation/models.md come from it.
`two views` is the hard part again, each logit the mean over the image and its inner nine tenths,
enlarged.

With `--average A B` nothing is trained: it scores the mean of the logits that two runs kept by
`--logits`, which is what an ensemble of them is worth.
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
# Share of the patients of each class that is hard, and how strongly their look decides.
HARD = {0: (0.24, 2.5), 1: (0.13, 0.7)}


def hold_out(
    images: NDArray[np.uint8], labels: NDArray[np.int64], patients: NDArray[np.str_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which images are hard and which are easy, each (N,); the rest is to train on."""
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
    others = np.unique(patients[~is_hard])
    easy = rng.choice(others, len(others) // 10, replace=False)
    return is_hard, np.isin(patients, easy)


def _misleading(
    images: NDArray[np.uint8], labels: NDArray[np.int64], patients: NDArray[np.str_]
) -> NDArray[np.float64]:
    """How far an image's look stands on the side of the other class, (N,), in standard deviations."""
    total = np.zeros(len(labels))
    for side, penalty in ((8, 0.1), (16, 0.01)):
        seen = _resized(images, side).reshape(len(labels), -1)
        logits = np.empty(len(labels))
        folds = GroupKFold(6, shuffle=True, random_state=0)
        for train, held in folds.split(labels, groups=patients):
            model = make_pipeline(
                StandardScaler(), LogisticRegression(C=penalty, max_iter=3000)
            ).fit(seen[train], labels[train])
            logits[held] = model.decision_function(seen[held])
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
    """A block of the params with `key=value` or `augment.key=value` in place."""
    block = {**block, "augment": dict(block["augment"])}
    for change in changes:
        key, _, value = change.partition("=")
        *above, last = key.split(".")
        target = block[above[0]] if above else block
        if last not in target:
            sys.exit(f"--set {change}: no '{key}' in this block of params.yaml")
        target[last] = yaml.safe_load(value)
    return block


def train(
    name: str, block: dict[str, Any], images: tuple[Any, Any], size: int
) -> tuple[keras.Model, float]:
    """The trained network and its seconds."""
    from pneumonia.core.config import ScratchParams, TransferParams
    from pneumonia.models import devices, loop, scratch, transfer
    from pneumonia.models.checkpoint import Checkpoint

    def say(row: dict[str, float]) -> None:
        figures = " ".join(f"{key}={value:.4g}" for key, value in row.items())
        print(f"  {figures} seconds={time.perf_counter() - begin:.0f}", file=sys.stderr, flush=True)

    history: list[dict[str, float]] = []
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder), "")
        if name == "scratch":
            params = ScratchParams.model_validate(block)
            devices.be_deterministic(params.seed, params.precision)
            model = scratch.build(params, size)
            groups = [loop.Group(model.layers)]
        else:
            params = TransferParams.model_validate(block)
            devices.be_deterministic(params.seed, params.precision)
            model = transfer.build(params, size)
            transfer.fit_head(model, images[0], params)
            groups = transfer.groups(model, params)
        if params.epochs:
            loop.fit(model, groups, images, params, params.epochs, history, checkpoint, say)
    return model, time.perf_counter() - begin


def figures(logits: dict[str, NDArray[Any]]) -> str:
    """AUCs, and on the easy images the Brier score and how far probabilities exceed prevalence."""
    easy, hard = logits["easy_labels"], logits["hard_labels"]
    shifted = [roc_auc_score(hard, logits[shift]) for shift in SHIFTS]
    probability = 1 / (1 + np.exp(-logits["easy"].astype(np.float64)))
    found = {
        "easy": roc_auc_score(easy, logits["easy"]),
        "hard": roc_auc_score(hard, logits["hard"]),
        "hard shifted": float(np.mean(shifted)),
        "two views": roc_auc_score(hard, logits["two views"]),
        "easy Brier": brier_score_loss(easy, probability),
        "easy excess": float(probability.mean() - easy.mean()),
    }
    return ", ".join(f"{key} {value:.4f}" for key, value in found.items())


def main() -> None:
    """Hold out, train, score, print a line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT / "data/prepared", help="prepared folder")
    parser.add_argument("--model", choices=("scratch", "transfer"), default="transfer")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    parser.add_argument("--size", type=int, default=160, help="side of the images, px (160)")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--logits", type=Path, help="where to keep the logits, .npz")
    parser.add_argument("--average", type=Path, nargs=2, metavar="NPZ", help="of two runs' logits")
    arguments = parser.parse_args()
    if arguments.average:
        first, second = (dict(np.load(path)) for path in arguments.average)
        print(f"average: {figures({key: (first[key] + second[key]) / 2 for key in first})}")
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    from pneumonia.datasets.manifest import load_images, read_manifest
    from pneumonia.evaluation.shifts import shifted

    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())[f"train_{arguments.model}"]
    block = changed(shipped, arguments.changes)
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
    rim = arguments.size // 20
    inner = _resized(images[hard][:, rim:-rim, rim:-rim], arguments.size)
    logits["two views"] = (logits["hard"] + infer(inner)[:, 0]) / 2
    ids = table["image_id"][hard].tolist()
    for shift in SHIFTS:
        logits[shift] = infer(shifted(images[hard], ids, shift, "medium", 7))[:, 0]
    logits |= {"easy_labels": labels[easy], "hard_labels": labels[hard]}
    if arguments.logits:
        np.savez(arguments.logits, **logits)
    what = f"{arguments.model} {' '.join(arguments.changes) or 'as shipped'}"
    print(
        f"{what}: {figures(logits)}, "
        f"{rest.sum()} / {easy.sum()} / {hard.sum()} squares, {seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
