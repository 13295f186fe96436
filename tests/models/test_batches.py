"""The parts of a batch that hosts and devices take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pneumonia.core.config import AugmentParams, ScratchParams, load_params
from pneumonia.core.errors import InputError
from pneumonia.models.batches import LabelledImages, batches, epoch_order
from tests.pipeline.imports import ROOT

PARAMS = load_params(ROOT / "params.yaml")
SHIPPED, AUGMENT = PARAMS.train_scratch, PARAMS.augment


def some_images(side: int = 32) -> LabelledImages:
    images = np.random.default_rng(0).integers(0, 256, (24, side, side, 1), dtype=np.uint8)
    return LabelledImages(images, (np.arange(24) % 3 == 0).astype(np.float32))


def params(**changes: Any) -> ScratchParams:
    return SHIPPED.model_copy(update={"batch_size": 7, **changes})


def test_a_batch_is_made_of_the_images_of_the_epoch() -> None:
    nothing = AugmentParams(**dict.fromkeys(AugmentParams.model_fields, 0.0))
    xrays, plain = some_images(), params()
    found = list(batches(xrays, plain, nothing, 0, 2).as_numpy_iterator())
    assert len(found) == 2 * (24 // 7)
    rows = np.concatenate([epoch_order(xrays.labels, plain, epoch)[:21] for epoch in (0, 1)])
    assert np.array_equal(np.concatenate([images for images, _, _ in found]), xrays.images[rows])
    assert np.array_equal(
        np.concatenate([labels for _, labels, _ in found])[:, 0], xrays.labels[rows]
    )


@pytest.mark.parametrize("side", [32, 33])  # whose squares are a multiple of four and one more
@pytest.mark.parametrize("parts", [2, 3])
def test_the_parts_of_a_batch_are_the_batch_augmented_alike(parts: int, side: int) -> None:
    images, changed = some_images(side), params(balance="weights")
    whole = list(batches(images, changed, AUGMENT, 0, 2).as_numpy_iterator())
    own = batches(images, changed, AUGMENT, 0, 2, parts, range(parts)).as_numpy_iterator()
    turns = list(zip(*[own] * parts, strict=True))
    assert len(turns) == len(whole)
    for batch, cut in zip(whole, turns, strict=True):
        assert {len(labels) for _, labels, _ in cut} <= {7 // parts, 7 // parts + 1}
        images_of_it, labels, weights = map(np.concatenate, zip(*cut, strict=True))
        # Another graph may round another way: one grey level, in hardly a pixel.
        apart = np.abs(batch[0].astype(int) - images_of_it)
        assert apart.max() <= 1 and (apart > 0).mean() < 1e-4
        assert np.array_equal(batch[1], labels) and np.array_equal(batch[2], weights)


def test_a_part_is_the_same_beside_others_and_after_a_restart() -> None:
    def images(first: int, own: range) -> list[Any]:
        made = batches(some_images(), params(), AUGMENT, first, 2, 4, own)
        return [images for images, _, _ in made.as_numpy_iterator()]

    both, last = images(0, range(2, 4)), images(0, range(3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(both[1::2], last, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(last[3:], images(1, range(3, 4)), strict=True))


def test_every_part_of_every_step_draws_anew() -> None:
    xrays = some_images()
    same = LabelledImages(np.repeat(xrays.images[:1], 24, axis=0), xrays.labels)
    always = AUGMENT.model_copy(update={"plain": 0.0})
    found = batches(same, params(batch_size=8), always, 0, 1, 4, range(4)).as_numpy_iterator()
    assert len({image.tobytes() for images, _, _ in found for image in images}) == 24


def test_a_batch_with_fewer_images_than_devices_is_refused() -> None:
    with pytest.raises(InputError, match="batch_size: 7 images a step are not enough for 8"):
        batches(some_images(), params(), AUGMENT, 0, 1, 8, range(1))
