"""Tracking: the connection to MLflow, and the run of each training.

Imports only from `datasets` and the rooms below it, so that trainings, search and registry can all
log to the same store. It knows no network and no report: callers pass params, figures and folders.

Begin with `store.py` (where the store is, `connected()`), then `runs.py` (`training_run` opens the
run of a training, `open_run` finds it again).
"""
