"""Search: Optuna proposes new params for a training, and the training itself tests them.

It imports `models` and the rooms below; only the command line imports `search`. Optuna is not
installed by default: `make setup-search` installs it.

Begin with `command.py` (`pneumonia search`). Then read `space.py` (the schema of search.yaml) and
`trials.py` (one training per trial; it prunes trials, and continues after a stop).
"""
