"""An exported graph answers as its network does, and its map is Grad-CAM."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from numpy.typing import NDArray

from pneumonia.core.config import Params, ScratchParams, TransferParams, load_params
from pneumonia.core.errors import InputError
from pneumonia.images.decoding import encode_png
from pneumonia.inference.operating_point import OperatingPoint
from pneumonia.inference.predictor import Graph, Predictor
from pneumonia.models import efficientnet_lite, scratch, transfer
from pneumonia.models.export import LOGIT_OFFSET, export

SIDE = 64
CLOSE = 5e-5  # two libraries, single precision, fifty layers
NETWORKS = ("scratch", "EfficientNetLite0", "MobileNetV2")
IMAGES = np.random.default_rng(3).integers(0, 256, (3, SIDE, SIDE, 1), dtype=np.uint8)


@cache
def shipped() -> Params:
    return load_params(Path(__file__).parents[2] / "params.yaml")


def scratch_params() -> ScratchParams:
    return shipped().train_scratch.model_copy(update={"widths": [8, 16]})


def transfer_params(backbone: str = "EfficientNetLite0", weights: str = "random") -> TransferParams:
    update = {"backbone": backbone, "weights": weights}
    return shipped().train_transfer.model_copy(update=update)


@cache
def network(name: str) -> Any:
    """A network whose statistics and head are not the ones it starts with."""
    import keras

    keras.utils.set_random_seed(1)
    if name == "scratch":
        model = scratch.build(scratch_params(), SIDE)
    else:
        model = transfer.build(transfer_params(name), SIDE)
    rng = np.random.default_rng(2)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    kept = [(norm.trainable, norm.momentum) for norm in norms]
    for norm in norms:
        norm.trainable, norm.momentum = True, 0.0
    # Statistics that fit, or the signal would die on its way through so many random layers.
    model(IMAGES, training=True)
    for norm, (norm.trainable, norm.momentum) in zip(norms, kept, strict=True):
        gamma, beta, mean, variance = norm.get_weights()
        beta += rng.normal(0, 0.1, beta.shape)
        norm.set_weights([gamma * rng.uniform(0.8, 1.2, gamma.shape), beta, mean, variance])
    pooled = keras.Model(model.input, model.get_layer("pool").output)(IMAGES).numpy().mean(axis=0)
    kernel = rng.normal(0, len(pooled) ** -0.5, len(pooled))
    # No common evidence: every image has cells that speak for pneumonia and cells against it.
    kernel -= pooled * (kernel @ pooled) / (pooled @ pooled)
    model.get_layer("evidence").set_weights([kernel[:, None]])
    return model


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("graphs")
    paths = {name: folder / f"{name}.onnx" for name in NETWORKS}
    for name, path in paths.items():
        export(network(name), path)
    return paths


def parts(model: Any, images: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Activations, and Keras' own gradient of the logit to them and logit, by GradientTape."""
    import keras
    import tensorflow as tf

    upto = keras.Model(model.input, model.get_layer("features").output)
    activations = tf.convert_to_tensor(upto(images, training=False))
    with tf.GradientTape() as tape:
        tape.watch(activations)
        evidence = model.get_layer("evidence")(model.get_layer("pool")(activations))
        logit = model.get_layer("logit")(evidence)
    gradient = tape.gradient(logit, activations)
    return activations.numpy(), gradient.numpy(), logit.numpy()[:, 0]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_gives_the_logit_of_its_network(graphs: dict[str, Path], name: str) -> None:
    expected = network(name)(IMAGES, training=False).numpy()[:, 0]
    logits, maps = Graph(graphs[name]).run(IMAGES)
    assert logits.dtype == maps.dtype == np.float32
    assert np.ptp(expected) > 1e-3
    assert logits == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_map_is_grad_cam(graphs: dict[str, Path], name: str) -> None:
    activations, gradient, _ = parts(network(name), IMAGES)
    # Selvaraju et al. 2017, eq. 1 and 2.
    weights = gradient.mean(axis=(1, 2))
    expected = np.maximum(np.einsum("nhwc,nc->nhw", activations, weights), 0)
    _, maps = Graph(graphs[name]).run(IMAGES)
    assert maps.shape == expected.shape
    assert maps.min() >= 0
    assert maps.max() > 0
    assert np.abs(maps - expected).max() <= CLOSE


