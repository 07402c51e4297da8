"""What the library's errors advise, in the words of somebody who gives a command.

In: a line in the library's words. Out: the same line, which names options and commands.
"""

from __future__ import annotations

import sys

from jaxvae.errors import Remedy


def command_line(name: str = "") -> str:
    """A command as the user of this process gives it.

    `jaxvae sweep`, `python -m jaxvae sweep` or, in a checkout, `python -m experiments.sweep`.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)  # of `python -m`
    package = spec.name.partition(".")[0] if spec else ""
    start = {"experiments": "python -m experiments.", "jaxvae": "python -m jaxvae "}.get(package, "jaxvae ")
    return f"{start}{name}".strip()


def with_options(line: str) -> str:
    """The line, each `Remedy` in it said as the options and commands that have the same effect."""
    options = {
        Remedy.ANOTHER_FOLDER: "choose another --out",
        Remedy.SHARED_FOLDER: "choose an --out that all hosts share",
        Remedy.START_ANEW: "use --fresh to start anew",
        Remedy.STUDY: f"`{command_line('sweep')}`",
        Remedy.TRAIN_AGAIN: "give the sweep's command again",
        Remedy.CHECK_DATA: "check --data-dir or $JAXVAE_DATA_DIR",
        Remedy.PASS_DATA: "give its parent as --data-dir",
        Remedy.NAME_PROCESSES: "give --coordinator HOST:PORT --processes N --process I to each",
        Remedy.SAME_FOR_ALL: "give all the same command",
        Remedy.KNOW_PART: "give the Python file that defines it as --study",
    }
    for remedy in Remedy:
        line = line.replace(remedy, options[remedy])
    return line
