"""The commands: pneumonia COMMAND --help."""

from __future__ import annotations

import argparse
import sys

from pneumonia.errors import InputError
from pneumonia.explain import command as explain


def main() -> int:
    """Run a command; its exit status."""
    parser = argparse.ArgumentParser(prog="pneumonia", description="Work with the trained models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    explaining = commands.add_parser(
        "explain",
        help="write the heat map of films laid over them",
        description=explain.DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    explain.add_arguments(explaining)
    arguments = parser.parse_args()
    try:
        return explain.run(arguments)
    except InputError as error:
        print(f"{arguments.command}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
