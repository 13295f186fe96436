"""The command `pneumonia compare`: compare the params and metrics of two revisions.

It shows which metrics differ by more than chance. A revision is a commit, branch, tag, experiment
of DVC, or the workspace. The files come from DVC's cache; nothing is checked out.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pneumonia.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


DESCRIPTION = """Compare two revisions: a commit, branch, tag or experiment, or the workspace.

Prints the params that differ, and metrics of both models on the test images
with 95 % intervals by patient. A difference whose interval excludes 0 is more
than chance. If both revisions scored the same images, the difference is paired
by image, which detects much smaller differences."""
WORKSPACE = "workspace"
REPORT = "reports/evaluate"
MODELS = ("scratch", "transfer")
SHOWN = ("auc", "average_precision", "accuracy", "sensitivity", "specificity", "brier")
RESAMPLES, SEED = 2000, 7


@dataclass(frozen=True)
class Revision:
    """The pipeline's outputs at one revision."""

    name: str  #: as given on the command line
    params: dict[str, Any]  #: values of params.yaml, by dotted name
    predictions: pd.DataFrame  #: for the test images, from `evaluate`; sorted by image_id
    thresholds: dict[str, float]  #: decision threshold by model
    better: str  #: name of the model that is served
    #: difference in validation AUC between two training seeds, by model.
    seeds: dict[str, float]


@dataclass(frozen=True)
class Change:
    """The values of a metric in both revisions, and their difference."""

    metric: str  #: name of the metric
    #: the metric in each revision: value, low, high.
    first: tuple[float, float, float]
    second: tuple[float, float, float]
    difference: tuple[float, float, float]  #: second revision minus first: value, low, high

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval of the difference excludes 0."""
        return self.difference[1] > 0 or self.difference[2] < 0


def read_revision(name: str) -> Revision:
    """Read a revision's files.

    Raises:
        InputError: the revision does not exist, or its outputs are in no cache and on no remote.
    """
    import pandas as pd
    import yaml

    predictions = pd.read_csv(
        io.StringIO(_text(name, f"{REPORT}/predictions.csv")),
        dtype={"image_id": str, "patient_id": str},
    )
    points = json.loads(_text(name, f"{REPORT}/operating_point.json"))
    seeds = {}
    for model in MODELS:
        trained = json.loads(_text(name, f"models/{model}/metrics.json"))
        seeds[model] = abs(trained["val_auc"] - trained["second_seed_val_auc"])
    return Revision(
        name,
        dict(_flat(yaml.safe_load(_text(name, "params.yaml")))),
        predictions[predictions["split"] == "test"].sort_values("image_id", ignore_index=True),
        {model: point["threshold"] for model, point in points["models"].items()},
        points["better"],
        seeds,
    )


def _text(revision: str, path: str) -> str:
    import dvc.api
    from dvc.exceptions import DvcException

    try:
        return dvc.api.read(path, rev=None if revision == WORKSPACE else revision)
    except (DvcException, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        remedy = "`dvc exp show` lists experiments; `dvc pull -r` and `dvc repro` give outputs"
        raise InputError(f"{revision}: {path}: {reason} ({remedy})") from None


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def changed_params(first: Revision, second: Revision) -> list[tuple[str, Any, Any]]:
    """List the params that differ: name and both values; the value None for a missing param."""
    names = sorted(first.params.keys() | second.params.keys())
    pairs = [(name, first.params.get(name), second.params.get(name)) for name in names]
    return [(name, a, b) for name, a, b in pairs if a != b]


def same_images(first: Revision, second: Revision) -> bool:
    """Whether both revisions were tested on the same images with the same labels."""
    columns = ["image_id", "label", "patient_id", "model"]
    tables = [
        revision.predictions[columns].sort_values(["model", "image_id"], ignore_index=True)
        for revision in (first, second)
    ]
    return tables[0].equals(tables[1])


def changes(
    first: Revision, second: Revision, model: str, resamples: int = RESAMPLES, seed: int = SEED
) -> list[Change]:
    """Compare each metric in `SHOWN` of one model between two revisions; bootstrap the patients.

    If both revisions have the same images, they use the same resamples, so difficult images affect
    both equally. Otherwise the resamples are independent.
    """
    from pneumonia.stats.bootstrap import percentile_interval

    shared = same_images(first, second)
    a, resampled_a = _measure(first, model, resamples, seed)
    b, resampled_b = _measure(second, model, resamples, seed if shared else seed + 1)
    rows = []
    for name in SHOWN:
        low, high = percentile_interval(resampled_b[name] - resampled_a[name])
        rows.append(Change(name, a[name], b[name], (b[name][0] - a[name][0], low, high)))
    return rows


def _measure(
    revision: Revision, model: str, resamples: int, seed: int
) -> tuple[dict[str, tuple[float, float, float]], dict[str, NDArray[np.float64]]]:
    """Return value, low and high of each metric, and the metric's values in the resamples."""
    from pneumonia.stats.bootstrap import bootstrap
    from pneumonia.stats.metrics import intervals, score, score_resamples

    rows = revision.predictions[revision.predictions["model"] == model]
    labels, patients = rows["label"].to_numpy(), rows["patient_id"].to_numpy(str)
    probability, logits = rows["probability"].to_numpy(), rows["logit"].to_numpy()
    threshold = revision.thresholds[model]

    def resampled(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return score_resamples(labels, probability, threshold, weights, logits)

    values = score(labels, probability, threshold, ranking=logits)
    bounds = intervals(labels, probability, threshold, patients, resamples, seed, logits)
    return (
        {name: (values[name], *bounds[name]) for name in SHOWN},
        bootstrap(resampled, labels, patients, resamples, seed),
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pneumonia compare`."""
    parser.add_argument("first", metavar="A", help="a commit, branch, tag or experiment")
    parser.add_argument(
        "second", metavar="B", nargs="?", default=WORKSPACE, help="another one (workspace)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print both revisions side by side; return 0.

    Raises:
        InputError: a revision does not exist, or has no outputs.
    """
    first, second = read_revision(arguments.first), read_revision(arguments.second)
    print(f"A = {first.name}, B = {second.name}\n")
    differing = changed_params(first, second)
    width = max((len(name) for name, *_ in differing), default=0)
    for name, a, b in differing:
        print(f"{name:{width}}  {a} -> {b}")
    if not differing:
        print("no param differs")
    shared = same_images(first, second)
    images = [revision.predictions["image_id"].nunique() for revision in (first, second)]
    same = f"the same {images[0]} test images in both: differences are paired"
    other = f"different test images, {images[0]} and {images[1]}: differences cannot be paired"
    print(f"\n{same if shared else other}; 95 % intervals by patient")
    for model in MODELS:
        served = " and ".join(
            side for side, revision in (("A", first), ("B", second)) if revision.better == model
        )
        print(f"\n{model}" + (f" (served in {served})" if served else ""))
        for change in changes(first, second, model):
            verdict = "more than noise" if change.beyond_noise else "within noise"
            print(
                f"  {change.metric:18} {_interval(change.first)}  {_interval(change.second)}  "
                f"{_interval(change.difference, '+')}  {verdict}"
            )
        largest = max(first.seeds[model], second.seeds[model])
        print(f"  another seed of this training changed the validation AUC by {largest:.3f}")
    return 0


def _interval(value: tuple[float, float, float], sign: str = "") -> str:
    middle, low, high = (f"{number:{sign}.3f}" for number in value)
    return f"{middle} [{low}, {high}]"
