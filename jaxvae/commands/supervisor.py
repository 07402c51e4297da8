"""A command that computes with others runs in a process of its own, so that its end is explained in one line.

When another process is lost, JAX's runtime prints pages and aborts, and no Python code hears of it. So the work is done
by a forked process, whose native output goes to a file nobody needs to read; the one that was started waits, hands on
signals, and says what happened.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import NoReturn

from jaxvae.errors import reason
from jaxvae.system import interrupts


def supervised(work: Callable[[], int], explain: Callable[[str], str], *, debug: bool = False) -> int:
    """The exit code of `work`, done in a process of its own; 1 if that was ended by a signal nobody sent through us.

    To be called before JAX is imported, by a process of one thread.

    Args:
        work: returns its exit code and says itself what went wrong.
        explain: the line for a process that was ended, from its native output; none where that does not say it.
        debug: show that output, too.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with tempfile.TemporaryFile() as native:
        child_end, parent_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(parent_end)
            _work(work, native.fileno(), child_end)
        os.close(child_end)
        sent = _forward_signals(child)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code >= 0:
            return code
        if -code in sent:
            return 128 - code
        native.seek(0)
        output = native.read().decode(errors="replace")
    line = explain(output) or f"the process that computed was ended by {signal.Signals(-code).name}"
    if code == -signal.SIGKILL:
        line += ", perhaps because the machine ran out of memory"
    print(f"{output if debug else ''}error: {line}", file=sys.stderr)
    return 1


def _work(work: Callable[[], int], native: int, parent: int) -> NoReturn:
    """In the forked process: Python keeps the terminal, native code writes into the file."""
    os.setpgid(0, 0)  # Ctrl-C comes once, through the parent
    sys.stdout, sys.stderr = (
        os.fdopen(os.dup(number), "w", buffering=1, errors="backslashreplace") for number in (1, 2)
    )
    for number in (1, 2):
        os.dup2(native, number)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    code = 1
    try:
        code = work()
        sys.stdout.flush()
    except BaseException as error:  # such as a pipe that nobody reads any more
        with contextlib.suppress(OSError):
            print(f"error: stopped by {reason(error)}", file=sys.stderr)
    os._exit(code)


def _end_with(parent: int) -> None:
    os.read(parent, 1)  # returns when the parent's end is closed, however it ended
    os._exit(1)


def _forward_signals(child: int) -> list[int]:
    """Signals to stop go to the child; returns a list of those that came, which grows."""
    sent: list[int] = []

    def forward(number: int, frame: object) -> None:
        sent.append(number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in interrupts.SIGNALS:
        signal.signal(number, forward)
    return sent
