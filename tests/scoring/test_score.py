"""Scoring on one machine: rows, parts, continuation, and what is refused."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pneumonia.core.errors import InputError
from pneumonia.inference.bundle import fetch_model, load_files
from pneumonia.inference.predictor import CheckedImage
from pneumonia.scoring import output, score
from pneumonia.scoring.images import list_images
from pneumonia.scoring.score import SCORED, Job, open_job, schema, score_here
from tests.pipeline.clone import clean_environment
from tests.pipeline.imports import ROOT
from tests.scoring.conftest import THRESHOLD, write_images, write_model


def job(images: Path, model: Path, where: Path, **given: Any) -> Job:
    """A job of parts of two images."""
    options = {"rows": 2, "maps": False} | given
    return Job(list_images(str(images)), fetch_model(str(model)), str(where), **options)


def finish(task: Job, threads: int = 2) -> tuple[list[int], dict[str, int]]:
    """Score the parts of a job that remain; these parts, and the counts."""
    remaining = open_job(task)
    counts = sum(score_here(task, remaining, threads), score.Counts())
    return remaining, dict(counts)


def hashes(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_an_image_has_a_row_which_has_its_error(
    mixed: Path, small_model: Path, tmp_path: Path
) -> None:
    (mixed / "list.csv").write_text(
        "file\nimage-0002.png\ngone.png\nbelow\nbelow/image.DCM\nbelow/text.png\nbelow/empty.jpeg\n"
        "below/small.jpg\n"
    )
    task = job(mixed / "list.csv", small_model, tmp_path / "out")
    _, counts = finish(task)
    assert counts == {
        SCORED: 3, "missing_file": 1, "unreadable_file": 1, "not_an_image": 1, "empty_file": 1
    }  # fmt: skip
    rows = pd.read_parquet(tmp_path / "out").set_index("file")
    assert list(rows.index) == task.images.names.to_pylist()
    bright = rows.loc["image-0002.png"]
    grey = (40 + 2 * 160 // 3) / 255
    # The mean of float32 pixels differs a little.
    assert bright["probability"] == pytest.approx(1 / (1 + math.exp(-4 * (grey - 0.4))), abs=1e-5)
    [predicted] = load_files(task.model, 1).predictor.predict_batch(
        [(mixed / "image-0002.png").read_bytes()]
    )
    assert bright["probability"] == predicted.probability
    assert bright["label"] == ("PNEUMONIA" if bright["probability"] >= THRESHOLD else "NORMAL")
    assert list(rows.loc["below/small.jpg", "warnings"]) == ["too_small"]
    assert list(bright["warnings"]) == []
    failed = rows[rows["error"].notna()]
    assert list(failed["error"]) == [
        "missing_file", "unreadable_file", "not_an_image", "empty_file"
    ]  # fmt: skip
    assert failed[["probability", "label", "warnings"]].isna().all(axis=None)
    assert failed["error_message"].str.len().min() > 0
    assert rows.loc[rows["error"].isna(), "error_message"].isna().all()
    assert set(rows["threshold"]) == {THRESHOLD}
    assert set(rows["model"]) == {"small"}
    sha256 = hashlib.sha256((small_model / "artifacts" / "graph.onnx").read_bytes()).hexdigest()
    assert set(rows["model_sha256"]) == {sha256}


def test_an_unexpected_failure_stays_in_its_row(
    mixed: Path, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = score.Scorer._score

    def fail_once(self: score.Scorer, name: str, image: CheckedImage) -> dict[str, Any]:
        if name == "image-0001.png":
            raise RuntimeError("out of order")
        return original(self, name, image)

    monkeypatch.setattr(score.Scorer, "_score", fail_once)
    (mixed / "list.csv").write_text("file\nbelow/small.jpg\nimage-0001.png\n")
    _, counts = finish(job(mixed / "list.csv", small_model, tmp_path / "out"))
    assert counts == {SCORED: 1, "unexpected": 1}
    rows = pd.read_parquet(tmp_path / "out")
    assert rows["error_message"][1] == "RuntimeError: out of order"


def test_part_files_are_the_same_bytes_whatever_the_threads(
    tmp_path: Path, small_model: Path
) -> None:
    write_images(tmp_path / "images", 7)
    for threads in (1, 3):
        finish(job(tmp_path / "images", small_model, tmp_path / f"out{threads}"), threads)
    assert hashes(tmp_path / "out1") == hashes(tmp_path / "out3")
    names = sorted(hashes(tmp_path / "out1"))
    assert names == ["_score.json", *(output.part_name(number) for number in range(4))]
    assert [len(pq.read_table(tmp_path / "out1" / name)) for name in names[1:]] == [2, 2, 2, 1]
    assert pq.read_schema(tmp_path / "out1" / names[1]).equals(schema(maps=False))


def test_maps_are_optional(tmp_path: Path, small_model: Path) -> None:
    write_images(tmp_path / "images", 2)
    finish(job(tmp_path / "images", small_model, tmp_path / "out", maps=True))
    table = pq.read_table(tmp_path / "out")
    assert table.schema.equals(schema(maps=True))
    # The small graph's map is the image.
    assert table["map"][0].as_py()[0] == pytest.approx([40 / 255] * 64)


def test_finished_parts_are_not_scored_again(tmp_path: Path, small_model: Path) -> None:
    write_images(tmp_path / "images", 7)
    out = tmp_path / "out"
    task = job(tmp_path / "images", small_model, out)
    finish(task)
    whole = hashes(out)
    assert finish(task) == ([], {})
    for number in (1, 3):
        (out / output.part_name(number)).unlink()
    (out / f".{output.part_name(1)}.0{output.WRITING}").write_text("killed while writing")
    assert finish(task) == ([1, 3], {SCORED: 3})
    output.remove_leftovers(task.output)
    assert hashes(out) == whole


def test_an_unfinished_part_leaves_no_file(
    tmp_path: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "images", 7)
    task = job(tmp_path / "images", small_model, tmp_path / "out")
    left = open_job(task)
    scored = score_here(task, left, 2)
    for _ in range(3):
        next(scored)
    scored.close()
    assert set(hashes(tmp_path / "out")) == {"_score.json", output.part_name(0)}
    assert open_job(task) == [1, 2, 3]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("model", "of another model, small"),
        ("images", "of another list of images, 3 of them"),
        ("rows", "in parts of 2 images"),
        ("maps", "without maps"),
    ],
)
def test_an_output_of_something_else_is_refused(
    tmp_path: Path, small_model: Path, change: str, what: str
) -> None:
    write_images(tmp_path / "images", 3)
    task = job(tmp_path / "images", small_model, tmp_path / "out")
    finish(task)
    before = hashes(tmp_path / "out")
    write_images(tmp_path / "more", 4)
    other = {
        "model": lambda: replace(task, model=fetch_model(str(write_model(tmp_path / "m", 0.6)))),
        "images": lambda: replace(task, images=list_images(str(tmp_path / "more"))),
        "rows": lambda: replace(task, rows=3),
        "maps": lambda: replace(task, maps=True),
    }[change]()
    with pytest.raises(InputError) as caught:
        open_job(other)
    assert str(caught.value) == (
        f"--output {tmp_path}/out: has scores {what}: name another folder, or remove it"
    )
    assert hashes(tmp_path / "out") == before


def test_a_folder_of_other_files_is_refused_and_kept(tmp_path: Path, small_model: Path) -> None:
    write_images(tmp_path / "images", 1)
    with pytest.raises(InputError, match="holds other files than scores: name an empty folder"):
        open_job(job(tmp_path / "images", small_model, tmp_path / "images"))
    assert [file.name for file in (tmp_path / "images").iterdir()] == ["image-0000.png"]


def run(*arguments: object, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`pneumonia score`, run in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "pneumonia", "score", *map(str, arguments)],
        cwd=folder, env=clean_environment() | {"PYTHONPATH": str(ROOT / "src")} | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_command_scores_with_a_registered_model_and_continues(
    mixed: Path, model_folder: Path, tmp_path: Path
) -> None:
    arguments = ("mixed", "--output", "out", "--model", model_folder, "--rows", 4)
    first = run(*arguments, folder=tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    lines = first.stdout.splitlines()
    assert lines[0].startswith("7 images; 7 in ")
    assert lines[1:] == ["2 could not be scored: 1 empty_file, 1 not_an_image"]
    rows = pd.read_parquet(tmp_path / "out")
    assert set(zip(rows["model"], rows["version"], strict=True)) == {("served", "1")}
    (tmp_path / "out" / output.part_name(1)).unlink()
    again = run(*arguments, folder=tmp_path)
    assert again.stdout.startswith("7 images, 4 of them scored before; 3 in ")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out"), rows)


def test_the_command_fetches_a_model_from_the_store(
    mixed: Path, model_folder: Path, tmp_path: Path
) -> None:
    store = f"sqlite:///{model_folder.parent}/mlflow.db"
    ran = run(
        "mixed", "--output", "out", "--model", "models:/served/1",
        folder=tmp_path, MLFLOW_TRACKING_URI=store,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    rows = pd.read_parquet(tmp_path / "out")
    assert set(zip(rows["model"], rows["version"], strict=True)) == {("served", "1")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone", "--model", "."], "gone: no such folder or file"),
        (["mixed", "--model", "mixed"], "--model mixed: not a model of this project"),
        (["mixed", "--model", "models:/none@champion"], "--model models:/none@champion: "),
        (["mixed"], "params.yaml: no such file; run from the repository's root"),
        (["mixed", "--model", ".", "--rows", "0"], "--rows: should be at least 1"),
    ],
)
def test_wrong_input_is_refused_in_one_line(
    mixed: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    ran = run(*arguments, "--output", "out", folder=tmp_path)
    assert (ran.returncode, ran.stdout) == (1, "")
    [line] = ran.stderr.splitlines()
    assert line.startswith(f"score: {message}")
    assert not (tmp_path / "out").exists()
