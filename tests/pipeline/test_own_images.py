"""The walk of docs/how-to/own-images.md: from a folder to a served model, and nobody's name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pneumonia.datasets.manifest import read_manifest
from tests.datasets.own_images import SECRETS, make_clinic
from tests.pipeline.clone import Clone, make_clone
from tests.server.rest import running

CHAMPION = "models:/pneumonia-chest-xray@champion"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clone, str]:
    """A clone trained on such a folder, and all that was printed meanwhile."""
    clone = make_clone(tmp_path_factory.mktemp("clinic"))
    make_clinic(clone.path / "data" / "raw" / "clinic", images=90)
    for key, value in {"source": "table", "path": "data/raw/clinic", "test": "0.3"}.items():
        clone.set_param(key, value)
    ran = clone.run("dvc", "repro")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return clone, ran.stdout + ran.stderr


@pytest.mark.slow
@pytest.mark.long
def test_images_of_both_kinds_are_prepared_and_split_by_patient(
    trained: tuple[Clone, str],
) -> None:
    table = read_manifest(trained[0].path / "data/prepared")
    assert set(table["mode"]) == {"MONOCHROME2", "L"}
    assert len(table) == 90
    assert (table.groupby("patient_id")["split"].nunique() == 1).all()


@pytest.mark.slow
@pytest.mark.long
def test_nothing_of_the_headers_is_written_or_printed(trained: tuple[Clone, str]) -> None:
    clone, printed = trained
    written = [
        file
        for file in clone.path.rglob("*")
        if file.is_file() and "raw" not in file.parts and ".git" not in file.parts
    ]
    assert any(file.name == "mlflow.db" for file in written)
    contents = [(str(file), file.read_bytes()) for file in written]
    # The secrets stand in the tests that drew them.
    contents = [(name, held) for name, held in contents if "/tests/" not in name]
    for secret in SECRETS:
        assert secret not in printed
        assert [name for name, held in contents if secret.encode() in held] == []


@pytest.mark.slow
@pytest.mark.long
def test_the_model_is_served_and_measured_on_the_same_images(
    trained: tuple[Clone, str],
) -> None:
    clone, _ = trained
    ran = clone.run("python", "-m", "pneumonia", "validate", "data/raw/clinic", PYTHONPATH="src")
    assert ran.returncode == 0, ran.stderr
    assert "90 images of" in ran.stdout
    table = pd.read_csv(clone.path / "predictions.csv").head(4)
    command = [sys.executable, "-m", "pneumonia", "serve", "--model", CHAMPION]
    with running(command, clone.path, {"PYTHONPATH": "src"}) as (address, _, log):
        said = [ask_predict(address, clone.path / "data/raw/clinic" / one) for one in table["file"]]
        logged = log.read_text()
    expected = list(table["probability"])
    assert [one["predictions"][0]["probability"] for one in said] == pytest.approx(expected)
    assert not any(secret in json.dumps(said) + logged for secret in SECRETS)


def ask_predict(address: str, image: Path) -> dict[str, list[dict[str, float]]]:
    """As the documentation asks, with curl."""
    answered = subprocess.run(
        ["curl", "--silent", "--fail", f"{address}/predict", "-F", f"files=@{image}"],
        capture_output=True, check=True,
    )  # fmt: skip
    return json.loads(answered.stdout)
