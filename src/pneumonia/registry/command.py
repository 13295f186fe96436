"""`pneumonia promote`, `pneumonia rollback` and `pneumonia history`."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = "The MLflow store is MLFLOW_TRACKING_URI, by default mlflow.db in this folder."


def add_promote(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pneumonia promote`."""
    parser.add_argument("version", metavar="VERSION", help="number of the version")
    _add(parser, "Make a version of the registered model the champion, whatever the rule says.")


def add_rollback(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pneumonia rollback`."""
    _add(parser, "Make the version that was champion before the present one champion again.")


def add_history(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pneumonia history`."""
    _add(parser, "List the changes of champion: when, version, why, who; the latest is last.")


def _add(parser: argparse.ArgumentParser, description: str) -> None:
    parser.description, parser.epilog = description, EPILOG
    parser.add_argument(
        "--params", type=Path, default=Path("params.yaml"), metavar="FILE",
        help="names the registered model (params.yaml)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do what the verb says, and print the result; 0.

    Raises:
        InputError: no such version, no previous champion, or the store does not respond.
    """
    from pneumonia.core.config import load_params
    from pneumonia.registry import champion
    from pneumonia.tracking.store import connected

    name = load_params(arguments.params).register.registered_model
    with connected():
        from mlflow import MlflowClient

        client = MlflowClient()
        if arguments.verb == "promote":
            print(champion.promote(client, name, arguments.version))
        elif arguments.verb == "rollback":
            print(champion.rollback(client, name))
        else:
            champion.champion(client, name)  # completes the history
            events = champion.history(client, name)
            for event in events:
                when = f"{event.when[:19]}Z"
                print(f"{when}  version {event.version:>3}  {event.why:8}  {event.who}")
            if not events:
                print(f"'{name}' never had a champion; `make repro` registers one")
    return 0
