"""Failed checks of heat maps or behaviour keep a version from being champion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow

from pneumonia.registry import champion
from tests.registry.candidates import Images, make_candidate, submit

NAME = "pneumonia-chest-xray"
CLAUSES = ["turned by 2 degrees 0.700, not >= 0.85", "AUC 0.500, not >= 0.75"]


def must_not_be_called() -> list[str]:
    raise AssertionError("the checks take seconds, and their result does not matter here")


def test_behaviour_is_checked_only_if_it_is_required_and_matters(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    good, worse = (make_candidate(tmp_path / str(side), side) for side in (8, 2))
    unused: Any = {"failed_checks": must_not_be_called}
    assert submit(good, NAME, images, **unused).alias == "champion"
    # A version that is already the champion, and one that is challenger in any case.
    assert submit(good, NAME, images, **unused, require_behaviour=True).alias == ""
    assert submit(worse, NAME, images, **unused, require_behaviour=True).alias == "challenger"


def test_a_version_that_passes_the_required_checks_becomes_champion(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    submit(make_candidate(tmp_path / "poor", 2), NAME, images)
    decision = submit(make_candidate(tmp_path / "good"), NAME, images, require_behaviour=True)
    assert (decision.alias, decision.failed_checks) == ("champion", ())
    assert "checks" not in decision.reason


def test_failed_required_checks_keep_a_better_version_from_being_champion(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    submit(make_candidate(tmp_path / "poor", 2), NAME, images)
    good = make_candidate(tmp_path / "good")
    fails: Any = {"failed_checks": lambda: CLAUSES}
    decision = submit(good, NAME, images, **fails, require_behaviour=True)
    assert decision.alias == "challenger"
    assert decision.failed_checks == tuple(CLAUSES)
    # Why it would have been champion, what prevented that, and how to override it.
    assert decision.reason.startswith("AUC not worse than that of version 1")
    assert decision.reason.endswith(
        "; but it fails 2 of the checks of its behaviour (turned by 2 degrees 0.700, not >= 0.85; "
        "AUC 0.500, not >= 0.75); `make promote VERSION=2` overrides"
    )
    assert champion.champion(store, NAME) == "1"
    version = store.get_model_version_by_alias(NAME, "challenger")
    assert version.tags["promotion.reason"] == decision.reason
    logged = mlflow.artifacts.load_dict(f"runs:/{version.run_id}/promotion.json")
    assert logged["failed_checks"] == CLAUSES
    # Manual promotion is possible.
    champion.promote(store, NAME, "2")
    assert champion.champion(store, NAME) == "2"


def test_without_the_requirement_the_rule_alone_decides(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    good = make_candidate(tmp_path / "good")
    fails: Any = {"failed_checks": lambda: CLAUSES[1:]}
    first = submit(good, NAME, images, **fails, require_behaviour=True)
    assert first.alias == "challenger"
    assert first.reason.startswith("there was no champion; but it fails 1 of the checks")
    assert champion.champion(store, NAME) is None
    assert submit(good, NAME, images, **fails).alias == "champion"
    assert champion.champion(store, NAME) == "1"


def test_a_version_whose_maps_failed_their_check_is_challenger_at_best(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    why = "rank correlation 0.61 with randomised weights, above 0.5"
    first = make_candidate(tmp_path / "first", 2)
    # Not even without a champion.
    decision = submit(first, NAME, images, failed_maps=why)
    assert decision.alias == "challenger"
    assert decision.reason == (
        f"there was no champion; but its heat maps failed their check ({why}); "
        "`make promote VERSION=1` overrides"
    )
    assert champion.champion(store, NAME) is None
    # Nor a better version than the champion.
    assert submit(first, NAME, images).alias == "champion"
    better = submit(make_candidate(tmp_path / "better"), NAME, images, failed_maps=why)
    assert better.alias == "challenger"
    assert champion.champion(store, NAME) == "1"
    # A worse version is challenger because it is worse.
    worse = submit(make_candidate(tmp_path / "worse", 1), NAME, images, failed_maps=why)
    assert worse.alias == "challenger"
    assert "heat maps" not in worse.reason
