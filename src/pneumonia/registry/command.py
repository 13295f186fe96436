"""The commands `pneumonia promote`, `pneumonia rollback` and `pneumonia history`."""

from __future__ import annotations

import argparse

DESCRIPTION = """Change the champion of the registered model, or list the changes.

`promote` makes a version the champion, whatever the rule says. `rollback` makes
the version champion again that was champion before the present one. `history`
prints when, version, why and who; the latest is last. The MLflow store is
MLFLOW_TRACKING_URI, by default mlflow.db in this folder."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the argument of `pneumonia promote`."""
    parser.add_argument("version", metavar="VERSION", help="number of the version")


def run(arguments: argparse.Namespace) -> int:
    """Promote, roll back or show the history; print the result and return 0.

    Raises:
        InputError: the version or previous champion is missing, or the store does not respond.
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
            champion.champion(client, name)  # this call completes the history
            events = champion.history(client, name)
            for event in events:
                when = f"{event.when[:19]}Z"
                print(f"{when}  version {event.version:>3}  {event.why:8}  {event.who}")
            if not events:
                print(f"'{name}' never had a champion; `make repro` registers one")
    return 0
