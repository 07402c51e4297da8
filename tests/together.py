"""A process of several that train one small study; JAX's variables say which.

    python -m tests.together FOLDER EPOCHS MESH [SAVE [SECONDS]]

Prints how many epochs were trained, and how many the folder has then. Before its save of that number the last process
is killed; or, with SECONDS, it waits.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvae.commands import guarded
from jaxvae.commands.supervisor import supervised

if TYPE_CHECKING:
    from jaxvae.config import RunConfig

TIMEOUT = 10


def runs(epochs: int) -> list[RunConfig]:
    from tests.classic import classic

    return [
        classic("linear", d, hidden=(8,), batch_size=20, epochs=epochs, seed=seed)
        for d, seed in ((2, 1), (3, 1), (3, 2), (2, 2), (2, 3))
    ]


def work(folder: str, epochs: str, layout: str, number: str = "", seconds: str = "") -> int:
    import jax

    from jaxvae.training import distributed

    processes, process = (int(os.environ[f"JAX_{name}"]) for name in ("NUM_PROCESSES", "PROCESS_ID"))
    distributed.connect(os.environ["JAX_COORDINATOR_ADDRESS"], processes, process, TIMEOUT)

    from jaxvae.runs import checkpoint
    from jaxvae.study.study import Study
    from jaxvae.training import make_mesh
    from tests.blobs import small

    save, saves = checkpoint.save, itertools.count(1)

    def disturbed(*what):
        if number and next(saves) == int(number) and jax.process_index() == jax.process_count() - 1:
            if not seconds:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(float(seconds))
        save(*what)

    checkpoint.save = disturbed
    study = Study(Path(folder), runs(int(epochs)), small())
    study.train(mesh=make_mesh(layout), quiet=True)
    print(study.how["epochs_trained"], sum(max(checkpoint.epochs(study.folder / run.name)) for run in study.runs))
    distributed.leave()
    return 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    lost = "another process was lost; go on with all"
    sys.exit(
        supervised(
            lambda: guarded(lambda: work(*arguments), "stopped", "go on with all"),
            lambda native: lost if "distributed service" in native else "",
        )
    )
