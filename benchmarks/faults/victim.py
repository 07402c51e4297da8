"""Sweeps that kill themselves at a chosen moment, each in a process of its own that is forked from this one.

In: a JSON line for each, `{"moment", "count", "arguments", "log"}`, on standard input. Out: its exit status, as
`subprocess` gives it, a line each: −9 for SIGKILL, as a power cut or the system's memory killer would do it; 0 if the
moment never came.

Forked, a sweep does not spend its time on imports. JAX stands that as long as it has not looked for devices.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

# by moment, what the paths have in common whose making, writing, renaming and removing is counted
MOMENTS = {
    "checkpoint": "/checkpoints/",
    "metrics": "metrics.jsonl",
    "tables": ".json",
    "figures": "/figures/",
    "data": ".npz",
}
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(moment: str, count: float) -> None:
    """Kills this process at the `count`-th change to the moment's files; for `epoch`, seconds after the first epoch."""
    seen = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal seen
        writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event not in CHANGES and not writing:
            return
        path = str(arguments[1] if event == "os.rename" else arguments[0])
        if moment == "epoch":
            if seen == 0 and MOMENTS["metrics"] in path:
                seen = 1
                threading.Timer(count, die).start()
        elif MOMENTS[moment] in path:
            seen += 1
            if seen >= count:
                die()

    sys.addaudithook(hook)


def serve() -> None:
    import matplotlib.backends.backend_agg  # noqa: F401 – what a sweep imports late, once for all
    import sklearn.linear_model
    import sklearn.metrics
    import sklearn.neighbors  # noqa: F401

    import jaxvae.study  # noqa: F401
    from jaxvae.commands.sweep import main

    for line in sys.stdin:
        asked = json.loads(line)
        sys.stdout.flush()
        if child := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            continue
        log = os.open(Path(asked["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if asked["moment"]:
            arm(asked["moment"], asked["count"])
        code = main(asked["arguments"])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # a timer may still be waiting


if __name__ == "__main__":
    serve()
