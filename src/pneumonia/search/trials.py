"""The trials of a search: Optuna proposes values, and the pipeline's own training tests them.

Every trial is in Optuna's SQLite file. If a trial is killed, a new trial with the same values
continues from the last epoch of the same checkpoint. Optuna's proposals depend only on the seed and
the finished trials. So a search that was killed and started again has the same result as without
the interruption.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from pneumonia.core.config import Params, changed
from pneumonia.core.stage import sources
from pneumonia.datasets.manifest import read_manifest
from pneumonia.models import devices
from pneumonia.models.batches import TrainingData, load_training_data
from pneumonia.models.checkpoint import fingerprint, open_checkpoint
from pneumonia.models.loop import Epoch, recorder
from pneumonia.models.training import Network, with_augment
from pneumonia.search.space import (
    Axis,
    PruningParams,
    SearchParams,
    current_values,
    distributions,
    from_optuna,
    full_key,
    to_optuna,
)
from pneumonia.tracking import runs

if TYPE_CHECKING:
    import optuna


REPEATS = "repeats"  # attribute of a new trial: the number of the killed trial that it repeats
MLFLOW_RUN = "mlflow_run"


@dataclass(frozen=True)
class Search:
    """A search. All its trials share images, code, search space and all params without an axis."""

    stage: str  #: the stage whose params are searched
    params: Params  #: the params of params.yaml; params without an axis keep these values
    network: Network  #: the module `scratch` or `transfer`
    plan: SearchParams  #: the content of search.yaml
    #: data, digest: the folder of the prepared images, and their digest.
    data: Path
    digest: str
    folder: Path  #: the folder for the study and the checkpoint

    @property
    def block(self) -> Any:
        """The stage's block of the params."""
        return getattr(self.params, self.stage)

    @property
    def space(self) -> Mapping[str, Axis]:
        """The axes of the search space, by key."""
        return getattr(self.plan, self.stage)

    @property
    def current(self) -> dict[str, Any]:
        """The values of the axes in params.yaml, by key."""
        return current_values(self.params, self.stage, self.space)

    def with_values(self, values: Mapping[str, Any]) -> Params:
        """A copy of the params in which the axes have the given values."""
        return changed(self.params, {full_key(self.stage, key): values[key] for key in values})

    @property
    def key(self) -> str:
        """The SHA-256 that identifies the search; only trials of one search can be compared."""
        # The key ignores the current values of the axes, which change only the first trial.
        fixed = self.with_values({key: axis.extremes[0] for key, axis in self.space.items()})
        identity = {
            "params": with_augment(getattr(fixed, self.stage), fixed.augment),
            "space": {key: axis.model_dump() for key, axis in self.space.items()},
            "plan": self.plan.model_dump(include={"seed", "pruning"}),
            "data": self.digest,
        }
        return fingerprint(identity, sources(self.stage))


def open_study(search: Search) -> optuna.Study:
    """Open or create the study of a search, and queue its killed trials for a repetition.

    The first trial of a new study has the values of params.yaml, if the space contains them.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{search.folder / 'optuna.db'}",
        study_name=f"{search.stage} {search.key[:12]}",
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.NopPruner(),  # `falls_behind` prunes
    )
    current = search.current
    if not study.trials and all(axis.contains(current[key]) for key, axis in search.space.items()):
        study.enqueue_trial(to_optuna(current))
    # This process has locked the folder, so trials that are marked as running were killed.
    repeated = _repeated(study)
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        if trial.number not in repeated:
            study.enqueue_trial(trial.params, user_attrs={REPEATS: trial.number})
        if MLFLOW_RUN in trial.user_attrs:
            _end_run(trial.user_attrs[MLFLOW_RUN])
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def finished_trials(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials that are complete, pruned or failed, without killed trials that are repeated."""
    repeated = _repeated(study)
    return [
        trial for trial in study.trials
        if trial.state.is_finished() and trial.number not in repeated
    ]  # fmt: skip


