"""Decide by rule which version is the champion, on validation images.

The rule: a new version is compared with the present champion on the present validation images. It
becomes `champion` if it is shown to be not worse (`evaluation.noninferiority`), else `challenger`.

The champion's graph is always run again: its stored figures may come from other images. If the data
was split differently then, some of these images were in its training set and it looks better than
it is. This can only keep it champion, and the decision gives their number. A champion for smaller
images gets the images reduced, as its served model would reduce them. A champion for larger images
would get blurred ones, so it is not compared and stays.

A version whose heat maps failed their check becomes `challenger` at best, also the first version.
The same holds for a version that fails a check of its behaviour (`evaluation.behaviour`), where
`register.promotion.require_behaviour` asks for these checks.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.core.config import EvaluateParams, PromotionParams
from pneumonia.core.errors import InputError
from pneumonia.evaluation.noninferiority import Difference, Scored, differences, not_worse
from pneumonia.inference.predictor import Graph
from pneumonia.registry import champion
from pneumonia.tracking.runs import write

if TYPE_CHECKING:
    from mlflow import MlflowClient


# Where a version's run keeps the ids of its training images.
TRAINING_IDS = "data/training_image_ids.txt"
ATTEMPTS = 5


@dataclass(frozen=True)
class Decision:
    """What became of a version.

    Attributes:
        version: the candidate.
        against: the champion that it was held against; "" without one.
        alias: what it is now: "champion" or "challenger", or "" if it was left as it was.
        reason: one clause.
        margin, level: of the rule.
        unshifted, shifted: the two comparisons; None where there was none.
        trained_on: how many of the validation images the champion was trained on; None where its
            run does not say.
        same_data: whether the champion was trained on the present data; None without a champion.
        failed_checks: of its behaviour, each in a clause, where they kept it from being champion.
    """

    version: str
    against: str
    alias: str
    reason: str
    margin: float
    level: float
    unshifted: Difference | None = None
    shifted: Difference | None = None
    trained_on: int | None = None
    same_data: bool | None = None
    failed_checks: tuple[str, ...] = ()


def decide(
    name: str,
    version: str,
    candidate: Scored,
    table: pd.DataFrame,
    images: NDArray[np.uint8],
    data_digest: str,
    failed_maps: str,
    failed_checks: Callable[[], list[str]],
    rule: PromotionParams,
    params: EvaluateParams,
) -> Decision:
    """Give a registered version its place, from within its open run.

    The decision goes to the run, as promotion.json, and to the version's tags, then the alias is
    set. A version that was champion before keeps the place that it has: a better one came after it,
    or somebody took it back. Where another process makes a champion meanwhile, the version is held
    against that one.

    Args:
        name: of the registered model.
        version: of the candidate.
        candidate: what it answered to the validation images.
        table: the manifest; of it, validation decides and train is noted down.
        images: uint8, (N, S, S, 1), of its validation rows.
        data_digest: of that data.
        failed_maps: why the heat maps of the version failed their check; "" if they passed.
        failed_checks: gives the failed checks of the version's behaviour. It takes seconds, so it is
            called only if the rule requires it.
        rule: the block `register.promotion`.
        params: which images are shifted how.

    Raises:
        InputError: the champion changed again and again.
    """
    import mlflow

    client = mlflow.MlflowClient()
    training = "".join(f"{one}\n" for one in table["image_id"][table["split"] == "train"])
    mlflow.log_text(training, TRAINING_IDS)
    rows = table[table["split"] == "val"]
    for _ in range(ATTEMPTS):
        present = champion.champion(client, name)
        decision = _decide(
            client, name, version, present, candidate, rows, images, data_digest, rule, params
        )
        if decision.alias == champion.CHAMPION and failed_maps:
            decision = _held_back(decision, f"its heat maps failed their check ({failed_maps})")
        if decision.alias == champion.CHAMPION and rule.require_behaviour:
            failed = failed_checks()
            if failed:
                why = f"it fails {len(failed)} of the checks of its behaviour ({'; '.join(failed)})"
                decision = replace(_held_back(decision, why), failed_checks=tuple(failed))
        if champion.champion(client, name) == present:
            _settle(client, name, decision)
            return decision
    raise InputError(f"'{name}': the champion changed {ATTEMPTS} times meanwhile; run this again")


def sentence(name: str, decision: Decision) -> str:
    """A decision in one line."""
    left = f"version {decision.version} of '{name}'"
    return f"{left}, {decision.alias or 'no alias'}: {decision.reason}"


def _decide(
    client: MlflowClient,
    name: str,
    version: str,
    present: str | None,
    candidate: Scored,
    rows: pd.DataFrame,
    images: NDArray[np.uint8],
    data_digest: str,
    rule: PromotionParams,
    params: EvaluateParams,
) -> Decision:
    if present is None:
        reason = "there was no champion"
        return Decision(version, "", champion.CHAMPION, reason, rule.margin, rule.level)
    if present == version:
        return Decision(version, "", "", "it is the champion already", rule.margin, rule.level)
    if _was_champion(client, name, version, present):
        reason = f"it was champion before; `make promote VERSION={version}` makes it that again"
        return Decision(version, present, "", reason, rule.margin, rule.level)
    challenger = champion.CHALLENGER
    other, seen, digest = _fetch(client, name, present)
    size = images.shape[1]
    if other is None or other.size > size:
        reason = f"version {present}, the champion, " + (
            "has no graph that can be read"
            if other is None
            else f"looks at images of {other.size} px, these have {size} px"
        )
        reason += f"; compare by other means, then `make promote VERSION={version}`"
        return Decision(version, present, challenger, reason, rule.margin, rule.level)
    found = differences(candidate, other, rows, images, params, rule.level)
    good = not_worse(found, rule)
    reason = (
        f"AUC {'not worse' if good else 'not shown to be not worse'} than that of version "
        f"{present} by more than {rule.margin:g}: difference "
        + " and ".join(
            f"{one.difference:+.4f} [{one.low:+.4f}, {one.high:+.4f}] {what}"
            for one, what in zip(found, ("as the images are", "shifted"), strict=True)
        )
    )
    trained_on = None if seen is None else int(rows["image_id"].isin(seen).sum())
    if trained_on:
        reason += f"; version {present} was trained on {trained_on} of these {len(rows)} images"
    return Decision(
        version, present, champion.CHAMPION if good else challenger, reason,
        rule.margin, rule.level, *found, trained_on, digest == data_digest,
    )  # fmt: skip


def _held_back(decision: Decision, why: str) -> Decision:
    """The decision to make a version champion, turned into challenger for another reason."""
    reason = (
        f"{decision.reason}; but {why}: look into it, or `make promote VERSION={decision.version}`"
    )
    return replace(decision, alias=champion.CHALLENGER, reason=reason)


def _was_champion(client: MlflowClient, name: str, version: str, present: str) -> bool:
    """Whether this model, served by whatever code, was champion once and no longer is."""

    def model(version: str) -> tuple[str | None, ...]:
        tags = client.get_model_version(name, version).tags
        return tuple(tags.get(key) for key in ("graph_sha256", "operating_point"))

    there = set(champion.versions(client, name))
    former = {event.version for event in champion.history(client, name)} & there
    if version in former:
        return True
    return model(version) in {model(one) for one in former} - {model(present)}


def _fetch(
    client: MlflowClient, name: str, version: str
) -> tuple[Graph | None, set[str] | None, str]:
    """A version's graph, the ids of its training images, and the digest of its data.

    None for what its files do not have: a version that other hands registered.

    Raises:
        InputError: its graph is not the one that was registered.
    """
    import mlflow

    found = client.get_model_version(name, version)
    with TemporaryDirectory() as folder:
        graph = ids = None
        try:
            file = f"models:/{name}/{version}/artifacts/graph.onnx"
            fetched = Path(mlflow.artifacts.download_artifacts(file, dst_path=folder))
            mend = f"`make rollback`, or `make promote` another version than {version}"
            graph = Graph(fetched, 0, found.tags.get("graph_sha256", ""), mend)
        except InputError:
            raise
        except Exception:
            # Every kind of artifact store has its own for a file that is not there, ONNX Runtime
            # for one that is no graph. This raises if it is the store that is not there.
            client.get_model_version(name, version)
        try:
            file = client.download_artifacts(found.run_id, TRAINING_IDS, folder)
            ids = Path(file).read_text(encoding="utf-8")
        except Exception:
            client.get_model_version(name, version)
    seen = None if ids is None else set(ids.split())
    return graph, seen, found.tags.get("data_digest", "")


def _settle(client: MlflowClient, name: str, decision: Decision) -> None:
    import mlflow

    if not decision.alias:
        return
    mlflow.log_text(json.dumps(asdict(decision), indent=2) + "\n", "promotion.json")
    tags = _tags(decision)
    for key in client.get_model_version(name, decision.version).tags:
        if key.startswith("promotion.") and key.removeprefix("promotion.") not in tags:
            client.delete_model_version_tag(name, decision.version, key)
    for key, value in tags.items():
        tag = f"promotion.{key}", value
        write(client.set_model_version_tag, name, decision.version, *tag)
    if decision.alias == champion.CHAMPION:
        why = "rule" if decision.against else "first"
        champion.make_champion(client, name, decision.version, why)
    else:
        challenger = champion.CHALLENGER, decision.version
        write(client.set_registered_model_alias, name, *challenger)


def _tags(decision: Decision) -> dict[str, str]:
    tags: dict[str, Any] = {
        "decision": decision.alias,
        "against": decision.against or "none",
        "reason": decision.reason,
        "margin": decision.margin,
        "level": decision.level,
    }
    for what in ("unshifted", "shifted"):
        one: Difference | None = getattr(decision, what)
        if one is not None:
            tags |= {f"{what}.{key}": getattr(one, key) for key in ("difference", "low", "high")}
    return {key: str(value) for key, value in tags.items()}
