"""The command line of every stage starts fast and reports errors in lines for the user."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pneumonia.core.config import Params
from pneumonia.core.errors import InputError
from pneumonia.core.files import write_json
from pneumonia.core.stage import run, sources

ROOT = Path(__file__).parents[2]
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "summary")
HELP = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print("LOADED", *sorted({name.split(".")[0] for name in sys.modules}))
"""


def test_all_seven_stages_are_here() -> None:
    assert len(STAGES) == 7


@pytest.mark.parametrize("stage", STAGES)
def test_help_loads_neither_tensorflow_nor_mlflow(stage: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", HELP, f"stages/{stage}.py"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    help_text, loaded = ran.stdout.split("LOADED")
    assert help_text.startswith(f"usage: stages/{stage}.py")
    assert f"`{stage}` block of params.yaml" in help_text
    heavy = {"tensorflow", "keras", "mlflow", "tf2onnx", "onnxruntime", "matplotlib"}
    heavy |= {"pandas", "pyarrow", "sklearn", "scipy"}
    assert "pneumonia" in loaded.split()
    assert not heavy & set(loaded.split())


def test_a_stage_gets_the_params_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["any", "--params", str(ROOT / "params.yaml")])
    got: list[Params] = []
    run("prepare", "What it does.", got.append)
    assert got[0].prepare.size == 224


def test_bad_params_end_a_stage_before_it_does_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["any", "--params", str(tmp_path / "none.yaml")])
    with pytest.raises(SystemExit) as ended:
        run("prepare", None, lambda _: pytest.fail("it ran"))
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(f"prepare: {tmp_path / 'none.yaml'}: no such file")


def test_an_input_error_is_its_lines_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Params) -> None:
        raise InputError("first\nsecond")

    monkeypatch.setattr(sys, "argv", ["any", "--params", str(ROOT / "params.yaml")])
    with pytest.raises(SystemExit) as ended:
        run("visualize", None, fail)
    assert ended.value.code == 1
    assert capsys.readouterr().err == "visualize: first\nvisualize: second\n"


def test_a_bug_keeps_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Params) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["any", "--params", str(ROOT / "params.yaml")])
    with pytest.raises(ZeroDivisionError):
        run("visualize", None, fail)


def test_the_same_value_is_the_same_json(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_json(tmp_path / name, {"z": 1, "a": [0.1, None]})
    text = (tmp_path / "a").read_text()
    assert text == (tmp_path / "b").read_text()
    assert text.endswith("}\n")
    assert text.index('"z"') < text.index('"a"')


def test_sources_are_the_python_files_of_folders_and_the_locked_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = ["src/pneumonia/core/b.py", "src/pneumonia/core/a.py", "src/pneumonia/core/sub/c.py"]
    others = [
        "src/pneumonia/core/notes.txt",
        "src/pneumonia/core/__pycache__/a.cpython-313.pyc",
        "src/pneumonia/other/d.py",
        "data/raw/e.py",
    ]
    for file in [*code, *others, "stages/train.py", "requirements.txt", "audit.json"]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "dvc.yaml").write_text(
        "stages: {train: {deps: [data/raw, audit.json, '${data.path}', stages/train.py, "
        "src/pneumonia/core, src/pneumonia/core/a.py, requirements.txt]}}"
    )
    monkeypatch.chdir(tmp_path)
    expected = [*sorted(code), "stages/train.py", "requirements.txt"]
    assert sources("train") == sorted(map(Path, expected))


def test_the_sources_of_the_trainings_hold_their_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for stage in ("train_scratch", "train_transfer"):
        found = {path.as_posix() for path in sources(stage)}
        assert {f"stages/{stage}.py", "src/pneumonia/models/training.py"} <= found
        assert "requirements.txt" in found
        assert all((ROOT / path).is_file() for path in found)
