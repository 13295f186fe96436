"""The commands: pneumonia COMMAND --help."""

from __future__ import annotations

import argparse
import sys

from pneumonia import mend
from pneumonia.behaviour import command as behaviour
from pneumonia.errors import InputError
from pneumonia.evaluation import revisions, validate
from pneumonia.explain import command as explain
from pneumonia.scoring import command as score
from pneumonia.search import command as search
from pneumonia.tracking import queue

COMMANDS = {
    "behaviour": (behaviour, "check what the champion does, on drawn images"),
    "compare": (revisions, "params and metrics of two revisions side by side"),
    "explain": (explain, "write the heat map of images laid over them"),
    "mend": (mend, "put damaged outputs aside, for `make repro` to make anew"),
    "queue": (queue, "run the queued experiments"),
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


if __name__ == "__main__":
    sys.exit(main())