@pytest.mark.parametrize("name", NETWORKS)
def test_evidence_and_the_logit_of_nothing_add_up_to_the_logit(
    graphs: dict[str, Path], name: str
) -> None:
    activations, _, logit = parts(network(name), IMAGES)
    [kernel] = network(name).get_layer("evidence").get_weights()
    cells = activations.shape[1] * activations.shape[2]
    evidence = activations @ kernel[:, 0] / cells
    assert evidence.sum(axis=(1, 2)) + LOGIT_OFFSET == pytest.approx(logit, abs=1e-4)
    logits, maps = Graph(graphs[name]).run(IMAGES)
    assert maps == pytest.approx(np.maximum(evidence, 0), abs=CLOSE)
    # What the map leaves out is what spoke against pneumonia.
    against = np.minimum(evidence, 0).sum(axis=(1, 2))
    assert maps.sum(axis=(1, 2)) + against + LOGIT_OFFSET == pytest.approx(logits, abs=1e-4)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_neither_company_nor_cores_change_an_answer(graphs: dict[str, Path], threads: int) -> None:
    graph = Graph(graphs["scratch"], threads)
    logits, maps = graph.run(IMAGES)
    one = [graph.run(IMAGES[row : row + 1]) for row in range(3)]
    assert logits == pytest.approx(np.concatenate([each for each, _ in one]), abs=1e-5)
    assert maps == pytest.approx(np.concatenate([each for _, each in one]), abs=1e-5)


def test_the_graph_says_its_size_and_hash(graphs: dict[str, Path]) -> None:
    graph = Graph(graphs["scratch"])
    assert graph.size == SIDE
    assert graph.sha256 == hashlib.sha256(graphs["scratch"].read_bytes()).hexdigest()


