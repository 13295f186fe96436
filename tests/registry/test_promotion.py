"""The promotion rule and the history of champions; one process, each test with a new database."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pneumonia.core import files
from pneumonia.core.errors import InputError
from pneumonia.evaluation import noninferiority
from pneumonia.inference.predictor import Graph
from pneumonia.registry import champion, promotion
from tests.registry.candidates import DIGEST, Images, make_candidate, some_images, submit

NAME = "pneumonia-chest-xray"


def state(client: mlflow.MlflowClient, name: str = NAME) -> object:
    """All that the registry holds of a model."""
    model = client.get_registered_model(name)
    versions = client.search_model_versions(f"name = '{name}'")
    tags = {version.version: dict(version.tags) for version in versions}
    return tags, dict(model.aliases), dict(model.tags)


def test_the_first_version_is_champion_and_has_tags_on_its_origin(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "heavy-hide")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "abc")
    candidate = make_candidate(tmp_path / "first")
    decision = submit(candidate, NAME, images)
    assert (decision.alias, decision.reason) == ("champion", "there was no champion")
    version = store.get_model_version_by_alias(NAME, "champion")
    assert version.tags["model"] == "scratch"
    assert version.tags["graph_sha256"] == candidate.graph_sha256
    assert version.tags["data_digest"] == DIGEST
    assert json.loads(version.tags["params"]) == {"epochs": 8, "augment": {"gamma": 0.1}}
    assert version.tags["val_auc"] == "0.75"
    assert version.tags["dvc.exp_name"] == "heavy-hide"
    assert version.tags["dvc.exp_baseline_rev"] == "abc"
    assert version.tags["promotion.decision"] == "champion"
    run = store.get_run(version.run_id)
    assert version.tags["weights_sha256"] == run.data.tags["pneumonia.weights_sha256"]
    [event] = champion.history(store, NAME)
    assert (event.version, event.why) == ("1", "first")


def test_the_same_model_again_changes_nothing(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    better, worse = (make_candidate(tmp_path / str(side), side) for side in (8, 2))
    submit(better, NAME, images)
    submit(worse, NAME, images)
    before = state(store)
    decisions = [submit(candidate, NAME, images) for candidate in (better, worse)]
    assert [decision.alias for decision in decisions] == ["", "challenger"]
    assert state(store) == before


def test_a_worse_model_is_challenger_and_the_figures_are_kept(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    submit(make_candidate(tmp_path / "better"), NAME, images)
    decision = submit(make_candidate(tmp_path / "worse", 2), NAME, images)
    assert decision.alias == "challenger"
    aliases = store.get_registered_model(NAME).aliases
    assert {alias: str(version) for alias, version in aliases.items()} == {
        "champion": "1", "challenger": "2",
    }  # fmt: skip
    plain = decision.unshifted
    assert plain is not None and decision.shifted is not None
    val = images.table[images.table["split"] == "val"]
    logits = images.images[:, 15:17, 15:17, 0].mean(axis=(1, 2))
    ill, well = (logits[val["label"] == label] for label in (1, 0))
    assert plain.candidate == pytest.approx((ill[:, None] > well).mean(), abs=5e-3)
    assert (plain.images, plain.patients, plain.conditions) == (120, 60, 1)
    assert decision.shifted.conditions == 30
    assert plain.low < plain.difference < -0.01
    version = store.get_model_version(NAME, "2")
    assert version.tags["promotion.decision"] == "challenger"
    assert float(version.tags["promotion.unshifted.low"]) == plain.low
    uri = f"runs:/{version.run_id}/promotion.json"
    assert mlflow.artifacts.load_dict(uri) == json.loads(json.dumps(asdict(decision)))
    assert len(champion.history(store, NAME)) == 1


def test_a_model_that_is_better_becomes_champion_and_no_challenger_is_left(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    submit(make_candidate(tmp_path / "poor", 2), NAME, images)
    submit(make_candidate(tmp_path / "poorer", 32), NAME, images)
    assert store.get_model_version_by_alias(NAME, "challenger").version in (2, "2")
    decision = submit(make_candidate(tmp_path / "good"), NAME, images)
    assert decision.alias == "champion"
    assert [event.why for event in champion.history(store, NAME)] == ["first", "rule"]
    champion.promote(store, NAME, "2")
    assert "challenger" not in store.get_registered_model(NAME).aliases


def test_the_margin_decides(store: mlflow.MlflowClient, tmp_path: Path, images: Images) -> None:
    submit(make_candidate(tmp_path / "better"), NAME, images)
    candidate = make_candidate(tmp_path / "a bit worse", 6)
    first = submit(candidate, NAME, images, margin=0.0)
    assert first.alias == "challenger"
    assert first.unshifted is not None and first.shifted is not None
    needed = -min(first.unshifted.low, first.shifted.low)
    assert submit(candidate, NAME, images, margin=needed - 1e-9).alias == "challenger"
    assert submit(candidate, NAME, images, margin=needed).alias == "champion"


def test_shifted_images_can_keep_a_model_from_being_champion(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    submit(make_candidate(tmp_path / "better"), NAME, images)
    decision = submit(make_candidate(tmp_path / "other", 11), NAME, images)
    assert decision.unshifted is not None and decision.shifted is not None
    low, shifted = decision.unshifted.low, decision.shifted.low
    assert shifted < low
    between = -(low + shifted) / 2
    again = submit(make_candidate(tmp_path / "again", 11), NAME, images, margin=between)
    assert again.alias == "challenger"


def test_the_same_graph_in_other_code_is_not_worse_by_nothing(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = make_candidate(tmp_path / "model")
    submit(candidate, NAME, images)
    monkeypatch.setattr("pneumonia.registry.registration._code_sha256", lambda: "other")
    decision = submit(candidate, NAME, images, margin=0.0)
    assert (decision.version, decision.alias) == ("2", "champion")
    assert decision.shifted is not None
    assert (decision.shifted.low, decision.shifted.high) == (0, 0)


def test_a_model_that_was_rolled_back_does_not_return_with_other_code(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(make_candidate(tmp_path / "first"), NAME, images)
    second = make_candidate(tmp_path / "second", 9)
    assert submit(second, NAME, images, margin=0.5).alias == "champion"
    champion.rollback(store, NAME)
    monkeypatch.setattr("pneumonia.registry.registration._code_sha256", lambda: "other")
    decision = submit(second, NAME, images, margin=0.5)
    assert (decision.version, decision.alias) == ("3", "")
    assert champion.champion(store, NAME) == "1"


def test_a_champion_of_other_data_is_scored_again_and_its_training_images_are_counted(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    others = some_images(seed=1)
    val = others.table["split"] == "val"
    # Trained on 30 of the images that are now for validation.
    others.table.loc[others.table.index[others.table["split"] == "train"][:30], "image_id"] = (
        others.table["image_id"][val].to_numpy()[:30]
    )
    old = make_candidate(tmp_path / "old", 2, digest="e" * 64)
    submit(old, NAME, others, "e" * 64)
    decision = submit(make_candidate(tmp_path / "new"), NAME, images)
    assert decision.alias == "champion"
    assert decision.same_data is False
    assert decision.trained_on == 30
    assert "version 1 was trained on 30 of these 120 images" in decision.reason
    val = images.table[images.table["split"] == "val"]
    logits, _ = Graph(old.graph).run(images.images)
    ill, well = (logits[(val["label"] == label).to_numpy()] for label in (1, 0))
    assert decision.unshifted is not None
    assert decision.unshifted.champion == pytest.approx((ill[:, None] > well).mean(), abs=5e-3)


def test_a_champion_of_the_same_split_was_trained_on_none_of_the_images(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    submit(make_candidate(tmp_path / "old", 2), NAME, images)
    decision = submit(make_candidate(tmp_path / "new"), NAME, images)
    assert (decision.same_data, decision.trained_on) == (True, 0)


def test_a_champion_for_smaller_images_is_compared_and_one_for_larger_ones_stays(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    small = make_candidate(tmp_path / "small", 4, size=16)
    submit(small, NAME, images)
    decision = submit(make_candidate(tmp_path / "right"), NAME, images, margin=0.5)
    assert decision.alias == "champion"
    assert decision.unshifted is not None
    assert decision.unshifted.champion > 0.8
    large = make_candidate(tmp_path / "large", size=64)
    submit(large, "large", images)
    decision = submit(make_candidate(tmp_path / "again"), "large", images, margin=0.5)
    assert decision.alias == "challenger"
    assert "takes images of 64 px, these have 32 px" in decision.reason
    assert "`make promote VERSION=2`" in decision.reason


def test_a_champion_registered_outside_this_code_stays_if_it_cannot_be_compared(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    store.create_registered_model(NAME)
    store.create_model_version(NAME, str(tmp_path))
    store.set_registered_model_alias(NAME, "champion", "1")
    decision = submit(make_candidate(tmp_path / "new"), NAME, images)
    assert decision.alias == "challenger"
    assert "version 1, the champion, has no graph that can be read" in decision.reason
    assert [event.why for event in champion.history(store, NAME)] == ["external"]


@pytest.mark.parametrize("deleted", ["alias", "version"])
def test_without_a_champion_the_candidate_becomes_champion(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images, deleted: str
) -> None:
    submit(make_candidate(tmp_path / "good"), NAME, images)
    if deleted == "alias":
        store.delete_registered_model_alias(NAME, "champion")
    else:
        store.delete_model_version(NAME, "1")
    assert submit(make_candidate(tmp_path / "worse", 2), NAME, images).alias == "champion"
    assert champion.champion(store, NAME) == "2"


def test_promote_and_rollback_are_not_undone_by_the_rule(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    worse, good = (make_candidate(tmp_path / str(side), side) for side in (2, 8))
    for candidate in (worse, good):
        submit(candidate, NAME, images)
    assert champion.champion(store, NAME) == "2"
    message = champion.rollback(store, NAME)
    assert message == f"version 1 of '{NAME}' is the champion again; before: 2"
    # Otherwise the rule would make version 2 the champion at every repro.
    decision = submit(good, NAME, images)
    assert decision.alias == ""
    assert "`make promote VERSION=2`" in decision.reason
    assert champion.champion(store, NAME) == "1"
    with pytest.raises(InputError, match=r"no champion before version 1; .*make promote VERSION=n"):
        champion.rollback(store, NAME)
    assert champion.promote(store, NAME, "2").endswith("is now the champion; before: 1")
    assert champion.promote(store, NAME, "2").endswith("is already the champion")
    with pytest.raises(InputError, match="no version 7; existing versions: 1, 2"):
        champion.promote(store, NAME, "7")
    whys = [(event.version, event.why) for event in champion.history(store, NAME)]
    assert whys == [("1", "first"), ("2", "rule"), ("1", "rollback"), ("2", "promote")]


@pytest.mark.parametrize(
    ("events", "line"),
    [
        ("1f 2r 3r", "1 2 3"),
        ("1f 2r 3r 2b", "1 2"),
        ("1f 2r 3r 2b 1b", "1"),
        ("1f 2r 1p 2p 1b", "1 2 1"),
        ("1f 2r 2f", "1 2"),
        ("1f 2r 9b", "1 2 9"),
    ],
)
def test_a_rollback_removes_what_came_after(events: str, line: str) -> None:
    whys = {"e": "external", "f": "first", "r": "rule", "b": "rollback", "p": "promote"}
    message = [
        champion.ChampionChange(event[0], whys[event[1]], "", "") for event in events.split()
    ]
    assert champion.rollback_stack(message) == line.split()


def test_rollback_skips_deleted_versions_and_needs_a_champion(
    store: mlflow.MlflowClient,
) -> None:
    with pytest.raises(InputError, match="make repro"):
        champion.rollback(store, NAME)
    store.create_registered_model(NAME)
    for version in "1234":
        store.create_model_version(NAME, "somewhere")
        champion.make_champion(store, NAME, version, "promote")
    store.delete_model_version(NAME, "3")
    assert champion.rollback(store, NAME).startswith("version 2 ")
    store.delete_registered_model_alias(NAME, "champion")
    with pytest.raises(InputError, match=r"no champion to .* was version 2; .*1, 2, 4"):
        champion.rollback(store, NAME)


def test_an_alias_set_outside_this_code_is_in_the_history(store: mlflow.MlflowClient) -> None:
    store.create_registered_model(NAME)
    for _ in range(2):
        store.create_model_version(NAME, "somewhere")
    champion.make_champion(store, NAME, "1", "promote")
    store.set_registered_model_alias(NAME, "champion", "2")
    assert champion.rollback(store, NAME).startswith("version 1 ")


def test_a_champion_made_meanwhile_is_the_one_to_compare_with(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(make_candidate(tmp_path / "poor", 2), NAME, images)
    submit(make_candidate(tmp_path / "poorer", 32), NAME, images)
    compare = noninferiority.compare_with_champion

    def while_another_promotes(*arguments: Any) -> Any:
        if champion.champion(store, NAME) == "1":
            champion.promote(store, NAME, "2")
        return compare(*arguments)

    monkeypatch.setattr(promotion, "compare_with_champion", while_another_promotes)
    decision = submit(make_candidate(tmp_path / "good"), NAME, images)
    assert (decision.against, decision.alias) == ("2", "champion")
    assert champion.rollback_stack(champion.history(store, NAME)) == ["1", "2", "3"]


def test_a_champion_that_changes_again_and_again_ends_in_one_line(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    for side in (2, 32):
        submit(make_candidate(tmp_path / str(side), side), NAME, images)

    same = (noninferiority.AucDifference(1, 1, 1, 0.5, 0.5, 0.0, 0.0, 0.0),) * 2

    def keep_changing(*_: Any) -> Any:
        champion.promote(store, NAME, "2" if champion.champion(store, NAME) == "1" else "1")
        return same

    monkeypatch.setattr(promotion, "compare_with_champion", keep_changing)
    with pytest.raises(InputError, match="the champion changed 5 times meanwhile; run this again"):
        submit(make_candidate(tmp_path / "good"), NAME, images)


def test_other_test_labels_decide_nothing(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    permuted = images.table.copy()
    test = permuted["split"] == "test"
    permuted.loc[test, "label"] = 1 - permuted.loc[test, "label"]
    found = []
    for name, table in (("as-they-are", images.table), ("permuted", permuted)):
        for side in (2, 6):
            candidate = make_candidate(tmp_path / f"{name}{side}", side)
            found.append(asdict(submit(candidate, name, Images(table, images.images))))
    assert found[:2] == found[2:]


def test_the_sentence_is_one_line_with_the_reason(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    submit(make_candidate(tmp_path / "good"), NAME, images)
    message = promotion.sentence(NAME, submit(make_candidate(tmp_path / "worse", 2), NAME, images))
    start = (
        f"version 2 of '{NAME}', challenger: AUC not shown to be not worse than that of version 1"
    )
    assert message.startswith(start)
    assert "\n" not in message


def damage(store: mlflow.MlflowClient, version: str) -> None:
    """Change a byte of a registered graph."""
    uri = store.get_model_version_download_uri(NAME, version)
    folder = Path(mlflow.artifacts.download_artifacts(uri))  # of a local store, its own
    [graph] = folder.rglob("graph.onnx")
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)


def test_a_model_that_is_damaged_in_the_store_is_registered_again(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    candidate = make_candidate(tmp_path / "first")
    submit(candidate, NAME, images)
    damage(store, "1")
    decision = submit(candidate, NAME, images)
    assert (decision.version, decision.alias) == ("2", "champion")
    assert "version 1: its graph is damaged in the store" in capsys.readouterr().out
    graph = f"models:/{NAME}@champion/artifacts/graph.onnx"
    fetched = Path(mlflow.artifacts.download_artifacts(graph, dst_path=str(tmp_path)))
    assert files.sha256(fetched) == candidate.graph_sha256


def test_a_damaged_champion_decides_nothing(
    store: mlflow.MlflowClient, tmp_path: Path, images: Images
) -> None:
    submit(make_candidate(tmp_path / "first"), NAME, images)
    damage(store, "1")
    with pytest.raises(InputError, match=r"graph\.onnx: damaged.*`make promote` another version"):
        submit(make_candidate(tmp_path / "second", 2), NAME, images)
    assert store.get_model_version_by_alias(NAME, "champion").version in (1, "1")
