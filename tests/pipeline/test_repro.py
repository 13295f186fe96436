"""The real `dvc repro` in a clean clone: what runs, what does not, what a failure leaves behind."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from PIL import Image

from tests.pipeline.clone import Clone, make_clone

STAGES = [
    "prepare", "visualize", "train_scratch", "train_transfer", "evaluate", "gradcam_report",
    "register",
]  # fmt: skip


def outputs(clone: Clone) -> dict[str, str]:
    """Hash of every file that the pipeline wrote."""
    files = (
        file
        for folder in ("data/prepared", "models", "reports")
        for file in sorted((clone.path / folder).rglob("*"))
        if file.is_file()
    )
    return {
        file.relative_to(clone.path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def test_a_second_repro_runs_nothing(reproduced: Clone) -> None:
    assert reproduced.repro() == []


def test_two_clean_clones_write_the_same_bytes(
    reproduced: Clone, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = make_clone(tmp_path_factory.mktemp("other clone, on a path with spaces"))
    assert other.repro() == STAGES
    assert outputs(other) == outputs(reproduced)
    lock = (other.path / "dvc.lock").read_bytes()
    assert lock == (reproduced.path / "dvc.lock").read_bytes()


def test_metrics_plots_and_params_are_declared(reproduced: Clone) -> None:
    shown = json.loads(reproduced.run("dvc", "metrics", "show", "--json").stdout)
    files = shown[""]["data"]
    auc = files["reports/evaluate/metrics.json"]["data"]["transfer"]["test"]["auc"]
    assert 0 <= auc <= 1
    assert {"models/scratch/metrics.json", "reports/gradcam_report/metrics.json"} < set(files)
    plots = reproduced.run("dvc", "plots", "show", "--json", "--out", "plots").stdout
    pictures = {"reports/visualize/images.png", "reports/register/robustness.png"}
    assert {"ROC", "Loss", *pictures} <= set(json.loads(plots)["data"])
    changed = reproduced.run("dvc", "params", "diff", "--json").stdout
    assert json.loads(changed) == {}


# Stands in for `python` in the next test, so that DVC itself is tested: it "runs" a stage by
# changing every file of its output, but not leaks.json. That is an empty list whatever the audit
# says; the tests after the next show this for the real stage.
STUB = """#!{python}
import pathlib, sys, yaml
stage = pathlib.Path(sys.argv[1]).stem
for out in yaml.safe_load(open("dvc.yaml"))["stages"][stage]["outs"]:
    for path in pathlib.Path(next(iter(out))).rglob("*"):
        if path.is_file() and path.name != "leaks.json":
            with open(path, "a") as file:
                file.write("changed")
