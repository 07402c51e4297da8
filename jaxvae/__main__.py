"""The command line, `jaxvae COMMAND …`, which is also `python -m jaxvae COMMAND …`."""

from __future__ import annotations

import argparse
from typing import NoReturn

from jaxvae import __version__
from jaxvae.commands import Parser, command_line, evaluate, leave, report, search, sweep

COMMANDS = {"sweep": sweep, "search": search, "evaluate": evaluate, "report": report}


def parser() -> argparse.ArgumentParser:
    lines = "".join(f"  {name:10}{command.SUMMARY}\n" for name, command in COMMANDS.items())
    parser = Parser(
        prog=command_line(),
        description=f"Variational auto-encoders, trained many at a time.\n\ncommands:\n{lines}",
        epilog="`%(prog)s COMMAND --help` explains a command's options, with examples.",
    )
    parser.add_argument("--version", action="version", version=f"jaxvae {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help=", ".join(COMMANDS))
    rest = parser.add_argument("arguments", metavar="…", nargs=argparse.REMAINDER, help="what the command is given")
    rest.required = False  # as Python 3.12 has it
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return COMMANDS[options.command].main(options.arguments)


def script() -> NoReturn:
    """What the installed `jaxvae` calls."""
    leave(main())


if __name__ == "__main__":
    leave(main())
