"""Search: other params for a training, proposed by Optuna and judged by the training itself.

Imports `models` and the rooms below; only the command line imports it. Optuna is not installed by
default: `make setup-search`.

Begin with `command.py` (`pneumonia search`), then `space.py` (the schema of search.yaml) and
`trials.py` (one training per trial, pruning, continuing after a stop).
"""
