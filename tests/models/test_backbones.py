"""Every family of keras.applications builds by its name, exports, and has blocks to fine-tune."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumonia.core.config import TransferParams, load_params
from pneumonia.inference.predictor import Graph
from pneumonia.models import backbones, transfer
from pneumonia.models.backbones import blocks
from pneumonia.models.export import LOGIT_OFFSET, export

# The smallest of each family: how many blocks, and where the last ones begin.
FAMILIES = {
    "EfficientNetLite0": (10, [f"block_{number}_expand_conv" for number in (13, 14, 15)]),
    "MobileNet": (5, ["conv_dw_4", "conv_dw_6", "conv_dw_12"]),
    "MobileNetV2": (11, ["block_13_expand", "block_15_expand", "block_16_expand"]),
    "MobileNetV3Small": (7, ["expanded_conv_8_expand", "expanded_conv_10_expand", "conv_1"]),
    "DenseNet121": (58, ["conv5_block14_0_bn", "conv5_block15_0_bn", "conv5_block16_0_bn"]),
    "EfficientNetB0": (10, ["block6c_expand_conv", "block6d_expand_conv", "block7a_expand_conv"]),
    "EfficientNetV2B0": (16, ["block6g_expand_conv", "block6h_expand_conv", "top_conv"]),
    "NASNetMobile": (12, None),
    "ResNet50": (16, ["conv4_block6_out", "conv5_block1_out", "conv5_block2_out"]),
    "ResNet50V2": (16, [f"conv5_block{number}_preact_bn" for number in (1, 2, 3)]),
    "ConvNeXtTiny": (18, ["convnext_tiny_downsampling_block_2", *(
        f"convnext_tiny_stage_3_block_{number}_depthwise_conv" for number in (1, 2)
    )]),
    "Xception": (13, ["block12_sepconv1_act", "block13_sepconv1_act", "block14_sepconv1"]),
    "InceptionV3": (11, None),
    "InceptionResNetV2": (44, ["block8_8_ac", "block8_9_ac", "conv_7b"]),
    "VGG16": (5, ["block2_pool", "block3_pool", "block4_pool"]),
}  # fmt: skip
# Channels of the last activations whose cells cover 16 px.
CHANNELS = {
    "EfficientNetLite0": 672, "MobileNet": 512, "MobileNetV2": 576, "MobileNetV3Small": 288,
    "DenseNet121": 512, "EfficientNetB0": 672, "EfficientNetV2B0": 672, "NASNetMobile": 528,
    "ResNet50": 1024, "ResNet50V2": 1024, "ConvNeXtTiny": 384, "Xception": 728, "VGG16": 512,
    # At their least size, whose sides do not halve: a level before.
    "InceptionV3": 288, "InceptionResNetV2": 320,
}  # fmt: skip
SIDES = {"Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75}  # what these need at least


def params(backbone: str, **changes: Any) -> TransferParams:
    shipped = load_params(Path(__file__).parents[2] / "params.yaml").train_transfer
    return shipped.model_copy(update={"backbone": backbone, "weights": "random"} | changes)


WHOLE = 128  # a stride that no backbone reaches


@cache
def network(backbone: str, stride: int = WHOLE) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    given = params(backbone, output_stride=stride)
    return transfer.build(given, SIDES.get(backbone, 32))


# Building and exporting these takes minutes all in all.
LARGE = set(FAMILIES) - {"EfficientNetLite0", "MobileNetV2", "VGG16"}
EVERY = [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in FAMILIES]


@pytest.mark.parametrize("backbone", EVERY)
def test_a_backbone_has_blocks_and_its_batch_norms_stay_frozen(backbone: str) -> None:
    from keras import layers

    model = network(backbone)
    found = blocks(model)
    count, begins = FAMILIES[backbone]
    assert len(found) == count
    if begins:
        assert [block[0].name for block in found[-3:]] == begins
    # Each layer of the backbone is in one block.
    names = [layer.name for block in found for layer in block]
    assert len(names) == len(set(names))
    assert set(names) == {layer.name for layer in model.layers} - {"pool", "evidence", "logit"}
    assert all(any(len(w.shape) > 1 for layer in block for w in layer.weights) for block in found)
    groups = transfer.groups(model, params(backbone, fine_tune_blocks=2, layer_decay=0.5))
    assert [group.rate for group in groups] == [1, 0.5, 0.25]
    assert [layer.name for layer in groups[0].layers] == ["evidence"]
    for group, block in zip(groups[1:], found[:-3:-1], strict=True):
        own = [layer.name for layer in group.layers]
        norms = [layer.name for layer in block if isinstance(layer, layers.BatchNormalization)]
        assert own
        assert set(own) <= {layer.name for layer in block}
        assert not set(own) & set(norms)


@pytest.mark.parametrize("backbone", EVERY)
def test_an_exported_backbone_answers_as_keras_does(backbone: str, tmp_path: Path) -> None:
    model = network(backbone, 16)
    assert model.get_layer("features").output.shape[-1] == CHANNELS[backbone]
    side = model.input.shape[1]
    images = np.random.default_rng(1).integers(0, 256, (2, side, side, 1), dtype=np.uint8)
    # A random backbone's activations can be tiny or huge: a head that gives logits about 1.
    import keras

    pooled = keras.Model(model.input, model.get_layer("pool").output)(
        images, training=False
    ).numpy()
    kernel = pooled[0] - pooled[1] + pooled.mean(axis=0)
    kernel /= np.abs(pooled @ kernel).max()
    model.get_layer("evidence").set_weights([kernel[:, None]])
    export(model, tmp_path / "graph.onnx")
    expected = model(images, training=False).numpy()[:, 0]
    logits, maps = Graph(tmp_path / "graph.onnx").run(images)
    assert maps.shape[1:] == (int(np.ceil(side / 16)),) * 2 or backbone in SIDES
    assert np.abs(expected - LOGIT_OFFSET).max() > 0.5
    assert logits == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(("stride", "side"), [(8, 28), (16, 14), (32, 7)])
def test_the_backbone_ends_where_its_cells_cover_the_stride(stride: int, side: int) -> None:
    model = transfer.build(params("EfficientNetLite0", output_stride=stride), 224)
    assert model.get_layer("features").output.shape[1:3] == (side, side)
    # What comes after is not carried along.
    assert max(layer.output.shape[1] for layer in model.layers[-5:-3]) == side


def test_grouped_convolutions_become_depthwise_ones_with_the_same_answers() -> None:
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(6, 3, padding="same", groups=3, use_bias=False)(image)
    x = layers.Conv2D(6, 3, strides=2, padding="same", groups=6, name="grouped")(x)
    model = keras.Model(image, x)
    plain = backbones.ungrouped(model)
    kinds = {layer.name: type(layer).__name__ for layer in plain.layers}
    assert kinds["grouped"] == "DepthwiseConv2D"
    assert list(kinds.values()).count("Conv2D") == 1
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    assert plain(images).numpy() == pytest.approx(model(images).numpy(), abs=1e-5)


@pytest.mark.parametrize(
    ("blocks_", "epochs", "opened"),
    [(4, 4, [2, 4, 4, 4]), (4, 8, [1, 2, 3, 4, 4, 4, 4, 4]), (10, 1, [10]), (1, 3, [1, 1, 1])],
)
def test_gradual_unfreezing_is_done_by_half_time(
    blocks_: int, epochs: int, opened: list[int]
) -> None:
    assert [
        transfer.unfrozen_blocks(blocks_, epoch, epochs) for epoch in range(1, epochs + 1)
    ] == opened


def test_gradual_unfreezing_goes_down_from_the_output() -> None:
    model = network("EfficientNetLite0")
    gradual = params("EfficientNetLite0", fine_tune_blocks=4, schedule="gradual", epochs=8)
    assert [group.first_epoch for group in transfer.groups(model, gradual)] == [1, 1, 2, 3, 4]
    full = gradual.model_copy(update={"schedule": "full"})
    assert [group.first_epoch for group in transfer.groups(model, full)] == [1] * 5
    many = gradual.model_copy(update={"fine_tune_blocks": 1000})
    assert len(transfer.groups(model, many)) == 11
