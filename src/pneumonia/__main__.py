"""The commands: pneumonia COMMAND --help."""

from __future__ import annotations

import argparse
import sys

from pneumonia.errors import InputError
from pneumonia.explain import command as explain
from pneumonia.scoring import command as score

COMMANDS = {
    "explain": (explain, "write the heat map of films laid over them"),
    "score": (score, "score many films into a Parquet data set"),
}


def main() -> int:
    """Run a command; its exit status."""
    parser = argparse.ArgumentParser(prog="pneumonia", description="Work with the trained models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        options = commands.add_parser(
            name,
            help=summary,
            description=module.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(options)
    arguments = parser.parse_args()
    module, _ = COMMANDS[arguments.command]
    try:
        return module.run(arguments)
    except InputError as error:
        for line in str(error).splitlines():
            print(f"{arguments.command}: {line}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
