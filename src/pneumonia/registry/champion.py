"""The aliases `champion` and `challenger` of the registered model, and the history of champions.

The alias decides which version is the champion. Each change is also recorded in a tag of the
registered model: `champion.<UTC time>` with version, reason and user. MLflow has no locks and no
transactions, so the alias is set first. If the process dies before the tag is written, or somebody
sets the alias in MLflow's web page, the history lacks the change. The next read adds it.
"""

from __future__ import annotations

import getpass
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pneumonia.core.errors import InputError
from pneumonia.tracking.store import retry_on_conflict

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel


CHAMPION = "champion"
CHALLENGER = "challenger"
CHANGE_TAG = "champion."


@dataclass(frozen=True)
class ChampionChange:
    """One change of the champion."""

    version: str  #: version of the new champion
    #: "rule" (the version passed the promotion rule), "first" (there was no champion), "promote" or
    #: "rollback" (the commands), "external" (other software set the alias).
    why: str
    who: str  #: the user's name on the machine; "" if there is no name
    when: str  #: time in UTC, ISO 8601


def champion(client: MlflowClient, name: str) -> str | None:
    """Return the champion's version; None if there is no champion, or its version was deleted.

    The function also completes the history, and removes the alias `challenger` from the champion.
    """
    model = _model(client, name)
    # MLflow returns the version as text over HTTP, and as a number from a database.
    version = str(model.aliases.get(CHAMPION)) if model else ""
    if model is None or version not in versions(client, name):
        return None
    changes = _changes(model)
    if not changes or changes[-1].version != version:
        _record(client, name, version, "external")
    if str(model.aliases.get(CHALLENGER)) == version:
        client.delete_registered_model_alias(name, CHALLENGER)
    return version


def make_champion(client: MlflowClient, name: str, version: str, why: str) -> None:
    """Make a version the champion, and record the change; for `why`, see `ChampionChange`."""
    retry_on_conflict(client.set_registered_model_alias, name, CHAMPION, version)
    _record(client, name, version, why)
    model = _model(client, name)
    if model is not None and str(model.aliases.get(CHALLENGER)) == version:
        client.delete_registered_model_alias(name, CHALLENGER)


def history(client: MlflowClient, name: str) -> list[ChampionChange]:
    """List all changes of the champion, the earliest first; [] if the model does not exist."""
    model = _model(client, name)
    return _changes(model) if model else []


def versions(client: MlflowClient, name: str) -> list[str]:
    """List the existing versions in order."""
    registered = client.search_model_versions(f"name = '{name}'")
    return sorted((str(version.version) for version in registered), key=int)


def rollback_stack(changes: list[ChampionChange]) -> list[str]:
    """List the versions to which rollbacks return, the oldest first; the present champion is last.

    A rollback removes the versions after its target from the list. So two rollbacks, one after the
    other, go two versions back.
    """
    stack: list[str] = []
    for change in changes:
        if change.why == "rollback" and change.version in stack:
            stack = stack[: len(stack) - stack[::-1].index(change.version)]
        elif not stack or stack[-1] != change.version:
            stack.append(change.version)
    return stack


def promote(client: MlflowClient, name: str, version: str) -> str:
    """Make a version the champion, even against the rule; return a sentence for the user.

    Raises:
        InputError: the version does not exist; the message lists the existing versions.
    """
    existing = versions(client, name)
    if version not in existing:
        raise InputError(f"'{name}' has no version {version}; {_listed(existing)}")
    previous = champion(client, name)
    if previous == version:
        return f"version {version} of '{name}' is already the {CHAMPION}"
    make_champion(client, name, version, "promote")
    return f"version {version} of '{name}' is now the {CHAMPION}; before: {previous or 'none'}"


def rollback(client: MlflowClient, name: str) -> str:
    """Make the previous champion the champion again; return a sentence for the user.

    Deleted versions are skipped.

    Raises:
        InputError: there is no champion or no previous champion; the message says what to do.
    """
    present, existing = champion(client, name), versions(client, name)
    stack = [version for version in rollback_stack(history(client, name)) if version in existing]
    remedy = f"choose one with `make promote VERSION=n` ({_listed(existing)})"
    if present is None:
        last = f"; the last existing one was version {stack[-1]}" if stack else ""
        raise InputError(f"'{name}' has no {CHAMPION} to roll back from{last}; {remedy}")
    previous = [version for version in stack if version != present]
    if not previous:
        raise InputError(f"'{name}' had no {CHAMPION} before version {present}; {remedy}")
    make_champion(client, name, previous[-1], "rollback")
    return f"version {previous[-1]} of '{name}' is the {CHAMPION} again; before: {present}"


def is_missing(error: Exception) -> bool:
    """Whether an exception of MLflow means that the requested object does not exist."""
    return getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"


def _listed(existing: list[str]) -> str:
    if not existing:
        return "`make repro` registers the first version"
    return f"existing versions: {', '.join(existing)}"


def _model(client: MlflowClient, name: str) -> RegisteredModel | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if is_missing(error):
            return None
        raise


def _changes(model: RegisteredModel) -> list[ChampionChange]:
    keys = sorted(key for key in model.tags if key.startswith(CHANGE_TAG))
    return [ChampionChange(**json.loads(model.tags[key])) for key in keys]


def _record(client: MlflowClient, name: str, version: str, why: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    change = ChampionChange(version, why, _user(), now)
    # The time makes the key unique among processes. MLflow does not allow "+" in a key.
    key = CHANGE_TAG + now.replace("+00:00", "Z")
    client.set_registered_model_tag(name, key, json.dumps(asdict(change)))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in a container, the user may have no name
        return os.environ.get("USER", "")
