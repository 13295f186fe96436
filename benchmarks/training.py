"""Time to the same validation AUC: `train_transfer` and a common alternative.

The alternative is the usual one of tutorials: Keras `fit` on `image_dataset_from_directory`. It
runs the whole frozen backbone on every image in every epoch and trains the head with Adam at 1e-3.
Both trainings have the same backbone, weights, images, batch size and machine, and run one after
the other in their own processes. The time is measured from images on disk to the end of the epoch
that reaches the target, without starting TensorFlow and building the network. The ratio matters,
not the seconds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

T = TypeVar("T")
if TYPE_CHECKING:
    import keras

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Outcome:
    """The result of a training: its best validation AUC, the epochs and the seconds."""

    auc: float
    epochs: int
    seconds: float


class ReachedError(Exception):
    """The training has reached its target."""


def ours(data: Path, _: Path, target: float, __: int) -> Outcome:
    """Train the head on the frozen backbone, then fine-tune if that is not enough."""
    from pneumonia.core.config import load_params
    from pneumonia.models import devices, loop, transfer
    from pneumonia.models.batches import load_training_data
    from pneumonia.models.checkpoint import Checkpoint

    loaded = load_params(ROOT / "params.yaml")
    params = loaded.train_transfer
    devices.make_deterministic(params.seed, params.precision)
    model = transfer.build(params, side(data))
    history: list[loop.Epoch] = []
    begin = time.perf_counter()

    def check(row: loop.Epoch) -> None:
        print_epoch("ours", row, time.perf_counter() - begin)
        if row["val_auc"] >= target:
            raise ReachedError

    images = load_training_data(data, loaded.augment)
    try:
        transfer.fit_head(model, images.train, params)
        history.append({"epoch": 0, **loop.validate(loop.forward(model), images.val)})
        check(history[0])
        with tempfile.TemporaryDirectory() as folder:
            loop.fit(
                model,
                transfer.groups(model, params),
                images,
                params,
                params.epochs,
                history,
                Checkpoint(Path(folder), ""),
                check,
            )
    except ReachedError:
        pass
    seconds = time.perf_counter() - begin
    return Outcome(history[-1]["val_auc"], int(history[-1]["epoch"]), seconds)


def frozen_backbone(data: Path, folders: Path, target: float, epochs: int) -> Outcome:
    """Keras `fit` of a head on a frozen backbone."""
    import keras

    from pneumonia.core.config import load_params
    from pneumonia.models import transfer

    params = load_params(ROOT / "params.yaml").train_transfer
    keras.utils.set_random_seed(params.seed)
    size = side(data)
    model = transfer.build(params, size)
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.AUC(num_thresholds=2000, from_logits=True, name="auc")],
    )
    return fit_until("alternative", model, folders, params.batch_size, params.seed, target, epochs)


def fit_until(
    recipe: str, model: keras.Model, folders: Path, batch_size: int, seed: int, target: float,
    epochs: int, *callbacks: keras.callbacks.Callback,
) -> Outcome:  # fmt: skip
    """Keras' `fit` of a compiled model on folders of files, until it reaches a target.

    Args:
        recipe: name of the training, printed with each epoch.
        model: compiled with a metric `auc`.
        folders: has train/ and val/ with a folder for each class.
        batch_size: images in a batch.
        seed: of the order of images.
        target: validation AUC at which to stop.
        epochs: largest number of epochs.
        callbacks: further callbacks.
    """
    import keras

    aucs: list[float] = []
    begin = time.perf_counter()

    def end(epoch: int, logs: dict[str, float]) -> None:
        aucs.append(logs["val_auc"])
        row = {"epoch": epoch + 1, "val_auc": logs["val_auc"]}
        print_epoch(recipe, row, time.perf_counter() - begin)
        model.stop_training = logs["val_auc"] >= target

    train, val = (
        keras.utils.image_dataset_from_directory(
            folders / split, label_mode="binary", color_mode="grayscale",
            image_size=model.input_shape[1:3], batch_size=batch_size, seed=seed,
            shuffle=split == "train", verbose=False,
        ).prefetch(2)
        for split in ("train", "val")
    )  # fmt: skip
    model.fit(
        train, validation_data=val, epochs=epochs, verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=end), *callbacks],
    )  # fmt: skip
    return Outcome(max(aucs), len(aucs), time.perf_counter() - begin)


def print_epoch(recipe: str, row: dict[str, float], seconds: float) -> None:
    """Print an epoch."""
    print(
        f"{recipe} epoch {row['epoch']}: val_auc {row['val_auc']:.4f}, {seconds:.1f} s", flush=True
    )


def side(data: Path) -> int:
    """Side of the prepared squares in px."""
    from pneumonia.datasets.manifest import load_images, read_manifest

    return int(load_images(data, read_manifest(data).head(1)).shape[1])


def _subset(data: Path, images: int, folder: Path) -> Path:
    """A prepared folder with all validation images of `data` and some of its training images."""
    import pandas as pd

    from pneumonia.datasets.manifest import image_path, read_manifest

    table = read_manifest(data)
    train = table[table["split"] == "train"]
    kept = train.sample(min(images, len(train)), random_state=0)
    table = pd.concat([kept, table[table["split"] != "train"]]).sort_values("image_id")
    (folder / "images").mkdir(parents=True)
    table.to_csv(folder / "manifest.csv", index=False, lineterminator="\n")
    for image_id in table["image_id"]:
        image_path(folder, image_id).symlink_to(image_path(data, image_id).resolve())
    if (data / "masks").exists():
        (folder / "masks").symlink_to((data / "masks").resolve())
    return folder


def class_folders(data: Path, folder: Path) -> Path:
    """The prepared squares in the layout of `image_dataset_from_directory`: split/CLASS/id.png."""
    from pneumonia.datasets.manifest import LABELS, image_path, read_manifest

    for row in read_manifest(data).itertuples():
        file = folder / str(row.split) / LABELS[int(str(row.label))] / f"{row.image_id}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(image_path(data, str(row.image_id)).resolve())
    return folder


def phantom(images: int, folder: Path, size: int = 0) -> Path:
    """Draw and prepare about this many training images; `size` 0 means the one of params.yaml."""
    from pneumonia.core.config import load_params
    from pneumonia.datasets.prepare import prepare
    from pneumonia.datasets.sources import open_source

    params = load_params(ROOT / "params.yaml")
    drawn = params.data.phantom.model_copy(update={"images": round(images / 0.7)})
    source = params.data.model_copy(update={"source": "phantom", "phantom": drawn})
    block = params.prepare.model_copy(update={"size": size or params.prepare.size})
    folder.mkdir()
    prepare(open_source(source), block, folder)
    return folder


def main() -> None:
    """Prepare the images, run both trainings, print the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="prepared folder (default: draws the phantom)")
    parser.add_argument("--images", type=int, default=500, help="training images at most (500)")
    parser.add_argument("--target", type=float, default=0.95, help="validation AUC (0.95)")
    parser.add_argument(
        "--epochs", type=int, default=30, help="largest number of epochs of the alternative (30)"
    )
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory() as scratch:
        whole = arguments.data or phantom(arguments.images, Path(scratch) / "phantom")
        data = _subset(whole, arguments.images, Path(scratch) / "prepared")
        folders = class_folders(data, Path(scratch) / "classes")
        outcomes = [
            in_new_process(recipe, data, folders, arguments.target, arguments.epochs)
            for recipe in (ours, frozen_backbone)
        ]
    print(f"\n{'training':12}{'val AUC':>9}{'epochs':>8}{'seconds':>9}")
    for name, outcome in zip(("ours", "alternative"), outcomes, strict=True):
        print(f"{name:12}{outcome.auc:9.4f}{outcome.epochs:8}{outcome.seconds:9.1f}")
    if outcomes[0].auc < arguments.target:
        sys.exit(f"ours did not reach {arguments.target}; choose a lower --target")
    bound = "" if outcomes[1].auc >= arguments.target else "more than "
    ratio = outcomes[1].seconds / outcomes[0].seconds
    print(f"\ntime to a validation AUC of {arguments.target}: {bound}{ratio:.1f} times shorter")


def in_new_process(work: Callable[..., T], *arguments: object) -> T:
    """Call a function in a new process, so that it does not inherit threads and settings."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


if __name__ == "__main__":
    main()
