"""Being asked to stop: Ctrl-C, SIGTERM and SIGHUP end a program alike, and never within what must be done whole.

In: signals. Out: a `Stopped`, or `KeyboardInterrupt` for Ctrl-C, at a moment when nothing is half done.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """A signal other than Ctrl-C's asked the program to stop."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def _stop(number: int, frame: Any) -> None:
    raise Stopped(number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def raise_on_signal():
    """SIGTERM and SIGHUP raise `Stopped` within the block; one that is ignored or handled elsewhere stays so."""
    ours = [s for s in SIGNALS if _in_main_thread() and signal.getsignal(s) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def defer_signals():
    """A signal to stop that comes while the block runs takes effect when it has ended."""
    came: list[Any] = []
    before = {s: signal.getsignal(s) for s in SIGNALS if _in_main_thread()}
    ours = {number: handler for number, handler in before.items() if callable(handler)}  # not ignored, not the default
    for number in ours:
        signal.signal(number, lambda *stop: came.append(stop))
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
    if came:
        number, frame = came[0]
        ours[number](number, frame)
