"""The registered model's aliases `champion` and `challenger`, and who was champion when.

The alias is the truth. Every change of champion is also written down, as a tag of the registered
model: `champion.<UTC time>` with version, why and who. MLflow has no locks and no transactions over
two calls, so the alias is set first; a history that lacks the present champion (the process died in
between, or somebody set the alias in MLflow's UI) is completed when it is next read.
"""

from __future__ import annotations

import getpass
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pneumonia.core.errors import InputError
from pneumonia.tracking.runs import write

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel


CHAMPION = "champion"
CHALLENGER = "challenger"
EVENT = "champion."
MISSING = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True)
class Event:
    """A change of champion.

    Attributes:
        version: the champion from then on.
        why: "rule" (the paired test), "first" (there was no champion), "promote" or "rollback"
            (somebody asked for it), "found" (the alias was set by other hands).
        who: the user's name on the machine that did it; "" where it has none.
        when: UTC, ISO 8601.
    """

    version: str
    why: str
    who: str
    when: str


def champion(client: MlflowClient, name: str) -> str | None:
    """The version that is champion; None without one, or where its version was deleted.

    Completes the history, and takes `challenger` away from a version that is the champion.
    """
    model = _model(client, name)
    # Over HTTP aliases hold text, in a database numbers.
    version = str(model.aliases.get(CHAMPION)) if model else ""
    if model is None or version not in versions(client, name):
        return None
    events = _events(model)
    if not events or events[-1].version != version:
        _record(client, name, version, "found")
    if str(model.aliases.get(CHALLENGER)) == version:
        client.delete_registered_model_alias(name, CHALLENGER)
    return version


def make_champion(client: MlflowClient, name: str, version: str, why: str) -> None:
    """Give the alias to a version, and write that down; `why` as in `Event`."""
    write(client.set_registered_model_alias, name, CHAMPION, version)
    _record(client, name, version, why)
    model = _model(client, name)
    if model is not None and str(model.aliases.get(CHALLENGER)) == version:
        client.delete_registered_model_alias(name, CHALLENGER)


def history(client: MlflowClient, name: str) -> list[Event]:
    """All changes of champion, the earliest first; [] without such a model."""
    model = _model(client, name)
    return _events(model) if model else []


def versions(client: MlflowClient, name: str) -> list[str]:
    """The versions that are there, the first one first."""
    found = client.search_model_versions(f"name = '{name}'")
    return sorted((str(one.version) for one in found), key=int)


def line_of_champions(events: list[Event]) -> list[str]:
    """Which versions a rollback goes back through, the present champion last.

    A rollback takes away what came after the version it went to, so two of them in a row go two
    versions back.
    """
    line: list[str] = []
    for event in events:
        if event.why == "rollback" and event.version in line:
            line = line[: len(line) - line[::-1].index(event.version)]
        elif not line or line[-1] != event.version:
            line.append(event.version)
    return line


def promote(client: MlflowClient, name: str, version: str) -> str:
    """Make a version the champion because somebody says so; what happened, in a sentence.

    Raises:
        InputError: no such version; it names those that there are.
    """
    known = versions(client, name)
    if version not in known:
        there = f"there are {', '.join(known)}" if known else "`make repro` registers the first"
        raise InputError(f"'{name}' has no version {version}; {there}")
    before = champion(client, name)
    if before == version:
        return f"version {version} of '{name}' is the {CHAMPION} already"
    make_champion(client, name, version, "promote")
    return f"version {version} of '{name}' is now the {CHAMPION}; before: {before or 'none'}"


def rollback(client: MlflowClient, name: str) -> str:
    """Make the champion before this one the champion again; what happened, in a sentence.

    Versions that were deleted meanwhile are passed over.

    Raises:
        InputError: no champion now, or none before it; it says what to do.
    """
    present, known = champion(client, name), versions(client, name)
    there = f"versions are {', '.join(known)}" if known else "`make repro` registers the first"
    line = [version for version in line_of_champions(history(client, name)) if version in known]
    if present is None:
        last = f"; the last one that is still there was version {line[-1]}" if line else ""
        raise InputError(
            f"'{name}' has no {CHAMPION} to go back from{last}: "
            f"name one with `make promote VERSION=n` ({there})"
        )
    before = [version for version in line if version != present]
    if not before:
        raise InputError(
            f"'{name}' had no {CHAMPION} before version {present}: "
            f"name one with `make promote VERSION=n` ({there})"
        )
    make_champion(client, name, before[-1], "rollback")
    return f"version {before[-1]} of '{name}' is the {CHAMPION} again; before: {present}"


def is_missing(error: Exception) -> bool:
    """Whether MLflow says that what was asked for is not there."""
    return getattr(error, "error_code", "") == MISSING


def _model(client: MlflowClient, name: str) -> RegisteredModel | None:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if is_missing(error):
            return None
        raise


def _events(model: RegisteredModel) -> list[Event]:
    told = sorted(key for key in model.tags if key.startswith(EVENT))
    return [Event(**json.loads(model.tags[key])) for key in told]


def _record(client: MlflowClient, name: str, version: str, why: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    event = Event(version, why, _user(), now)
    # Of keys that are times, two processes never take the same; MLflow allows no "+" in one.
    key = EVENT + now.replace("+00:00", "Z")
    client.set_registered_model_tag(name, key, json.dumps(asdict(event)))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return os.environ.get("USER", "")
