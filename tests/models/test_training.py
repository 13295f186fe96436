"""Training follows from the seed, byte by byte, and augmentation is what it says."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from pneumonia.core.config import AugmentParams, ScratchParams, load_params
from pneumonia.datasets.manifest import read_manifest
from pneumonia.models import loop, scratch, transfer
from pneumonia.models.augmentation import augment
from pneumonia.models.batches import (
    LabelledImages,
    TrainingData,
    batches,
    class_weights,
    epoch_order,
    load_training_data,
)
from pneumonia.models.checkpoint import Checkpoint
from pneumonia.models.devices import make_deterministic
from pneumonia.models.export import LOGIT_OFFSET
from pneumonia.models.saving import save_model

SHIPPED = load_params(Path(__file__).parents[2] / "params.yaml")
AUGMENT = SHIPPED.augment
NOTHING = AugmentParams(**dict.fromkeys(AugmentParams.model_fields, 0.0))
IMAGES = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 1), dtype=np.uint8)


def augmented(params: AugmentParams, *seed: int, images: NDArray[Any] = IMAGES) -> NDArray[Any]:
    import tensorflow as tf

    return augment(tf.constant(images), params, tf.constant(seed, tf.int32)).numpy()


def only(**knobs: float) -> AugmentParams:
    return NOTHING.model_copy(update=knobs)


def some_images(count: int, seed: int) -> LabelledImages:
    """LabelledImages whose class shows: the ill ones are brighter."""
    labels = (np.arange(count) % 2).astype(np.float32)
    noise = np.random.default_rng(seed).integers(0, 128, (count, 32, 32, 1))
    return LabelledImages((noise + 100 * labels[:, None, None, None]).astype(np.uint8), labels)


def tiny_params(**changes: Any) -> ScratchParams:
    update = {"widths": [8], "epochs": 1, "batch_size": 8} | changes
    return SHIPPED.train_scratch.model_copy(update=update)


def trained(
    folder: Path, params: ScratchParams, augmentation: AugmentParams = AUGMENT
) -> tuple[bytes, list[loop.Epoch]]:
    """The weights file and the history of a training of tiny images."""
    import keras

    folder.mkdir()
    keras.utils.clear_session()  # the names of the layers are in the file, numbered by process
    make_deterministic(params.seed)
    model = scratch.build(params, 32)
    history: list[loop.Epoch] = []
    data = TrainingData(some_images(32, 0), some_images(8, 1), augmentation)
    checkpoint = Checkpoint(folder, "")
    loop.fit(
        model, [loop.LayerGroup(model.layers)], data, params, params.epochs, history, checkpoint,
        lambda _: None,
    )  # fmt: skip
    model.save_weights(folder / "weights.weights.h5")
    return (folder / "weights.weights.h5").read_bytes(), history


def test_the_seed_decides_the_augmentation() -> None:
    params = AUGMENT
    first = augmented(params, 7, 3)
    assert first.dtype == np.uint8
    assert first.shape == IMAGES.shape
    assert np.array_equal(first, augmented(params, 7, 3))
    assert not np.array_equal(first, augmented(params, 7, 5))
    assert not np.array_equal(first, augmented(params, 8, 3))


def test_each_image_of_a_batch_changes_in_its_own_way() -> None:
    same = np.repeat(IMAGES[:1], 4, axis=0)
    params = AUGMENT.model_copy(update={"plain": 0.0})
    found = augmented(params, 7, 3, images=same)
    assert len({image.tobytes() for image in found}) == 4


def test_without_any_change_an_image_stays_as_it_is() -> None:
    assert np.array_equal(augmented(NOTHING, 7, 3), IMAGES)


@pytest.mark.parametrize("knob", sorted(set(AugmentParams.model_fields) - {"plain"}))
def test_every_knob_changes_the_image_alone(knob: str) -> None:
    assert not np.array_equal(
        augmented(only(**{knob: 0.2 if knob != "rotation" else 20}), 7, 3), IMAGES
    )


def test_a_shift_moves_the_image_no_further_than_asked_and_fills_with_black() -> None:
    dot = np.zeros((40, 64, 64, 1), np.uint8)
    dot[:, 30:34, 30:34] = 255
    found = augmented(only(shift=0.1), 7, 3, images=dot).astype(float)
    place, images = np.arange(64), found[..., 0] / found.sum(axis=(1, 2, 3))[:, None, None]
    centres = [images.sum(axis=1) @ place, images.sum(axis=2) @ place]
    moved = np.abs(np.array(centres) - 31.5)
    assert moved.max() <= 6.4 + 0.1
    assert moved.max() > 4
    white = augmented(only(shift=0.1), 7, 3, images=np.full((8, 64, 64, 1), 255, np.uint8))
    assert (white == 0).any()


def test_a_share_of_the_images_stays_as_it_is() -> None:
    images = np.random.default_rng(0).integers(0, 256, (400, 16, 16, 1), dtype=np.uint8)
    everything = AUGMENT.model_copy(update={"plain": 0.25})
    found = augmented(everything, 7, 3, images=images)
    assert 0.18 < (found == images).all(axis=(1, 2, 3)).mean() < 0.32


def test_some_images_are_blurred_and_some_sharpened() -> None:
    edge = np.zeros((60, 32, 32, 1), np.uint8)
    edge[:, :, 16:] = 100
    steps = np.diff(augmented(only(blur=0.5), 7, 3, images=edge)[:, 16, :, 0].astype(int)).max(1)
    assert steps.min() < 95
    assert steps.max() > 104


def test_beside_an_edge_a_sharpened_image_is_no_hole() -> None:
    edge = np.full((60, 32, 32, 1), 0, np.uint8)
    edge[:, :, 16:] = 160
    found = augmented(only(blur=0.9, gamma=0.3, brightness=0.4), 7, 3, images=edge)[:, 16, :, 0]
    far, near = found[:, 2].astype(int), found[:, 15].astype(int)
    bright = far > 20
    assert bright.sum() > 10
    assert (near[bright] >= far[bright] - 1).all()


def test_noise_goes_from_none_to_the_limit() -> None:
    grey = np.full((80, 32, 32, 1), 128, np.uint8)
    found = augmented(only(noise=0.1), 7, 3, images=grey).std(axis=(1, 2, 3)) / 255
    # A clean image is what a trained network will see: it must have met some.
    assert found.min() < 0.01
    assert 0.08 < found.max() < 0.1 * 1.1
    assert np.median(found) == pytest.approx(0.05, abs=0.015)


def test_a_rotation_turns_about_the_centre() -> None:
    ring = np.hypot(*np.mgrid[-31.5:32, -31.5:32])
    images = np.repeat((200 - 5 * ring).clip(0, 255).astype(np.uint8)[None, ..., None], 6, axis=0)
    found = augmented(only(rotation=45), 7, 3, images=images).astype(int)
    inside = ring < 28
    assert np.abs(found[:, inside] - images[:, inside]).max() <= 3


def test_brightness_and_contrast_stay_within_their_bounds() -> None:
    grey = np.full((64, 8, 8, 1), 100, np.uint8)
    shifts = augmented(only(brightness=0.1), 7, 3, images=grey).astype(int) - 100
    assert 20 < np.abs(shifts).max() <= 26
    assert shifts.min() < 0 < shifts.max()
    # Contrast turns about mid-grey: 100 / 255 - 0.5 times exp(+-0.3).
    levels = augmented(only(contrast=0.3), 7, 3, images=grey)[:, 0, 0, 0] / 255 - 0.5
    factors = levels / (100 / 255 - 0.5)
    assert np.exp(-0.3) - 0.02 <= factors.min() < 0.85
    assert 1.2 < factors.max() <= np.exp(0.3) + 0.02


def test_an_aspect_stretches_one_way_and_squeezes_the_other() -> None:
    square = np.zeros((40, 64, 64, 1), np.uint8)
    square[:, 20:44, 20:44] = 255
    found = augmented(only(aspect=0.4), 7, 3, images=square)[..., 0] > 127
    wide, high = found.any(axis=1).sum(axis=1), found.any(axis=2).sum(axis=1)
    assert np.abs(np.log(wide / high)).max() <= 0.4 + 0.1
    assert np.abs(np.log(wide / high)).max() > 0.3
    assert wide * high == pytest.approx(np.full(40, 24.0 * 24), rel=0.1)


def test_blades_black_out_the_rim_of_half_of_the_images() -> None:
    found = augmented(only(collimator=0.25), 7, 3, images=np.full((80, 64, 64, 1), 200, np.uint8))
    lit = found[..., 0] > 0
    assert (found[:, 16:48, 16:48] == 200).all()
    assert 20 < (~lit).any(axis=(1, 2)).sum() < 50
    for rim in (lit[:, 0], lit[:, -1], lit[:, :, 0], lit[:, :, -1]):
        assert 0.5 < rim.any(axis=1).mean() < 0.95


def test_balanced_weights_make_both_classes_count_alike() -> None:
    labels = np.array([1] * 9 + [0] * 3, np.float32)
    train = LabelledImages(np.zeros((12, 8, 8, 1), np.uint8), labels)
    for balance in ("none", "weights", "sampling"):
        params = tiny_params(balance=balance, batch_size=12)
        [(_, found, counts)] = batches(train, params, AUGMENT, 0, 1).as_numpy_iterator()
        assert counts.dtype == np.float32
        assert counts.mean() == pytest.approx(1)
        if balance == "weights":
            assert counts[found == 1].sum() == pytest.approx(counts[found == 0].sum())
        else:
            assert (counts == 1).all()
    assert class_weights(labels).tolist() == pytest.approx([2 / 3] * 9 + [2] * 3)


def test_sampling_takes_both_classes_equally_often_and_every_image_in_time() -> None:
    labels = np.array([1] * 90 + [0] * 11, np.float32)
    params = tiny_params(balance="sampling")
    epochs = [epoch_order(labels, params, epoch) for epoch in range(16)]
    for order in epochs:
        assert len(order) == 101
        assert labels[order].sum() == 51
        times = np.bincount(order, minlength=101)
        assert times[:90].max() == 1
        assert set(times[90:]) == {4, 5}
    assert np.array_equal(epochs[2], epoch_order(labels, params, 2))
    assert not np.array_equal(epochs[2], epochs[3])
    assert set(np.concatenate(epochs)) == set(range(101))
    # Within an epoch they come mixed, so that each batch has both in equal expectation.
    assert 0.3 < labels[epochs[0]][:50].mean() < 0.7


def test_the_same_seed_trains_the_same_bytes(tmp_path: Path) -> None:
    first, history = trained(tmp_path / "first", tiny_params())
    again, same_history = trained(tmp_path / "again", tiny_params())
    assert first == again
    assert history == same_history


def test_the_seed_decides_weights_order_and_augmentation() -> None:
    def start(seed: int) -> tuple[bytes, bytes, bytes]:
        make_deterministic(seed)
        weights = scratch.build(tiny_params(), 32).get_weights()
        found = batches(some_images(32, 0), tiny_params(seed=seed), AUGMENT, 0, 1)
        images, labels, _ = zip(*found.as_numpy_iterator(), strict=True)
        return tuple(b"".join(one.tobytes() for one in part) for part in (weights, images, labels))

    first, again, other = start(7), start(7), start(8)
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_training_learns_and_says_how_each_epoch_went(tmp_path: Path) -> None:
    params = tiny_params(epochs=4, learning_rate=0.01)
    _, history = trained(tmp_path / "run", params, NOTHING)
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3, 4]
    for epoch in history:
        assert list(epoch) == ["epoch", "loss", "val_loss", "val_auc", "learning_rate"]
        assert all(np.isfinite(list(epoch.values())))
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["val_auc"] > 0.9
    rates = [epoch["learning_rate"] for epoch in history]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-4)


def test_an_epoch_takes_every_image_once() -> None:
    count, params = 24, tiny_params()
    images = np.broadcast_to(
        np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 8, 8, 1)
    )
    labels = (np.arange(count) % 2).astype(np.float32)
    train = LabelledImages(np.ascontiguousarray(images), labels)
    found = list(batches(train, params, NOTHING, 0, 2).as_numpy_iterator())
    numbers = [batch[0][:, 0, 0, 0].tolist() for batch in found]
    epochs = [list(chain(*numbers[:3])), list(chain(*numbers[3:]))]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    for xrays, labels, weights in found:
        assert np.array_equal(labels[:, 0], xrays[:, 0, 0, 0] % 2)
        assert np.array_equal(weights, np.ones((8, 1)))


def test_a_batch_is_the_same_from_whichever_epoch_one_begins() -> None:
    whole = list(batches(some_images(32, 0), tiny_params(), AUGMENT, 0, 3).as_numpy_iterator())
    late = list(batches(some_images(32, 0), tiny_params(), AUGMENT, 2, 3).as_numpy_iterator())
    assert len(whole) == 12
    for one, other in zip(whole[8:], late, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert list(batches(some_images(32, 0), tiny_params(), AUGMENT, 3, 3)) == []


def test_the_images_of_a_prepared_folder_are_split_as_its_manifest_says(prepared: Path) -> None:
    table = read_manifest(prepared)
    data = load_training_data(prepared, AUGMENT)
    for images, split in ((data.train, "train"), (data.val, "val")):
        assert images.labels.tolist() == table.loc[table["split"] == split, "label"].tolist()
        assert len(images.images) == len(images.labels)


def test_the_frozen_head_is_the_optimum_on_the_pooled_features() -> None:
    import keras

    keras.utils.set_random_seed(0)
    # With all of its features, of which some pull hard on images of 32 px.
    whole = {"weights": "imagenet", "output_stride": 32}
    params = SHIPPED.train_transfer.model_copy(update=whole)
    model, train = transfer.build(params, 32), some_images(24, 0)
    transfer.fit_head(model, train, params)
    pooled = keras.Model(model.input, model.get_layer("pool").output)(train.images).numpy()
    logits = model(train.images).numpy()[:, 0]
    [kernel] = model.get_layer("evidence").get_weights()
    assert logits == pytest.approx(pooled @ kernel[:, 0] + LOGIT_OFFSET, abs=1e-3)
    # At the optimum of a penalised logistic regression the penalty pulls as hard as the images do.
    unit = pooled.std(axis=0)
    excess = 1 / (1 + np.exp(-logits)) - train.labels
    pull = (pooled / np.where(unit > 0, unit, 1)).T @ excess / 24
    penalty = params.head_l2 * kernel[:, 0] * unit
    assert np.abs(pull).max() > 0.05
    assert np.abs(pull + penalty).max() < 1e-3
    assert roc_auc_score(train.labels, logits) > 0.9


@pytest.mark.parametrize("name", ["scratch", "transfer"])
def test_an_image_without_evidence_is_normal(name: str) -> None:
    import keras

    if name == "scratch":
        model = scratch.build(tiny_params(), 32)
    else:
        model = transfer.build(SHIPPED.train_transfer, 32)
    upto = keras.Model(model.input, model.get_layer("features").output)
    after = keras.Model(model.get_layer("features").output, model.output)
    nothing = np.zeros((1, *upto.output.shape[1:]), np.float32)
    assert after(nothing).numpy() == pytest.approx(LOGIT_OFFSET)
    assert not model.get_layer("logit").weights


def test_a_saved_model_is_the_same_files_for_the_same_model(tmp_path: Path) -> None:
    params = tiny_params()
    settings = params.model_dump() | {"augment": AUGMENT.model_dump()}
    make_deterministic(params.seed)
    model = scratch.build(params, 32)
    history = [
        {"epoch": epoch, "loss": 0.5, "val_loss": 0.6, "val_auc": auc, "learning_rate": 0.1}
        for epoch, auc in ((1, 0.6), (2, 0.8), (3, 0.8), (4, 0.7))
    ]
    for name in ("first", "again"):
        (tmp_path / name).mkdir()
        save_model(model, (model, history), history, settings, "d" * 64, tmp_path / name)
    names = [
        "graph.onnx", "history.csv", "metrics.json", "second_seed.weights.h5", "training.json",
        "weights.weights.h5",
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == names
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    metrics = json.loads((tmp_path / "first/metrics.json").read_text())
    # The last epoch is kept; which one was best is said.
    last = {"epoch": 4, "loss": 0.5, "val_loss": 0.6, "val_auc": 0.7}
    assert metrics == last | {
        "best_epoch": 2, "best_val_auc": 0.8, "second_seed_val_auc": 0.7,
    }  # fmt: skip
    record = json.loads((tmp_path / "first/training.json").read_text())
    assert record["model"] == "scratch"
    assert record["weights"] == model.count_params()
    assert record["params"] == settings
