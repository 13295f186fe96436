"""The trials of a search: Optuna proposes values, the pipeline's own training judges them.

What happened lies in Optuna's SQLite file. A trial that was killed has its place taken by one with
the same values, which goes on from the last epoch of the same checkpoint; and what is proposed
follows from the seed and the trials that are done. So a search that was killed and started again
ends like one that was not.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from pneumonia.core.config import TrainingParams, changed
from pneumonia.core.stage import sources
from pneumonia.datasets.manifest import read_manifest
from pneumonia.models import devices
from pneumonia.models.batches import LabelledImages, load_training_images
from pneumonia.models.checkpoint import begin, fingerprint
from pneumonia.models.loop import Epoch, recorder
from pneumonia.models.training import Build, Train
from pneumonia.search.space import (
    Axis,
    PruningParams,
    SearchParams,
    distributions,
    present,
    suggested,
    values,
)
from pneumonia.tracking import runs

if TYPE_CHECKING:
    import optuna


INSTEAD_OF = "instead_of"  # attribute of a trial: the number of the killed one that it repeats
MLFLOW_RUN = "mlflow_run"


@dataclass(frozen=True)
class Search:
    """One search: the same images, code, params that are not searched, and space.

    Attributes:
        stage: whose block is searched.
        block: of params.yaml, with epochs, seed and all that no axis names.
        build, train: those of `scratch` or `transfer`.
        plan: of search.yaml.
        data, digest: the prepared images.
        folder: for the study and the checkpoint.
    """

    stage: str
    block: Any
    build: Build[Any]
    train: Train[Any]
    plan: SearchParams
    data: Path
    digest: str
    folder: Path

    @property
    def space(self) -> Mapping[str, Axis]:
        """What is tried, by dotted key."""
        return getattr(self.plan, self.stage)

    @property
    def key(self) -> str:
        """SHA-256 that names the search: trials of another one cannot be compared with its own."""
        # A searched knob's present value makes no difference to any trial but the first.
        first = {key: axis.tried[0] for key, axis in self.space.items()}
        known = {
            "block": changed(self.block, first).model_dump(),
            "space": {key: axis.model_dump() for key, axis in self.space.items()},
            "plan": self.plan.model_dump(include={"seed", "pruning"}),
            "data": self.digest,
        }
        return fingerprint(known, sources(self.stage))


def open_study(search: Search) -> optuna.Study:
    """The study of a search, made if there is none; a killed trial waits in it to be repeated.

    The first trial of a new one has the values of params.yaml, if the space holds them.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{search.folder / 'optuna.db'}",
        study_name=f"{search.stage} {search.key[:12]}",
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.NopPruner(),  # `falls_behind` is it
    )
    now = present(search.block, search.space)
    if not study.trials and all(axis.holds(now[key]) for key, axis in search.space.items()):
        study.enqueue_trial(suggested(now))
    # This process holds the folder, so nobody else is at a trial that is said to be running.
    repeated = _repeated(study)
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        if trial.number not in repeated:
            study.enqueue_trial(trial.params, user_attrs={INSTEAD_OF: trial.number})
        if MLFLOW_RUN in trial.user_attrs:
            _end_run(trial.user_attrs[MLFLOW_RUN])
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def done(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials that ended: whole, pruned, or failed by themselves."""
    repeated = _repeated(study)
    return [
        trial for trial in study.trials
        if trial.state.is_finished() and trial.number not in repeated
    ]  # fmt: skip


def run(search: Search, study: optuna.Study, trials: int, parent: str) -> None:
    """Go on with a study until it has so many trials, each an MLflow run under `parent`."""
    # Also keeps TensorFlow's greeting from the screen.
    devices.be_deterministic(search.block.seed, search.block.precision)
    import keras
    import optuna
    import tensorflow as tf

    axes = distributions(search.block, search.space)
    images = load_training_images(search.data)
    while (number := len(done(study))) < trials:
        study.sampler = optuna.samplers.TPESampler(seed=search.plan.seed + number)
        trial = study.ask(axes)
        chosen = values(trial.params, search.space)
        shown = ", ".join(f"{key}={value}" for key, value in chosen.items())
        print(f"trial {number + 1} of {trials}: {shown}", flush=True)
        keras.utils.clear_session()
        try:
            block = changed(search.block, chosen)
            state = _train(search, trial, block, images, f"trial {number + 1}", parent)
        except (ValueError, tf.errors.OpError) as error:
            # A loss that is no number any more, a batch that does not fit: the values are to blame.
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            print(f"trial {number + 1}: failed: {reason}", file=sys.stderr)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        last = study.trials[trial.number].intermediate_values
        if state is optuna.trial.TrialState.PRUNED:
            print(f"trial {number + 1}: pruned after epoch {max(last)}", flush=True)
            study.tell(trial, state=state)
        else:
            study.tell(trial, last[max(last)])


def _train(
    search: Search,
    trial: optuna.Trial,
    block: TrainingParams,
    images: tuple[LabelledImages, LabelledImages],
    name: str,
    parent: str,
) -> optuna.trial.TrialState:
    """Train with the values of a trial, or go on with what was killed; whole or pruned."""
    import optuna

    devices.be_deterministic(block.seed, block.precision)
    strategy = devices.strategy()
    size = images[0].images.shape[1]
    settings = block.model_dump()
    known = {"search": search.key, "replicas": strategy.num_replicas_in_sync, **settings}
    epochs, pruning = search.block.epochs, search.plan.pruning
    with begin(search.folder / "trial", epochs, known, sources(search.stage)) as held:
        checkpoint, history = held
        with runs.training_run(
            f"{search.stage} {name}", settings, search.digest, size, read_manifest(search.data),
            checkpoint.key, history, {"mlflow.parentRunId": parent},
        ) as log_epoch:  # fmt: skip
            trial.set_user_attr(MLFLOW_RUN, _active_run())
            record = recorder(name, log_epoch)

            def judge(epoch: Epoch) -> None:
                trial.report(epoch["val_auc"], int(epoch["epoch"]))
                # Nothing is saved after the last one.
                if epoch["epoch"] < epochs and falls_behind(trial.study, epoch, pruning):
                    raise optuna.TrialPruned

            def on_epoch(epoch: Epoch) -> None:
                record(epoch)
                judge(epoch)

            try:
                for epoch in list(history):
                    judge(epoch)
                with strategy.scope():
                    model = search.build(block, size)
                search.train(model, images, block, history, checkpoint, on_epoch)
            except optuna.TrialPruned:
                return optuna.trial.TrialState.PRUNED
    return optuna.trial.TrialState.COMPLETE


def falls_behind(study: optuna.Study, epoch: Epoch, pruning: PruningParams) -> bool:
    """Whether a trial's AUC after an epoch is below the median of the whole trials' at that epoch.

    Optuna's MedianPruner takes the best epoch so far, but what a training keeps is its last one: a
    fine-tuning that spoils the head it began with would never be ended.
    """
    from optuna.trial import TrialState

    step = int(epoch["epoch"])
    whole = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    then = [trial.intermediate_values[step] for trial in whole]
    if step < pruning.warm_up or len(then) < pruning.startup:
        return False
    return epoch["val_auc"] < median(then)


def _repeated(study: optuna.Study) -> set[int]:
    """Numbers of the killed trials that another one stands in for."""
    return {
        trial.user_attrs[INSTEAD_OF] for trial in study.trials if INSTEAD_OF in trial.user_attrs
    }


def _active_run() -> str:
    import mlflow

    active = mlflow.active_run()
    assert active is not None
    return active.info.run_id


def _end_run(run_id: str) -> None:
    import mlflow

    mlflow.MlflowClient().set_terminated(run_id, "KILLED")
