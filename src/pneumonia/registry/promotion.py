"""Decide by rule which version is the champion, on validation images.

The rule compares a new version with the champion on the current validation images. If a test shows
that the version is not worse (`evaluation.noninferiority`), it becomes `champion`, otherwise
`challenger`. The champion's graph always runs again, because its stored figures may come from other
images. If the data was split differently before, the champion was trained on some of these images
and looks better than it is. Then it is only harder to replace it; the decision has the number of
such images. If the champion takes smaller images, they are reduced as its served model does. If it
takes larger images, there is no comparison (enlarged images are blurred) and it stays champion.

If the heat maps of a version failed their check, the version becomes `challenger`, never champion,
even if it is the first version. If `register.promotion.require_behaviour` is true, the same is the
case for a version that fails a check of its behaviour (`evaluation.behaviour`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pneumonia.core.config import EvaluateParams, PromotionParams
from pneumonia.core.errors import InputError
from pneumonia.evaluation.noninferiority import (
    AucDifference,
    ValidationLogits,
    compare_with_champion,
    not_worse,
)
from pneumonia.inference.predictor import Graph
from pneumonia.registry import champion
from pneumonia.tracking.store import retry_on_conflict

if TYPE_CHECKING:
    from mlflow import MlflowClient


# Artifact of a version's run: the ids of the images on which the version was trained.
TRAINING_IDS = "data/training_image_ids.txt"
ATTEMPTS = 5


@dataclass(frozen=True)
class Decision:
    """The outcome of the rule for a version."""

    version: str  #: version of the candidate
    #: the margin and level in the rule's params.
    margin: float
    level: float
    alias: str  #: the new alias, "champion" or "challenger"; "" if nothing was changed
    reason: str  #: the reason for the decision, one clause
    against: str = ""  #: version of the champion in the comparison; "" without a champion
    #: the comparisons on unshifted and on shifted images; None without a comparison.
    unshifted: AucDifference | None = None
    shifted: AucDifference | None = None
    #: number of validation images on which the champion was trained; None if its run has no list.
    trained_on: int | None = None
    #: whether the champion was trained on the current data; None without a comparison.
    same_data: bool | None = None
    #: the failed checks of behaviour that prevented a promotion, one clause each.
    failed_checks: tuple[str, ...] = ()


def decide(
    name: str,
    version: str,
    candidate: ValidationLogits,
    table: pd.DataFrame,
    images: NDArray[np.uint8],
    data_digest: str,
    failed_maps: str,
    failed_checks: Callable[[], list[str]],
    rule: PromotionParams,
    params: EvaluateParams,
) -> Decision:
    """Make a registered version champion or challenger; the run of this version must be open.

    The decision is logged to the run as promotion.json and written to tags of the version. Then the
    alias is set. A version that was champion before does not change, because a better version
    replaced it or somebody rolled it back. If another process changes the champion at the same
    time, the rule is applied again with the new champion.

    Args:
        candidate: the candidate's logits for the validation images.
        table: the manifest. The rule uses validation rows; the ids of training images are logged.
        images: uint8, (N, S, S, 1), the images of the validation rows.
        failed_maps: why the heat maps of the version failed their check; "" if they passed.
        failed_checks: a function that returns the failed checks of the version's behaviour. It
            takes seconds, so it is called only if the result matters.

    Raises:
        InputError: the champion changed `ATTEMPTS` times.
    """
    import mlflow

    client = mlflow.MlflowClient()
    training = table["image_id"][table["split"] == "train"]
    mlflow.log_text("".join(f"{image_id}\n" for image_id in training), TRAINING_IDS)
    rows = table[table["split"] == "val"]
    for _ in range(ATTEMPTS):
        present = champion.champion(client, name)
        decision = _apply_rule(
            client, name, version, present, candidate, rows, images, data_digest, rule, params
        )
        if decision.alias == champion.CHAMPION and failed_maps:
            decision = _hold_back(decision, f"its heat maps failed their check ({failed_maps})")
        if decision.alias == champion.CHAMPION and rule.require_behaviour:
            failed = failed_checks()
            if failed:
                why = f"it fails {len(failed)} of the checks of its behaviour ({'; '.join(failed)})"
                decision = replace(_hold_back(decision, why), failed_checks=tuple(failed))
        if champion.champion(client, name) == present:
            _carry_out(client, name, decision)
            return decision
    raise InputError(f"'{name}': the champion changed {ATTEMPTS} times meanwhile; run this again")


def sentence(name: str, decision: Decision) -> str:
    """Describe a decision in one line."""
    alias = decision.alias or "alias not changed"
    return f"version {decision.version} of '{name}', {alias}: {decision.reason}"


def _apply_rule(
    client: MlflowClient,
    name: str,
    version: str,
    present: str | None,
    candidate: ValidationLogits,
    rows: pd.DataFrame,
    images: NDArray[np.uint8],
    data_digest: str,
    rule: PromotionParams,
    params: EvaluateParams,
) -> Decision:
    decided = partial(Decision, version, rule.margin, rule.level)
    if present is None:
        return decided(champion.CHAMPION, "there was no champion")
    if present == version:
        return decided("", "it is already the champion")
    if _was_champion(client, name, version, present):
        reason = f"it was champion before; `make promote VERSION={version}` makes it champion again"
        return decided("", reason, present)
    graph, training_ids, champion_digest = _fetch(client, name, present)
    size = images.shape[1]
    if graph is None or graph.size > size:
        problem = (
            "has no graph that can be read"
            if graph is None
            else f"takes images of {graph.size} px, these have {size} px"
        )
        reason = f"version {present}, the champion, {problem}; compare them yourself, then"
        reason += f" `make promote VERSION={version}` if it is better"
        return decided(champion.CHALLENGER, reason, present)
    differences = compare_with_champion(candidate, graph, rows, images, params, rule.level)
    passed = not_worse(differences, rule)
    intervals = " and ".join(
        f"{difference.difference:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}] {condition}"
        for difference, condition in zip(differences, ("unshifted", "shifted"), strict=True)
    )
    reason = (
        f"AUC {'not worse' if passed else 'not shown to be not worse'} than that of version "
        f"{present} by more than {rule.margin:g}: difference {intervals}"
    )
    trained_on = None
    if training_ids is not None:
        trained_on = int(rows["image_id"].isin(training_ids).sum())
    if trained_on:
        reason += f"; version {present} was trained on {trained_on} of these {len(rows)} images"
    return decided(
        champion.CHAMPION if passed else champion.CHALLENGER,
        reason, present, *differences, trained_on, champion_digest == data_digest,
    )  # fmt: skip


def _hold_back(decision: Decision, why: str) -> Decision:
    """Change a decision from champion to challenger, for a reason that is not in the rule."""
    reason = f"{decision.reason}; but {why}; `make promote VERSION={decision.version}` overrides"
    return replace(decision, alias=champion.CHALLENGER, reason=reason)


def _was_champion(client: MlflowClient, name: str, version: str, present: str) -> bool:
    """Whether this model, with any serving code, was champion before and is not champion now."""

    def model(version: str) -> tuple[str | None, ...]:
        tags = client.get_model_version(name, version).tags
        return tuple(tags.get(key) for key in ("graph_sha256", "operating_point"))

    existing = set(champion.versions(client, name))
    former = {change.version for change in champion.history(client, name)} & existing
    if version in former:
        return True
    return model(version) in {model(other) for other in former} - {model(present)}


def _fetch(
    client: MlflowClient, name: str, version: str
) -> tuple[Graph | None, set[str] | None, str]:
    """Fetch a version's graph, the ids of its training images, and the digest of its data.

    The graph or the ids are None if the version lacks them, because other code registered it.

    Raises:
        InputError: the stored graph is not the graph that was registered.
    """
    import mlflow

    registered = client.get_model_version(name, version)
    graph = training_ids = None
    with TemporaryDirectory() as folder:
        try:
            file = f"models:/{name}/{version}/artifacts/graph.onnx"
            fetched = Path(mlflow.artifacts.download_artifacts(file, dst_path=folder))
            remedy = f"`make rollback`, or `make promote` another version than {version}"
            graph = Graph(fetched, 0, registered.tags.get("graph_sha256", ""), remedy)
        except InputError:
            raise
        except Exception:
            # Each kind of artifact store has its own exception for a missing file, and ONNX Runtime
            # has another for an invalid graph. If the store does not respond, the next line raises.
            client.get_model_version(name, version)
        try:
            file = client.download_artifacts(registered.run_id, TRAINING_IDS, folder)
            training_ids = set(Path(file).read_text(encoding="utf-8").split())
        except Exception:
            client.get_model_version(name, version)
    return graph, training_ids, registered.tags.get("data_digest", "")


def _carry_out(client: MlflowClient, name: str, decision: Decision) -> None:
    """Log the decision, set the version's tags, and then set the alias."""
    import mlflow

    if not decision.alias:
        return
    mlflow.log_text(json.dumps(asdict(decision), indent=2) + "\n", "promotion.json")
    tags = _tags(decision)
    for key in client.get_model_version(name, decision.version).tags:
        if key.startswith("promotion.") and key not in tags:
            client.delete_model_version_tag(name, decision.version, key)
    for key, value in tags.items():
        retry_on_conflict(client.set_model_version_tag, name, decision.version, key, value)
    if decision.alias == champion.CHAMPION:
        why = "rule" if decision.against else "first"
        champion.make_champion(client, name, decision.version, why)
    else:
        challenger = champion.CHALLENGER, decision.version
        retry_on_conflict(client.set_registered_model_alias, name, *challenger)


def _tags(decision: Decision) -> dict[str, str]:
    tags: dict[str, object] = {
        "decision": decision.alias,
        "against": decision.against or "none",
        "reason": decision.reason,
        "margin": decision.margin,
        "level": decision.level,
    }
    for condition in ("unshifted", "shifted"):
        difference: AucDifference | None = getattr(decision, condition)
        if difference:
            for key in ("difference", "low", "high"):
                tags[f"{condition}.{key}"] = getattr(difference, key)
    return {f"promotion.{key}": str(value) for key, value in tags.items()}
