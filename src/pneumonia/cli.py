"""The command line: `pneumonia VERB --help`, or `python -m pneumonia VERB --help`.

A verb's module is imported only when the verb is called. So the help is quick, and the Docker image
can run `pneumonia serve` although it has only the server's libraries.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pneumonia
from pneumonia.core.errors import InputError, disk_trouble

INTERRUPTED = 130  # the exit status that shells use for SIGINT


class Verb(NamedTuple):
    """A verb. Its module has DESCRIPTION, `run`, and, for own arguments, `add_arguments`."""

    module: str
    help: str
    shared: str = ""  # the option in `SHARED` that the verb has
    own: bool = True  # whether the verb has own arguments


SHARED: dict[str, dict[str, Any]] = {
    "--model": {
        "help": "models:/NAME@champion or models:/NAME/VERSION, a folder, or scratch or transfer "
        "as trained here (the champion of params.yaml)",
    },
    "--params": {
        "type": Path, "default": Path("params.yaml"), "metavar": "FILE",
        "help": "params file (params.yaml)",
    },
}  # fmt: skip
VERBS = {
    "run": Verb("mlproject", "run the pipeline or a stage, with other params as an experiment"),
    "serve": Verb("server.command", "serve a registered model: REST, and a page in the browser"),
    "score": Verb("scoring.command", "score many images into a Parquet data set", "--model"),
    "explain": Verb("explain.command", "write the heat map of each image, laid over the image",
                    "--model"),
    "validate": Verb("evaluation.validate", "measure a model on your own labelled images",
                     "--model"),
    "behaviour": Verb("evaluation.behaviour_command",
                      "check how a model behaves, on drawn images", "--model"),
    "compare": Verb("evaluation.compare", "compare params and metrics of two revisions"),
    "search": Verb("search.command", "search for better params of a training", "--params"),
    "promote": Verb("registry.command", "make a version the champion", "--params"),
    "rollback": Verb("registry.command", "make the previous champion champion again", "--params",
                     own=False),
    "history": Verb("registry.command", "list the changes of champion", "--params", own=False),
    "repair": Verb("repair", "move damaged outputs away, so that `make repro` makes them again",
                   own=False),
}  # fmt: skip
AMERICAN = {"behavior": "behaviour"}
OUTPUT_CLOSED = 141  # exit status of a program that SIGPIPE ended, in a shell
SHELLS = ("bash", "zsh", "tcsh")
COMPLETION = "--print-completion"
FILES = ("FILE", "FOLDER", "INPUT")  # for these arguments, shells complete file names


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: `sys.argv`); return the exit status.

    For bad input and for a full or write-protected disk, print the problem to standard error and
    return 1. After Ctrl-C, return 130. If the reader of the output closes it, as `head` does,
    return 141. Any other exception is a bug; Python prints its traceback.
    """
    try:
        try:
            return _run(list(sys.argv[1:] if arguments is None else arguments))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python would try to write the rest when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUTPUT_CLOSED


def _run(words: list[str]) -> int:
    words[:1] = [AMERICAN.get(word, word) for word in words[:1]]
    completing = bool(words) and words[0].startswith(COMPLETION)
    first = [word for word in words if not word.startswith("-")][:1]
    parser = build_parser(VERBS if completing else first)
    parsed, rest = parser.parse_known_args(words)
    if parsed.verb is None:
        parser.print_help()
        return 0
    if parsed.verb == "run":
        parsed.knobs = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        status: int = parsed.run(parsed)
        return status
    except KeyboardInterrupt:
        print(f"{parsed.verb}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        message = str(error) if isinstance(error, InputError) else disk_trouble(error)
        if not message:
            raise
    for line in message.splitlines():
        print(f"{parsed.verb}: {line}", file=sys.stderr)
    return 1


def build_parser(loaded: Collection[str]) -> argparse.ArgumentParser:
    """Build the parser for all verbs; only verbs in `loaded` are imported and get arguments."""
    parser = argparse.ArgumentParser(
        prog="pneumonia",
        allow_abbrev=False,
        description="Pneumonia detection on chest X-rays. For research and teaching, not a medical "
        "device.",
        epilog="`pneumonia VERB --help` lists the options of a verb.",
    )
    parser.add_argument("--version", action="version", version=pneumonia.__version__)
    parser.add_argument(
        COMPLETION, choices=SHELLS, action=_PrintCompletion,
        help="print the completion script of a shell",
    )  # fmt: skip
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for name, verb in VERBS.items():
        adding = verbs.add_parser(
            name, help=verb.help, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name in loaded:
            module: Any = import_module(f"pneumonia.{verb.module}")
            adding.description = module.DESCRIPTION
            adding.set_defaults(run=module.run)
            if verb.own:
                module.add_arguments(adding)
            if verb.shared:
                adding.add_argument(verb.shared, **SHARED[verb.shared])
    return parser


class _PrintCompletion(argparse.Action):
    """Print the completion script for a shell (shtab makes the script), and exit."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: Any = None
    ) -> None:
        try:
            import shtab
        except ImportError:
            parser.exit(1, f"{COMPLETION}: shtab is not installed; `pip install shtab`\n")
        verbs: Any = next(action for action in parser._actions if action.dest == "verb")
        for verb in verbs.choices.values():
            for action in verb._actions:
                if action.metavar in FILES:
                    action.complete = shtab.FILE
        print(shtab.complete(parser, values))
        parser.exit()
