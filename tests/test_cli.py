"""The command line: its help, its shell completion, its spellings, its errors and exit statuses."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pneumonia
from pneumonia import cli, repair
from pneumonia.cli import VERBS, main
from pneumonia.core.errors import InputError
from tests.pipeline.clone import clean_environment
from tests.pipeline.imports import ROOT

HEAVY = (
    "mlflow", "tensorflow", "keras", "onnxruntime", "pandas", "numpy", "pydantic", "dvc", "shtab",
    "fastapi", "yaml.cyaml", "PIL",
)  # fmt: skip


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pneumonia", *arguments], cwd=cwd,
        env=clean_environment() | {"PYTHONPATH": str(ROOT / "src"), "COLUMNS": "80"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_without_a_verb_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    bare = capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == bare
    for verb in VERBS:
        assert f"\n    {verb} " in bare


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fits_a_terminal_and_imports_nothing_heavy(verb: str) -> None:
    words = [verb, "--help"] if verb else ["--help"]
    script = (
        "import sys\nfrom pneumonia.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit as ended:\n    assert ended.code == 0\n"
        f"print('heavy:', *sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env=clean_environment() | {"PYTHONPATH": str(ROOT / "src"), "COLUMNS": "80"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    *lines, heavy = ran.stdout.splitlines()
    assert lines[0].startswith(f"usage: pneumonia {verb}".rstrip())
    assert max(map(len, lines)) <= 80
    # repair and mlproject read YAML.
    assert heavy.split()[1:] in ([], ["yaml.cyaml"])


@pytest.mark.parametrize("words", ["--print-completion bash", "score --help"])
def test_a_reader_that_closes_the_output_gets_no_traceback(words: str) -> None:
    # `true` reads nothing, so the pipe is closed when the command writes or when it exits.
    ran = subprocess.run(
        ["bash", "-c", f"(sleep 1; exec {sys.executable} -m pneumonia {words}) | true"],
        env=clean_environment() | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.stderr == ""


def test_the_installed_command_and_the_module_are_the_same() -> None:
    command = Path(sys.executable).with_name("pneumonia")
    installed = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert installed.stdout == run("--version").stdout == f"{pneumonia.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_shells_complete_verbs_and_their_options(shell: str) -> None:
    ran = run("--print-completion", shell)
    assert (ran.returncode, ran.stderr) == (0, "")
    for word in (*VERBS, "opacity", "trials", "train_transfer"):
        assert word in ran.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=ran.stdout, text=True, check=True)


@pytest.mark.parametrize(("words", "reply"), [("beh", "behaviour"), ("explain --opa", "--opacity")])
def test_bash_completes_a_verb_and_an_option(words: str, reply: str) -> None:
    script = run("--print-completion", "bash").stdout + (
        f"\nCOMP_WORDS=(pneumonia {words}); COMP_CWORD={len(words.split())}; _shtab_pneumonia; "
        'echo "${COMPREPLY[@]}"\n'
    )
    completed = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert completed.stdout.split() == [reply]


def test_completion_without_shtab_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit) as ended:
        main(["--print-completion", "bash"])
    assert ended.value.code == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "shtab is not installed" in line


def test_american_spelling_is_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["behavior", "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: pneumonia behaviour ")
    assert set(cli.AMERICAN.values()) <= set(VERBS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsense"], "invalid choice: 'nonsense'"),
        (
            ["score", "images", "--output", "out", "--nonsense"],
            "unrecognized arguments: --nonsense",
        ),
        (["--nonsense", "history"], "unrecognized arguments: --nonsense"),
        (["score"], "the following arguments are required: INPUT, --output"),
        (["promote"], "the following arguments are required: VERSION"),
        (["run", "nonsense"], "argument STAGE: invalid choice: 'nonsense'"),
        (["--print-completion", "fish"], "invalid choice: 'fish'"),
    ],
)
def test_wrong_usage_has_status_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "lines"),
    [
        (InputError("a: wrong\nb: wrong"), 1, ["repair: a: wrong", "repair: b: wrong"]),
        (KeyboardInterrupt(), 130, ["repair: interrupted"]),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a"), 1,
            ["repair: disk full while writing a: free some space and run the same command again"],
        ),
    ],
)  # fmt: skip
def test_errors_are_lines_and_a_status(
    error: BaseException, status: int, lines: list[str],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(_: Any) -> int:
        raise error

    monkeypatch.setattr(repair, "run", fail)
    assert main(["repair"]) == status
    assert capsys.readouterr().err.splitlines() == lines


@pytest.mark.parametrize("verb", ["serve", "behaviour", "history"])
def test_the_default_model_is_the_one_of_params_yaml(verb: str, tmp_path: Path) -> None:
    ran = run(verb, cwd=tmp_path)
    assert ran.returncode == 1
    message = "params.yaml: no such file; run from the repository's root"
    assert ran.stderr.splitlines() == [f"{verb}: {message}"]


def test_a_bug_keeps_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: SimpleNamespace) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(repair, "run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["repair"])
