"""dvc.yaml tells the truth: a stage depends on exactly the folders of the code that it runs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.pipeline.imports import PACKAGE, ROOT, closure

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# The whole package goes with the registered model, so the stage that registers depends on it.
SHIPS_THE_PACKAGE = "register"


def rooms(files: set[str]) -> set[str]:
    """The folders directly below src/pneumonia that files lie in."""
    parts = (Path(file).parts for file in files)
    return {"/".join(part[:3]) for part in parts if part[:2] == ("src", "pneumonia") and part[3:]}


def code(stage: str) -> set[str]:
    """What a stage declares of src/ and stages/."""
    return {dep for dep in STAGES[stage]["deps"] if dep.startswith(("src/", "stages/"))}


@pytest.mark.parametrize("stage", [name for name in STAGES if name != SHIPS_THE_PACKAGE])
def test_a_stage_depends_on_exactly_the_folders_it_runs(stage: str) -> None:
    runs = closure(f"stages/{stage}.py")
    assert code(stage) == rooms(runs) | {f"stages/{stage}.py"}
    # Beside the rooms there is nothing that a stage imports but the package's docstring.
    beside = {file for file in runs if file.count("/") == 2 and file.startswith("src/")}
    assert beside == {"src/pneumonia/__init__.py"}


def test_the_package_itself_runs_nothing() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]


def test_the_stage_that_registers_depends_on_the_package() -> None:
    assert code(SHIPS_THE_PACKAGE) == {"src/pneumonia", f"stages/{SHIPS_THE_PACKAGE}.py"}


@pytest.mark.parametrize("stage", ["train_scratch", "train_transfer", "evaluate", "gradcam_report"])
def test_a_change_of_the_server_or_of_a_report_trains_and_scores_nothing(stage: str) -> None:
    assert not code(stage) & {"src/pneumonia/server", "src/pneumonia/reports", "src/pneumonia"}


@pytest.mark.parametrize("stage", STAGES)
def test_the_dependencies_of_a_stage_fit_on_a_page(stage: str) -> None:
    assert len(STAGES[stage]["deps"]) <= 12


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_locked_libraries(stage: str) -> None:
    assert "requirements.txt" in STAGES[stage]["deps"]


def test_stages_share_name_with_file_and_params_block() -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    # Shared by several stages: the images, the augmentation, and what the stages run on.
    blocks = [name for name in params if name not in ("data", "augment", "engine")]
    # A stage without settings has no block.
    assert [stage for stage in STAGES if stage in params] == blocks
    assert all((ROOT / "stages" / f"{stage}.py").is_file() for stage in STAGES)


def test_every_output_survives_a_failed_run() -> None:
    for stage in STAGES.values():
        for kind in ("outs", "metrics", "plots"):
            for out in stage.get(kind, []):
                assert isinstance(out, dict), f"{out} is not persist"
                assert all(options == {"persist": True} for options in out.values())


def test_the_closure_sees_what_python_imports() -> None:
    # The reading of imports is itself compared with a real import of a whole module.
    script = (
        "import sys, pneumonia.evaluation.evaluate;"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'pneumonia'))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    imported = {Path(file).relative_to(ROOT).as_posix() for file in ran.stdout.split()}
    assert imported <= closure("src/pneumonia/evaluation/evaluate.py")
