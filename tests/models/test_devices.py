"""Several devices share each batch and come to what one comes to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# A process of its own: TensorFlow takes its devices once. What each replica sees is in the run.
TRAIN = """
import json, sys
from pathlib import Path
import numpy as np
import tensorflow as tf

count, folder = int(sys.argv[1]), Path(sys.argv[2])
from pneumonia.models import devices, loop, scratch
from pneumonia.models.batches import LabelledImages, TrainingData
from pneumonia.models.checkpoint import Checkpoint
from pneumonia.core.config import load_params

devices.make_deterministic(7)
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
shipped = load_params(Path("params.yaml"))
small = {"widths": [8], "batch_size": 8, "learning_rate": 0.01}
params = shipped.train_scratch.model_copy(update=small)
labels = (np.arange(40) % 2).astype(np.float32)
noise = np.random.default_rng(0).integers(0, 128, (40, 32, 32, 1))
images = (noise + 60 * labels[:, None, None, None]).astype(np.uint8)
splits = [LabelledImages(images[part], labels[part]) for part in (slice(32), slice(32, 40))]
data = TrainingData(*splits, shipped.augment)
strategy = devices.strategy([f"CPU:{number}" for number in range(count)])
with strategy.scope():
    model = scratch.build(params, 32)
seen = []
call = model.call
model.call = lambda images, **options: (seen.append(images.shape[0]), call(images, **options))[1]
history = []
loop.fit(
    model, [loop.LayerGroup(model.layers)], data, params, 3, history,
    Checkpoint(folder, ""), lambda _: None,
)
model.save_weights(folder / "a.weights.h5")
print(json.dumps({"history": history, "replicas": strategy.num_replicas_in_sync, "seen": seen}))
"""


def trained(count: int, folder: Path) -> dict[str, object]:
    folder.mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", TRAIN, str(count), str(folder)],
        env=os.environ | {"PYTHONPATH": "src", "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.slow
def test_two_devices_train_as_one_does_and_the_same_each_time(tmp_path: Path) -> None:
    one, two, again = (
        trained(count, tmp_path / name) for name, count in (("one", 1), ("two", 2), ("again", 2))
    )
    assert (one["replicas"], two["replicas"]) == (1, 2)
    # Each takes its half of the batch.
    assert 8 in one["seen"] and 8 not in two["seen"]
    assert 4 in two["seen"]
    assert two == again
    weights = [(tmp_path / name / "a.weights.h5").read_bytes() for name in ("two", "again")]
    assert weights[0] == weights[1]
    for first, second in zip(one["history"], two["history"], strict=True):
        for key in ("loss", "val_loss", "learning_rate"):
            assert np.isclose(first[key], second[key], rtol=0.01), key
    assert one["history"][-1]["loss"] < one["history"][0]["loss"]


@pytest.mark.parametrize("count", [0, 1])
def test_one_device_needs_no_strategy(count: int) -> None:
    import tensorflow as tf

    from pneumonia.models import devices

    found = devices.strategy(["CPU:0"] * count)
    assert found is tf.distribute.get_strategy()
