"""MLflow's store: locked, damaged, gone."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from functools import partial

from tests.faults.workspace import Workspace, Fault, Outcome, environment, flip, require, find_line
from tests.server.rest import free_port, wait_until_up

REGISTER = ("dvc", "repro", "--single-item", "--force", "evaluate", "gradcam_report")
ADDRESS = "^{}: MLFLOW_TRACKING_URI: .*"
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


def locked(workspace: Workspace) -> Outcome:
    workspace.reset("train_scratch")
    other = sqlite3.connect(workspace.work / "mlflow.db")
    other.execute("BEGIN EXCLUSIVE")
    says = ADDRESS.format("train_scratch") + "another process holds the database; let it end"
    line = workspace.fails("dvc", "repro", says=says)
    other.close()
    return Outcome(line, workspace.recovers(("train_scratch",)))


def damaged(how: str, workspace: Workspace) -> Outcome:
    workspace.reset("evaluate")
    file = workspace.work / "mlflow.db"
    content = file.read_bytes()
    if how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif how == "header":
        file.write_bytes(b"\xff" * 100 + content[100:])
    else:
        file.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    says = ADDRESS.format("evaluate") + "the database is damaged; move it away, and `make register`"
    line = workspace.fails("dvc", "repro", says=says)
    file.rename(workspace.folder / "damaged.db")
    ran = workspace.run(*REGISTER)
    require(ran.returncode == 0, f"registering failed:\n{(ran.stdout + ran.stderr)[-3000:]}")
    return Outcome(line, f"moved away, registered anew; {workspace.recovers(())}")


def nobody(workspace: Workspace) -> Outcome:
    workspace.reset("train_scratch")
    address = f"http://127.0.0.1:{free_port()}"
    says = ADDRESS.format("train_scratch") + "no server answers there; start it"
    line = workspace.fails("dvc", "repro", says=says, MLFLOW_TRACKING_URI=address, **IMPATIENT)
    return Outcome(line, workspace.recovers(("train_scratch",)))


def server(workspace: Workspace, port: int) -> subprocess.Popen[bytes]:
    with (workspace.folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
             "--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "mlruns"],
            cwd=workspace.work, env=environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false"),
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    wait_until_up(f"http://127.0.0.1:{port}", lambda: process.poll() is None, "health")
    return process


def killed(workspace: Workspace) -> Outcome:
    workspace.reset("train_transfer")
    port = free_port()
    given = environment(MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}", **IMPATIENT)
    first = server(workspace, port)
    training = subprocess.Popen(
        ["dvc", "repro"], cwd=workspace.work, env=given, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    while training.poll() is None and not any(workspace.work.glob("models/*.checkpoint/state.npz")):
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    told, _ = training.communicate()
    require(training.returncode != 0, f"it did not fail:\n{told[-3000:]}")
    line = find_line(told, "^train_transfer: .*no server answers there; start it.*run the same command again")
    second = server(workspace, port)
    try:
        after = workspace.recovers(("train_transfer",), MLFLOW_TRACKING_URI=given["MLFLOW_TRACKING_URI"])
    finally:
        os.killpg(second.pid, signal.SIGKILL)
        second.wait()
    return Outcome(line, after)


def model_damaged(workspace: Workspace) -> Outcome:
    workspace.reset()
    [graph] = (workspace.work / "mlruns").rglob("graph.onnx")
    flip(graph)
    line = workspace.fails(
        "python", "-m", "pneumonia.server.app", "--port", str(free_port()),
        "--model", "models:/pneumonia-chest-xray/1", PYTHONPATH="src",
        MLFLOW_TRACKING_URI="sqlite:///mlflow.db", says="graph.onnx: damaged.*make register",
    )  # fmt: skip
    ran = workspace.run(*REGISTER)
    require(ran.returncode == 0, f"registering failed:\n{(ran.stdout + ran.stderr)[-3000:]}")
    asked = ("python", "-m", "pneumonia", "behaviour", "--model")
    champion = "models:/pneumonia-chest-xray@champion"
    ran = workspace.run(*asked, champion, PYTHONPATH="src", MLFLOW_TRACKING_URI="sqlite:///mlflow.db")
    require("AUC" in ran.stdout, f"the model does not answer:\n{(ran.stdout + ran.stderr)[-3000:]}")
    return Outcome(line, f"registered anew, answers; {workspace.recovers(())}")


FAULTS = [
    Fault("store: locked", "another process holds `mlflow.db` (BEGIN EXCLUSIVE)", locked),
    *(
        Fault(f"store: {how}", f"`mlflow.db` {what}", partial(damaged, how))
        for how, what in (
            ("truncated", "cut to its half"),
            ("header", "with its first 100 bytes overwritten"),
            ("pages", "overwritten but for its first page"),
        )
    ),
    Fault("store: nobody there", "MLFLOW_TRACKING_URI where nothing answers", nobody),
    Fault("store: server killed", "`mlflow server` killed in the midst of a training", killed),
    Fault("store: registered graph", "a byte of a registered graph.onnx changed", model_damaged),
]
