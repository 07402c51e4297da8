"""What the commands share: JAX is set up for them, and what goes wrong is one line and an exit code."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from jaxvae.commands.advice import with_options
from jaxvae.errors import FaultError, InputError, printable, reason
from jaxvae.system import escape_unencodable, interrupts, own_cache_dir


class Parser(argparse.ArgumentParser):
    """Says in one line what it does not understand; the usage is in --help, whose text is laid out as it is written."""

    def __init__(self, prog: str, description: str, epilog: str | None = None):
        escape_unencodable()
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=prog, description=description, epilog=epilog, formatter_class=layout)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {printable(message)}; --help says what can be given\n")


def add_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--debug", action="store_true", help="show the traceback of whatever goes wrong")


def guarded(work: Callable[[], int], stopped: str, again: str = "", *, debug: bool = False) -> int:
    """Runs `work` and returns its exit code.

    2 on bad input; 1 on what failed meanwhile: a worker, the disk, or this program itself; 130, 143 or 129 after
    Ctrl-C, SIGTERM or SIGHUP. What went wrong is one line.

    Args:
        work: returns an exit code.
        stopped: what is said after such a signal.
        again: how to go on after a failure.
        debug: show the traceback, too.
    """
    try:
        with interrupts.raise_on_signal():
            return work()
    except KeyboardInterrupt as stop:
        print(f"\n{stopped}", file=sys.stderr)
        return 128 + getattr(stop, "number", signal.SIGINT)
    except Exception as error:
        if debug:
            traceback.print_exc()
        line, code = _line_and_code(error, again)
        print(f"error: {printable(line)}", file=sys.stderr)
        return code


def _line_and_code(error: Exception, again: str) -> tuple[str, int]:
    """What a user reads of an error, and the exit code."""
    if isinstance(error, InputError):
        return with_options(str(error)), 2
    if isinstance(error, FaultError):
        line = with_options(str(error))
        return f"{line}; {again}" if again else line, 1
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}", 2
    if isinstance(error, MemoryError):
        return "there is not enough memory", 1
    return f"internal error ({reason(error)}); please report it; --debug shows the traceback", 1


def leave(code: int) -> NoReturn:
    """Ends the process; at once, if it was stopped: Python's own way out waits for the epoch that is being computed."""
    if code > 128:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def set_environment(*, cpu_devices: int | None = None) -> None:
    """Imports JAX, and sets before what it and Matplotlib read when they are imported.

    Compiled programs are kept for the next time, small ones too; figures are drawn into files, whatever the user set.

    Args:
        cpu_devices: how many devices a CPU is made of, where the environment does not say.

    Raises:
        InputError: JAX cannot read its own variables.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(own_cache_dir() / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ["MPLBACKEND"] = "agg"
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of its folders, which a user need not have
    if cpu_devices:
        os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(cpu_devices))
    try:
        import jax  # noqa: F401
    except ValueError as error:
        raise InputError(f"JAX cannot start ({reason(error)}); unset what it names") from None


def start_jax(before: Callable[[], None] | None = None) -> None:
    """Finds JAX's devices; `set_environment` comes before, and so do imports of whatever imports JAX.

    Args:
        before: called when JAX has been imported and has not looked for devices yet.

    Raises:
        InputError: JAX finds no device.
    """
    import jax

    if before:
        before()
    try:
        jax.local_devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts when the one platform asked for is not there
        platforms = os.environ.get("JAX_PLATFORMS", "not set")
        why = (str(error).splitlines() or ["no such device"])[0]
        raise InputError(f"JAX cannot start ({why}); JAX_PLATFORMS is {platforms}") from None