def run_trials(search: Search, study: optuna.Study, trials: int, parent: str) -> None:
    """Continue a study until it has `trials` trials; each is an MLflow run under `parent`."""
    # This call comes first, because it silences TensorFlow's start-up messages.
    devices.make_deterministic(search.block.seed, search.block.precision)
    import keras
    import optuna
    import tensorflow as tf

    axes = distributions(search.current, search.space)
    data = load_training_data(search.data, search.params.augment)
    while (number := len(finished_trials(study))) < trials:
        study.sampler = optuna.samplers.TPESampler(seed=search.plan.seed + number)
        trial = study.ask(axes)
        values = from_optuna(trial.params, search.space)
        shown = ", ".join(f"{key}={value}" for key, value in values.items())
        print(f"trial {number + 1} of {trials}: {shown}", flush=True)
        keras.utils.clear_session()
        try:
            params = search.with_values(values)
            state = _train(search, trial, params, data, f"trial {number + 1}", parent)
        except (ValueError, tf.errors.OpError) as error:
            # The trial's values are the cause: the loss became NaN, or a batch is too large.
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            print(f"trial {number + 1}: failed: {reason}", file=sys.stderr)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        aucs = study.trials[trial.number].intermediate_values
        if state is optuna.trial.TrialState.PRUNED:
            print(f"trial {number + 1}: pruned after epoch {max(aucs)}", flush=True)
            study.tell(trial, state=state)
        else:
            study.tell(trial, aucs[max(aucs)])


def _train(
    search: Search, trial: optuna.Trial, params: Params, data: TrainingData, name: str, parent: str
) -> optuna.trial.TrialState:
    """Train with a trial's params, or continue a killed training; return complete or pruned."""
    import optuna

    block = getattr(params, search.stage)
    devices.make_deterministic(block.seed, block.precision)
    strategy = devices.strategy()
    settings = with_augment(block, params.augment)
    identity = {"search": search.key, "replicas": strategy.num_replicas_in_sync, **settings}
    epochs, pruning = block.epochs, search.plan.pruning
    with (
        open_checkpoint(
            search.folder / "trial", epochs, identity, sources(search.stage)
        ) as (checkpoint, history),
        runs.training_run(
            f"{search.stage} {name}", settings, search.digest, data.size,
            read_manifest(search.data), checkpoint.key, history, {"mlflow.parentRunId": parent},
        ) as log_epoch,
    ):  # fmt: skip
        trial.set_user_attr(MLFLOW_RUN, runs.active_run().info.run_id)
        record = recorder(name, log_epoch)

        def judge(epoch: Epoch) -> None:
            trial.report(epoch["val_auc"], int(epoch["epoch"]))
            # Pruning after the last epoch would save no time.
            if epoch["epoch"] < epochs and falls_behind(trial.study, epoch, pruning):
                raise optuna.TrialPruned

        def on_epoch(epoch: Epoch) -> None:
            record(epoch)
            judge(epoch)

        try:
            for epoch in list(history):
                judge(epoch)
            with strategy.scope():
                model = search.network.build(block, data.size)
            augmented = replace(data, augment=params.augment)
            search.network.train(model, augmented, block, history, checkpoint, on_epoch)
        except optuna.TrialPruned:
            return optuna.trial.TrialState.PRUNED
    return optuna.trial.TrialState.COMPLETE


def falls_behind(study: optuna.Study, epoch: Epoch, pruning: PruningParams) -> bool:
    """Whether the AUC of a trial is below the median of the complete trials at the same epoch.

    Optuna's MedianPruner uses the best epoch so far. But a training keeps its last epoch. So
    MedianPruner would never prune a fine-tuning that gets worse than the head at its start.
    """
    from optuna.trial import TrialState

    step = int(epoch["epoch"])
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    aucs = [trial.intermediate_values[step] for trial in complete]
    if step < pruning.warm_up or len(aucs) < pruning.startup:
        return False
    return epoch["val_auc"] < median(aucs)


def _repeated(study: optuna.Study) -> set[int]:
    """The numbers of the killed trials that another trial repeats."""
    return {trial.user_attrs[REPEATS] for trial in study.trials if REPEATS in trial.user_attrs}


def _end_run(run_id: str) -> None:
    import mlflow

    mlflow.MlflowClient().set_terminated(run_id, "KILLED")
