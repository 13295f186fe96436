"""dvc.yaml tells the truth: a stage depends on all the code it runs and on no other."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.pipeline.imports import ROOT, closure

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# Files that are run or read without being imported.
SHIPPED = {  # goes with the registered model
    "evaluate": ["src/pneumonia/inference/pyfunc.py", "src/pneumonia/server/app.py"]
}
TEMPLATE = "src/pneumonia/reports/templates/page.html.j2"
STATIC = "src/pneumonia/server/static"  # all of it


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_code_it_runs(stage: str) -> None:
    declared = {dep for dep in STAGES[stage]["deps"] if dep.startswith(("src/", "stages/"))}
    runs = closure(f"stages/{stage}.py", *SHIPPED.get(stage, []))
    if "src/pneumonia/reports/page.py" in runs:
        runs.add(TEMPLATE)
    if "src/pneumonia/server/app.py" in runs:
        runs.add(STATIC)
    assert declared == runs


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_locked_libraries(stage: str) -> None:
    assert "requirements.txt" in STAGES[stage]["deps"]


def test_stages_share_name_with_file_and_params_block() -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    # Of all stages: the images, and what they run on.
    assert list(STAGES) == [name for name in params if name not in ("data", "engine")]
    assert all((ROOT / "stages" / f"{stage}.py").is_file() for stage in STAGES)


def test_every_output_survives_a_failed_run() -> None:
    for stage in STAGES.values():
        for kind in ("outs", "metrics", "plots"):
            for out in stage.get(kind, []):
                assert isinstance(out, dict), f"{out} is not persist"
                assert all(options == {"persist": True} for options in out.values())


def test_the_closure_sees_what_python_imports() -> None:
    # The reading of imports is itself held against a real import of a whole module.
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
