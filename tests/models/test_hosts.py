"""Hosts that train together: who writes, who takes what, and what a lost one costs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pytest
import yaml

from pneumonia.data.manifest import digest
from pneumonia.errors import InputError
from pneumonia.models.batches import Films, batches, epoch_order
from pneumonia.models.hosts import LOST, Place, place, together
from pneumonia.params import ScratchParams, load_params
from tests.pipeline.imports import ROOT

SHIPPED = load_params(ROOT / "params.yaml").train_scratch
TWO = {"worker": ["a:2222", "b:2222"]}
PATIENCE = 300  # seconds after which a process of a test counts as hung


def config(cluster: dict[str, list[str]], kind: str, index: int) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_the_first_host_is_the_chief() -> None:
    assert place(config(TWO, "worker", 0)) == Place(0, ("a:2222", "b:2222"))
    second = place(config(TWO, "worker", 1))
    assert (second.index, second.chief, second.several) == (1, False, True)
    kubeflow = {"chief": ["c:1"], "worker": ["a:1", "b:1"]}
    assert place(config(kubeflow, "chief", 0)).chief
    assert place(config(kubeflow, "worker", 0)) == Place(1, ("c:1", "a:1", "b:1"))


@pytest.mark.parametrize("given", [{}, {"TF_CONFIG": ""}, config({"worker": ["a:1"]}, "worker", 0)])
def test_one_host_is_alone(given: dict[str, str]) -> None:
    assert place(given).chief
    assert not place(given).several


@pytest.mark.parametrize(
    "given",
    [
        {"TF_CONFIG": "a:2222,b:2222"},
        {"TF_CONFIG": '["a:2222"]'},
        {"TF_CONFIG": json.dumps({"cluster": TWO})},
        config(TWO, "worker", 2),
        config(TWO, "worker", -1),
        config(TWO, "chief", 0),
        config(TWO | {"evaluator": ["c:2222"]}, "evaluator", 0),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"^TF_CONFIG: "):
        place(given)


def test_a_lost_host_ends_this_one_with_a_line_and_a_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tensorflow as tf

    gone = tf.errors.UnavailableError(None, None, "Collective ops is aborted by: no heartbeat\nx")
    with pytest.raises(tf.errors.UnavailableError), together("train_scratch"):
        raise gone
    monkeypatch.setenv("TF_CONFIG", config(TWO, "worker", 0)["TF_CONFIG"])
    with pytest.raises(ValueError, match="ours"), together("train_scratch"):
        raise ValueError("ours")
    with pytest.raises(SystemExit) as ended, together("train_scratch"):
        raise gone
    assert ended.value.code == LOST == os.EX_TEMPFAIL
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("train_scratch: host 0 lost another host (no heartbeat);")


def some_films() -> Films:
    images = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 1), dtype=np.uint8)
    return Films(images, (np.arange(24) % 3 == 0).astype(np.float32))


def params(**changes: Any) -> ScratchParams:
    return SHIPPED.model_copy(update={"batch_size": 7, **changes})


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_the_parts_of_a_batch_are_the_batch(parts: int) -> None:
    nothing = dict.fromkeys(type(SHIPPED.augment).model_fields, 0.0)
    plain = params(augment=SHIPPED.augment.model_copy(update=nothing))
    films = some_films()
    taken = batches(films, plain, 0, 2, parts, range(parts)).as_numpy_iterator()
    found = list(taken)
    assert len(found) == 2 * (24 // 7) * parts
    assert {len(labels) for _, labels, _ in found} <= {7 // parts, 7 // parts + 1}
    rows = np.concatenate([epoch_order(films.labels, plain, epoch)[:21] for epoch in (0, 1)])
    assert np.array_equal(np.concatenate([images for images, _, _ in found]), films.images[rows])
    assert np.array_equal(
        np.concatenate([labels for _, labels, _ in found])[:, 0], films.labels[rows]
    )


def test_a_part_is_the_same_beside_others_and_after_a_restart() -> None:
    def images(first: int, own: range) -> list[Any]:
        made = batches(some_films(), params(), first, 2, 4, own)
        return [images for images, _, _ in made.as_numpy_iterator()]

    both, last = images(0, range(2, 4)), images(0, range(3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(both[1::2], last, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(last[3:], images(1, range(3, 4)), strict=True))


def test_every_part_of_every_step_draws_anew() -> None:
    films = some_films()
    same = Films(np.repeat(films.images[:1], 24, axis=0), films.labels)
    always = params(batch_size=8, augment=SHIPPED.augment.model_copy(update={"plain": 0.0}))
    found = batches(same, always, 0, 1, 4, range(4)).as_numpy_iterator()
    assert len({film.tobytes() for images, _, _ in found for film in images}) == 24


def test_a_batch_with_fewer_films_than_devices_is_refused() -> None:
    with pytest.raises(InputError, match="batch_size: 7 films a step are not enough for 8"):
        batches(some_films(), params(), 0, 1, 8, range(1))


# Two hosts on loopback, each in a working folder of its own.


def working_folder(folder: Path, prepared: Path, **changes: Any) -> Path:
    """A checkout with films and their audit, whose networks are tiny."""
    folder.mkdir()
    for name in ("src", "stages", "dvc.yaml", "requirements.txt"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(prepared, folder / "data/prepared")
    audit = folder / "reports/visualize/leaks.json"
    audit.parent.mkdir(parents=True)
    audit.write_text(json.dumps({"data_digest": digest(prepared)}))
    blocks = yaml.safe_load((ROOT / "params.yaml").read_text())
    # Without augmentation, which differs between one host and two, they come to the same.
    still = dict.fromkeys(SHIPPED.augment.model_dump(), 0)
    tiny = {"epochs": 8, "batch_size": 8, "second_seed_epochs": 1, "augment": still}
    blocks["train_scratch"] |= {"widths": [4]} | tiny | changes
    blocks["train_transfer"] |= {"fine_tune_blocks": 1, "weights": "random"} | tiny | changes
    (folder / "params.yaml").write_text(yaml.safe_dump(blocks))
    return folder


def addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return found


def start(folder: Path, stage: str, workers: list[str] | None = None, index: int = 0) -> Any:
    own = {"PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": ""}
    cluster = config({"worker": workers}, "worker", index) if workers else {}
    return subprocess.Popen(
        [sys.executable, f"stages/{stage}.py"],
        cwd=folder, env=os.environ | own | cluster, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(*processes: Any) -> list[tuple[int, str, str]]:
    """Status and output of processes that end by themselves."""
    try:
        said = [one.communicate(timeout=PATIENCE) for one in processes]
    finally:
        for one in processes:
            one.kill()
    return [(one.returncode, *texts) for one, texts in zip(processes, said, strict=True)]


def read_until(stream: IO[str], text: str) -> None:
    assert any(text in line for line in stream), text


def lines(stage: str, text: str) -> list[str]:
    """Our own lines; the rest is TensorFlow's."""
    return [line for line in text.splitlines() if line.startswith(f"{stage}: ")]


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("victim", [1, 0])
def test_a_killed_host_costs_an_epoch_at_most(tmp_path: Path, prepared: Path, victim: int) -> None:
    folders = [working_folder(tmp_path / name, prepared) for name in ("chief", "worker")]
    before = content(folders[1])
    workers = addresses(2)
    two = [start(folder, "train_scratch", workers, n) for n, folder in enumerate(folders)]
    read_until(two[0].stdout, "scratch epoch 2:")
    two[victim].send_signal(signal.SIGKILL)
    results = ended(*two)
    assert results[victim][0] == -signal.SIGKILL
    status, _, said = results[1 - victim]
    assert status == LOST, said
    [line] = lines("train_scratch", said)
    assert line.startswith(f"train_scratch: host {1 - victim} lost another host (")
    assert content(folders[1]) == before
    assert not (folders[0] / "models/scratch").exists()

    (_, chief, _), (_, worker, _) = results = ended(
        *(start(folder, "train_scratch", workers, n) for n, folder in enumerate(folders))
    )
    assert [status for status, _, _ in results] == [0, 0], results
    assert "scratch: going on from epoch " in chief
    assert worker == ""
    assert content(folders[1]) == before
    history = pd.read_csv(folders[0] / "models/scratch/history.csv")
    assert history["epoch"].tolist() == [*range(1, 9)]
    assert not list(folders[0].glob("models/*.checkpoint"))

    # As one process without a break comes to.
    alone = working_folder(tmp_path / "alone", prepared)
    assert ended(start(alone, "train_scratch"))[0][0] == 0
    expected = pd.read_csv(alone / "models/scratch/history.csv")
    for column in ("loss", "val_loss", "learning_rate"):
        assert np.allclose(history[column], expected[column], rtol=0.02), column


