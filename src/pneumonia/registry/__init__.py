"""The MLflow model registry: register the chosen model, and decide which version is the champion.

Begin with stages/register.py, which calls in this order: `log_metrics` (figures into the runs of
both trainings), `registration` (a new version with its files and tags), `promotion` (the rule that
makes it champion or challenger). `champion` holds the aliases, their history, and the commands
`promote`, `rollback` and `history`. May import every room below, `reports` included.
"""
