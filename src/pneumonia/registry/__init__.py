"""The MLflow model registry: register the chosen model, and decide which version is the champion.

Begin with stages/register.py. It calls, in this order: `log_metrics` (logs figures to the runs of
both trainings), `registration` (makes a new version with files and tags) and `promotion` (the rule
makes the version champion or challenger). `champion` has the aliases, their history, and the code
of `promote`, `rollback` and `history`. This room may import every room below, also `reports`.
"""
