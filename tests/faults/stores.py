"""MLflow's store: locked, damaged, not there."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from functools import partial

from tests.faults.workspace import Fault, Outcome, Workspace, environment, find_line, flip, require
from tests.server.rest import free_port, wait_until_up

REGISTER = ("dvc", "repro", "--single-item", "--force", "register")
ADDRESS = "^{}: MLFLOW_TRACKING_URI: .*"
FEW_RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


def locked(workspace: Workspace) -> Outcome:
    workspace.reset("train_scratch")
    other = sqlite3.connect(workspace.work / "mlflow.db")
    other.execute("BEGIN EXCLUSIVE")
    says = ADDRESS.format("train_scratch") + "another process holds the database; wait for its end"
    line = workspace.fails("dvc", "repro", says=says)
    other.close()
    return Outcome(line, workspace.recovers(("train_scratch",)))


def damaged(how: str, workspace: Workspace) -> Outcome:
    workspace.reset("register")
    file = workspace.work / "mlflow.db"
    content = file.read_bytes()
    if how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif how == "header":
        file.write_bytes(b"\xff" * 100 + content[100:])
    else:
        file.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    says = ADDRESS.format("register") + "the database is damaged; move it away.*`make register`"
    line = workspace.fails("dvc", "repro", says=says)
    file.rename(workspace.folder / "damaged.db")
    ran = workspace.run(*REGISTER)
    require(ran.returncode == 0, f"registering failed:\n{(ran.stdout + ran.stderr)[-3000:]}")
    return Outcome(line, f"after moving it away and `make register`: {workspace.recovers(())}")


def no_server(workspace: Workspace) -> Outcome:
    workspace.reset("train_scratch")
    address = f"http://127.0.0.1:{free_port()}"
    says = ADDRESS.format("train_scratch") + "no server answers there"
    line = workspace.fails("dvc", "repro", says=says, MLFLOW_TRACKING_URI=address, **FEW_RETRIES)
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


def server_killed(workspace: Workspace) -> Outcome:
    workspace.reset("train_transfer")
    port = free_port()
    variables = environment(MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}", **FEW_RETRIES)
    first = server(workspace, port)
    training = subprocess.Popen(
        ["dvc", "repro"], cwd=workspace.work, env=variables, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    while training.poll() is None and not any(workspace.work.glob("models/*.checkpoint/state.npz")):
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    output, _ = training.communicate()
    require(training.returncode != 0, f"it did not fail:\n{output[-3000:]}")
    line = find_line(output, "^train_transfer: .*no server answers there.*run the same command")
    second = server(workspace, port)
    try:
        recovery = workspace.recovers(
            ("train_transfer",), MLFLOW_TRACKING_URI=variables["MLFLOW_TRACKING_URI"]
        )
    finally:
        os.killpg(second.pid, signal.SIGKILL)
        second.wait()
    return Outcome(line, recovery)


def model_damaged(workspace: Workspace) -> Outcome:
    workspace.reset()
    [graph] = (workspace.work / "mlruns").rglob("graph.onnx")
    flip(graph)
    line = workspace.fails(
        "python", "-m", "pneumonia", "serve", "--port", str(free_port()),
        "--model", "models:/pneumonia-chest-xray/1", PYTHONPATH="src",
        MLFLOW_TRACKING_URI="sqlite:///mlflow.db", says="graph.onnx: damaged.*make register",
    )  # fmt: skip
    ran = workspace.run(*REGISTER)
    require(ran.returncode == 0, f"registering failed:\n{(ran.stdout + ran.stderr)[-3000:]}")
    behaviour = ("python", "-m", "pneumonia", "behaviour", "--model")
    champion = "models:/pneumonia-chest-xray@champion"
    ran = workspace.run(
        *behaviour, champion, PYTHONPATH="src", MLFLOW_TRACKING_URI="sqlite:///mlflow.db"
    )
    require("AUC" in ran.stdout, f"the model does not answer:\n{(ran.stdout + ran.stderr)[-3000:]}")
    return Outcome(line, f"after `make register` the model answers; {workspace.recovers(())}")


FAULTS = [
    Fault("store: locked", "another process holds `mlflow.db` (BEGIN EXCLUSIVE)", locked),
    *(
        Fault(f"store: {how}", f"`mlflow.db` {what}", partial(damaged, how))
        for how, what in (
            ("truncated", "truncated to half"),
            ("header", "with its first 100 bytes overwritten"),
            ("pages", "overwritten after its first page"),
        )
    ),
    Fault("store: no server", "no server answers at MLFLOW_TRACKING_URI", no_server),
    Fault("store: server killed", "`mlflow server` killed during a training", server_killed),
    Fault("store: registered graph", "a byte of the registered graph.onnx changed", model_damaged),
]
