"""Being asked to stop: Ctrl-C, SIGTERM and SIGHUP end a program alike, and never within what must be done whole.

In: signals. Out: a `Stopped`, or `KeyboardInterrupt` for Ctrl-C, at a moment when nothing is half done.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """A signal other than Ctrl-C's asked the program to stop."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def _stop(number: int, frame: Any) -> None:
    raise Stopped(number)


@contextlib.contextmanager
def _handled(handler: Callable[[int, Any], Any], where: Callable[[Any], bool]):
    """`handler` takes the signals whose handler satisfies `where`, until the block ends; yields those handlers."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    before: dict[int, Any] = {s: signal.getsignal(s) for s in SIGNALS if in_main_thread}
    ours = {number: earlier for number, earlier in before.items() if where(earlier)}
    for number in ours:
        signal.signal(number, handler)
    try:
        yield ours
    finally:
        for number, earlier in ours.items():
            signal.signal(number, earlier)


@contextlib.contextmanager
def raise_on_signal():
    """SIGTERM and SIGHUP raise `Stopped` within the block; one that is ignored or handled elsewhere stays so."""
    with _handled(_stop, lambda earlier: earlier is signal.SIG_DFL):
        yield


@contextlib.contextmanager
def defer_signals():
    """A signal to stop that comes while the block runs takes effect when it has ended."""
    came: list[Any] = []
    with _handled(lambda *stop: came.append(stop), callable) as ours:  # not those ignored or left to the system
        yield
    if came:
        number, frame = came[0]
        ours[number](number, frame)