@pytest.mark.slow
def test_a_worker_fine_tunes_from_the_frozen_phase_of_the_chief(
    tmp_path: Path, prepared: Path
) -> None:
    folders = [working_folder(tmp_path / name, prepared, epochs=2) for name in ("chief", "worker")]
    before = content(folders[1])
    workers = addresses(2)
    results = ended(
        *(start(folder, "train_transfer", workers, n) for n, folder in enumerate(folders))
    )
    assert [status for status, _, _ in results] == [0, 0], results
    history = pd.read_csv(folders[0] / "models/transfer/history.csv")
    assert history["epoch"].tolist() == [0, 1, 2]
    assert content(folders[1]) == before


@pytest.mark.slow
def test_a_worker_with_other_params_says_so_and_trains_nothing(
    tmp_path: Path, prepared: Path
) -> None:
    folders = [
        working_folder(tmp_path / "chief", prepared),
        working_folder(tmp_path / "worker", prepared, label_smoothing=0.1),
    ]
    workers = addresses(2)
    chief, worker = ended(
        *(start(folder, "train_scratch", workers, n) for n, folder in enumerate(folders))
    )
    assert worker[0] == 1
    assert lines("train_scratch", worker[2]) == [
        "train_scratch: host 1 has other params, films, code or libraries than the chief"
    ]
    assert chief[0] == LOST
    assert not (folders[0] / "models/scratch").exists()