def test_exporting_again_gives_the_same_bytes(graphs: dict[str, Path], tmp_path: Path) -> None:
    export(network("scratch"), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == graphs["scratch"].read_bytes()


def test_a_network_built_anew_exports_the_same_bytes(
    graphs: dict[str, Path], tmp_path: Path
) -> None:
    anew = scratch.build(scratch_params(), SIDE)
    anew.set_weights(network("scratch").get_weights())
    export(anew, tmp_path / "anew.onnx")
    assert (tmp_path / "anew.onnx").read_bytes() == graphs["scratch"].read_bytes()


def test_a_predictor_answers_as_its_graph_does(graphs: dict[str, Path]) -> None:
    graph = Graph(graphs["scratch"])
    logits, maps = graph.run(IMAGES)
    lowest, middle, _ = np.sort(1 / (1 + np.exp(-logits.astype(np.float64) / 2 - 0.25)))
    threshold = (lowest + middle) / 2
    predictor = Predictor(graph, OperatingPoint(0.5, 0.25, threshold, 1.0))
    answers = predictor.predict_batch([encode_png(image[..., 0]) for image in IMAGES])
    for row, answer in enumerate(answers):
        assert answer.logit == pytest.approx(logits[row], abs=1e-5)
        assert answer.probability == pytest.approx(
            1 / (1 + np.exp(-logits[row] / 2 - 0.25)), abs=1e-6
        )
        assert answer.label == ("PNEUMONIA" if answer.probability >= threshold else "NORMAL")
        assert np.array_equal(answer.image, IMAGES[row, ..., 0])
        assert answer.heat_map == pytest.approx(maps[row], abs=1e-5)
    assert [answer.label for answer in answers].count("PNEUMONIA") == 2
    assert predictor.predict_batch([]) == []


def test_the_networks_end_at_their_strides() -> None:
    assert network("scratch").get_layer("features").output.shape == (None, 8, 8, 16)
    assert network("scratch").name == "scratch"
    assert network("EfficientNetLite0").get_layer("features").output.shape == (None, 4, 4, 672)


def test_only_the_head_is_trainable_at_first() -> None:
    model = transfer.build(transfer_params(), SIDE)
    assert [layer.name for layer in model.layers if layer.trainable] == ["evidence"]


def test_every_imagenet_tensor_but_the_classifiers_is_in_its_place() -> None:
    tensors = efficientnet_lite.read_state_dict(efficientnet_lite._weights_file())
    whole = transfer_params(weights="imagenet").model_copy(update={"output_stride": 32})
    model = transfer.build(whole, SIDE)
    found: dict[str, NDArray[np.float32]] = {}
    for layer in model.layers:
        name = "_" + layer.name.replace("block_", "blocks.", 1)
        name = re.sub(r"^(_blocks\.\d+)_", r"\1._", name)
        weights = layer.get_weights() if layer.name != "evidence" else []
        if len(weights) == 1:
            order = "hwco->cohw" if "depthwise" in name else "hwio->oihw"
            found[f"{name}.weight"] = np.einsum(order, weights[0])
        elif weights:
            kinds = ("weight", "bias", "running_mean", "running_var")
            found |= {f"{name}.{kind}": one for kind, one in zip(kinds, weights, strict=True)}
    given = {
        name
        for name in tensors
        if not name.startswith("_fc") and not name.endswith("num_batches_tracked")
    }
    assert set(found) == given
    assert len(given) == 49 + 4 * 49
    assert all(np.array_equal(found[name], tensors[name]) for name in given)


def test_the_imagenet_batch_norms_see_what_they_were_trained_to_see() -> None:
    import keras

    model = transfer.build(transfer_params(weights="imagenet"), SIDE)
    # Soft blobs, which are nearer to photographs than noise is.
    coarse = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    images = coarse.repeat(8, axis=1).repeat(8, axis=2)
    pairs = {"conv_stem": "bn0", "block_7_project_conv": "block_7_bn2", "features": ""}
    outputs = keras.Model(model.input, [model.get_layer(name).output for name in pairs])(images)
    for (norm, seen), (offset, low, high) in zip(
        zip(pairs.values(), (output.numpy() for output in outputs), strict=True),
        [(0.3, 0.8, 1.4), (0.8, 0.6, 1.4), (0, 0, 0)],
        strict=True,
    ):
        assert np.isfinite(seen).all()
        if norm:
            _, _, mean, variance = model.get_layer(norm).get_weights()
            spread = np.sqrt(variance + 1e-3)
            axes = (0, 1, 2)
            assert np.median(np.abs(seen.mean(axis=axes) - mean) / spread) < offset
            assert low < np.median(seen.std(axis=axes) / spread) < high
    assert seen.min() >= 0
    assert seen.max() <= 6
    assert 0.01 < seen.mean() < 1


def test_an_unknown_backbone_is_named_with_the_known_ones() -> None:
    with pytest.raises(InputError) as caught:
        transfer.build(transfer_params("ResNet51"), SIDE)
    message = str(caught.value)
    assert message.startswith("train_transfer.backbone: no 'ResNet51'; known: EfficientNetLite0, ")
    assert {"MobileNetV2", "ResNet50", "DenseNet121"} <= set(
        message.split("known: ")[1].split(", ")
    )


@pytest.mark.parametrize("backbone", ["EfficientNetLite0", "MobileNetV2"])
def test_a_missing_weights_file_is_named(backbone: str, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.weights.h5")
    with pytest.raises(InputError) as caught:
        transfer.build(transfer_params(backbone, gone), SIDE)
    assert str(caught.value).startswith(f"train_transfer.weights: {gone}: no such file")


@pytest.mark.parametrize("backbone", ["EfficientNetLite0", "MobileNetV2"])
def test_a_file_that_holds_no_weights_is_named(backbone: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.weights.h5"
    wrong.write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"train_transfer.*wrong\.weights\.h5"):
        transfer.build(transfer_params(backbone, str(wrong)), SIDE)


class Malicious:
    """Unpickles to a call of the system."""

    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.touched}'",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_weights_file_is_refused_before_it_does_anything(
    tmp_path: Path, protocol: int
) -> None:
    touched, file = tmp_path / "touched", tmp_path / "weights.pth"
    file.write_bytes(pickle.dumps(Malicious(touched), protocol))
    with pytest.raises(InputError, match=r"system is not allowed in a weights file"):
        efficientnet_lite.read_state_dict(file)
    assert not touched.exists()
    pickle.loads(file.read_bytes())  # elsewhere it would have run
    assert touched.exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps(1) * 5, pickle.dumps({}) * 5])
def test_a_file_that_is_no_state_dict_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"weights\.pth"):
        efficientnet_lite.read_state_dict(file)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.99])
def test_truncated_weights_are_an_input_error(tmp_path: Path, share: float) -> None:
    whole = efficientnet_lite._weights_file().read_bytes()
    file = tmp_path / "weights.pth"
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"weights\.pth"):
        efficientnet_lite.read_state_dict(file)


def test_imagenet_weights_that_were_changed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bytearray(efficientnet_lite._weights_file().read_bytes())
    whole[-1] ^= 1
    (tmp_path / "weights.pth").write_bytes(whole)
    monkeypatch.setattr(efficientnet_lite, "_weights_file", lambda: tmp_path / "weights.pth")
    with pytest.raises(InputError, match=r"weights\.pth: not the published weights; install"):
        efficientnet_lite.load_imagenet(MagicMock())
