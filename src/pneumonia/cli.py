"""The command line: `pneumonia VERB --help`."""

from __future__ import annotations

import argparse
import sys

from pneumonia import repair
from pneumonia.core.errors import InputError
from pneumonia.evaluation import behaviour, compare, validate
from pneumonia.explain import command as explain
from pneumonia.scoring import score
from pneumonia.search import command as search

COMMANDS = {
    "behaviour": (behaviour, "check what the champion does, on drawn images"),
    "compare": (compare, "params and metrics of two revisions side by side"),
    "explain": (explain, "write the heat map of images laid over them"),
    "repair": (repair, "put damaged outputs aside, for `make repro` to make anew"),
    "score": (score, "score many images into a Parquet data set"),
    "search": (search, "look for better params of a training"),
    "validate": (validate, "measure the champion on images of your own"),
}


def main() -> int:
    """Run a command; its exit status."""
    parser = argparse.ArgumentParser(prog="pneumonia", description="Work with the trained models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (command, text) in COMMANDS.items():
        adding = commands.add_parser(
            name,
            help=text,
            description=command.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(adding)
    arguments = parser.parse_args()
    try:
        return COMMANDS[arguments.command][0].run(arguments)
    except InputError as error:
        for line in str(error).splitlines():
            print(f"{arguments.command}: {line}", file=sys.stderr)
        return 1
