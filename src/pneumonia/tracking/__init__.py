"""Tracking: the connection to MLflow, and the run of each training.

It imports only `datasets` and the rooms below `datasets`, so trainings, search and registry can all
log to the same store. It knows no network and no report: callers pass params, figures and folders.

Begin with `store.py`, which finds the store and connects to it (`connected()`). Then read
`runs.py`: `training_run` opens the run of a training, and `open_run` finds this run again. The
metrics of evaluate and gradcam_report are logged by `registry/mlflow_metrics.py`.
"""