"""

AFTER_TRAINING = ["evaluate", "gradcam_report", "register"]
TRAININGS = ["train_scratch", "train_transfer"]


@pytest.mark.parametrize(
    ("key", "value", "by_param", "code", "by_code"),
    [
        ("validation", "0.31", STAGES, "datasets/splits.py", STAGES),
        (
            "images_per_class",
            "3",
            ["visualize", *AFTER_TRAINING],  # evaluate reads the audit, which the stub changes
            "audit/survey.py",
            ["visualize", *AFTER_TRAINING],
        ),
        (
            "widths",
            "[8, 8]",
            ["train_scratch", *AFTER_TRAINING],
            "models/scratch.py",
            ["visualize", *TRAININGS, *AFTER_TRAINING],  # visualize draws the augmentation
        ),
        (
            "head_l2",
            "0.3",
            ["train_transfer", *AFTER_TRAINING],
            "tracking/runs.py",
            [*TRAININGS, *AFTER_TRAINING],
        ),
        ("shift_images", "30", AFTER_TRAINING, "evaluation/shifts.py", AFTER_TRAINING),
        (
            "images_per_group",
            "3",
            ["gradcam_report", "register"],
            "explain/gallery.py",
            ["gradcam_report", "register"],
        ),
        ("margin", "0.02", ["register"], "server/routes.py", ["register"]),
    ],
    ids=STAGES,
)
def test_a_change_runs_exactly_what_it_touches(
    reproduced: Clone,
    tmp_path: Path,
    key: str,
    value: str,
    by_param: list[str],
    code: str,
    by_code: list[str],
) -> None:
    clone = reproduced.copy(tmp_path / "clone")
    stub = tmp_path / "bin" / "python"
    stub.parent.mkdir()
    stub.write_text(STUB.format(python=sys.executable))
    stub.chmod(0o755)
    tools = {"PATH": f"{stub.parent}:{Path(sys.executable).parent}:/usr/bin:/bin"}

    clone.set_param(key, value)
    assert clone.repro(**tools) == by_param
    assert clone.repro(**tools) == []
    with (clone.path / "src/pneumonia" / code).open("a") as file:
        file.write("# changed\n")
    # In the order of dvc.yaml; stages that do not depend on each other may run in another.
    assert sorted(clone.repro(**tools)) == sorted(by_code)
    with (clone.path / "README.md").open("a") as file:
        file.write("changed\n")
    assert clone.repro(**tools) == []


def test_other_figures_of_the_data_do_not_train_again(reproduced: Clone, tmp_path: Path) -> None:
    clone = reproduced.copy(tmp_path / "clone")
    experiment = clone.run("dvc", "exp", "run", "-S", "visualize.images_per_class=3")
    assert experiment.returncode == 0, experiment.stderr
    assert "Running stage 'visualize'" in experiment.stdout
    assert "Running stage 'train" not in experiment.stdout
    assert "InitializeLog" not in experiment.stderr  # TensorFlow's start-up message


def test_a_word_in_a_report_trains_and_scores_nothing(reproduced: Clone, tmp_path: Path) -> None:
    clone = reproduced.copy(tmp_path / "clone")
    with (clone.path / "src/pneumonia/reports/page.py").open("a") as file:
        file.write("# changed\n")
    assert clone.repro() == ["visualize", "register"]


def make_folder(root: Path, images: int = 6) -> Path:
    """Noise images in the Kaggle layout, each of a patient of its own."""
    number = 0
    for split in ("train", "test"):
        for label in ("NORMAL", "PNEUMONIA"):
            (root / split / label).mkdir(parents=True)
            for _ in range(images):
                number += 1
                name = f"IM-{number:04}-0001" if label == "NORMAL" else f"person{number}_virus_1"
                image = Image.effect_noise((40 + number, 40), 50 + number)
                image.save(root / split / label / f"{name}.jpeg")
    return root


def use_folder(clone: Clone, folder: Path) -> None:
    clone.set_param("source", "folder")
    clone.set_param("path", str(folder))


def test_a_leak_between_splits_stops_before_training(reproduced: Clone, tmp_path: Path) -> None:
    clone = reproduced.copy(tmp_path / "clone")
    folder = make_folder(tmp_path / "images")
    image = folder / "train" / "NORMAL" / "IM-0001-0001.jpeg"
    shutil.copy(image, folder / "test" / "NORMAL" / "IM-0001-0002.jpeg")
    use_folder(clone, folder)
    before = outputs(clone)
    ran = clone.run("dvc", "repro")
    assert ran.returncode != 0
    assert "Running stage 'train" not in ran.stdout
    where = "test (test/NORMAL/IM-0001-0002.jpeg) and in train (train/NORMAL/IM-0001-0001.jpeg)"
    in_val = where.replace("train (", "val (")
    lines = ran.stderr.splitlines()
    for finding in ("visualize: patient IM-0001 is in", "visualize: identical images in"):
        assert f"{finding} {where}" in lines or f"{finding} {in_val}" in lines
    after = outputs(clone)
    assert {name for name in before if after.get(name) != before[name]} <= {
        name for name in before if name.startswith("data/prepared")
    }


def break_image(folder: Path, kind: str) -> str:
    """Spoil one image, and say what the message must hold."""
    image = folder / "train" / "NORMAL" / "IM-0001-0001.jpeg"
    if kind == "truncated":
        image.write_bytes(image.read_bytes()[:300])
        return "prepare: train/NORMAL/IM-0001-0001.jpeg: truncated or corrupt image"
    if kind == "text":
        image.write_text("not an image")
        return "prepare: train/NORMAL/IM-0001-0001.jpeg: not a JPEG, PNG or DICOM image"
    if kind == "empty file":
        image.write_bytes(b"")
        return "prepare: train/NORMAL/IM-0001-0001.jpeg: the file is empty (0 bytes)"
    shutil.rmtree(folder / "train" / "NORMAL")
    (folder / "train" / "NORMAL").mkdir()
    return f"prepare: {folder}/train/NORMAL: no .jpeg, .jpg, .png file in it"


def test_maps_that_do_not_depend_on_the_weights_keep_a_model_from_being_champion(
    reproduced: Clone, tmp_path: Path
) -> None:
    clone = reproduced.copy(tmp_path / "clone")
    (clone.path / "mlflow.db").unlink()
    shutil.rmtree(clone.path / "mlruns")
    clone.set_param("max_rank_correlation", "0.000001")
    ran = clone.run("dvc", "repro")
    assert ran.returncode == 0, ran.stderr
    assert "its heat maps failed their check" in ran.stdout
    client = MlflowClient(f"sqlite:///{clone.path}/mlflow.db")
    aliases = client.get_registered_model("pneumonia-chest-xray").aliases
    assert set(aliases) == {"challenger"}
    page = (clone.path / "reports/register/gradcam.html").read_text()
    assert "failed" in page


@pytest.mark.parametrize("kind", ["truncated", "text", "empty file", "empty class"])
def test_bad_images_are_named_and_cost_nothing(
    reproduced: Clone, tmp_path: Path, kind: str
) -> None:
    clone = reproduced.copy(tmp_path / "clone")
    folder = make_folder(tmp_path / "images")
    message = break_image(folder, kind)
    use_folder(clone, folder)
    before = outputs(clone)
    ran = clone.run("dvc", "repro")
    assert ran.returncode != 0
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert outputs(clone) == before


def test_a_missing_folder_is_named_and_costs_nothing(reproduced: Clone, tmp_path: Path) -> None:
    clone = reproduced.copy(tmp_path / "clone")
    use_folder(clone, tmp_path / "nowhere")
    before = outputs(clone)
    ran = clone.run("dvc", "repro")
    assert ran.returncode != 0
    assert str(tmp_path / "nowhere") in ran.stderr
    assert outputs(clone) == before


@pytest.mark.parametrize("stage", STAGES)
def test_a_param_out_of_range_stops_every_stage(
    reproduced: Clone, tmp_path: Path, stage: str
) -> None:
    params = yaml.safe_load((reproduced.path / "params.yaml").read_text())
    params["prepare"]["validation"] = 3
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    ran = reproduced.run(
        "python", f"stages/{stage}.py", "--params", str(tmp_path / "params.yaml"), PYTHONPATH="src"
    )
    assert ran.returncode == 1
    [line] = ran.stderr.splitlines()
    assert line.startswith(f"{stage}: ")
    assert "prepare.validation: input should be less than or equal to 0.5, not 3" in line
