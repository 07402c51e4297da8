"""A process of several that train one small study; JAX's variables say which. Prints how many epochs it was given.

python -m tests.together FOLDER EPOCHS MESH [SAVES]    with SAVES, the last process is killed when it has saved so many
"""

import os
import signal
import sys
from pathlib import Path

from experiments.command import guarded
from experiments.supervised import supervised

TIMEOUT = 10


def work(folder: str, epochs: str, layout: str, saves: str = "") -> int:
    import jax

    from jaxvae import peers

    number = {name: int(os.environ[f"JAX_{name}"]) for name in ("NUM_PROCESSES", "PROCESS_ID")}
    peers.connect(os.environ["JAX_COORDINATOR_ADDRESS"], *number.values(), TIMEOUT)

    from benchmarks.faults.blobs import small
    from jaxvae import checkpoint, mesh
    from jaxvae.config import ModelConfig, RunConfig, TrainConfig
    from jaxvae.study import Study

    left, save = [int(saves or -1)], checkpoint.save

    def saved(*what):
        save(*what)
        left[0] -= 1
        if left[0] == 0 and jax.process_index() == jax.process_count() - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.save = saved
    runs = [
        RunConfig(ModelConfig("linear", d, hidden=(8,)), TrainConfig(20), epochs=int(epochs), seed=seed)
        for d, seed in ((2, 1), (3, 1), (3, 2), (2, 2), (2, 3))
    ]
    study = Study(Path(folder), runs, small())
    study.train(on=mesh.arranged(layout), quiet=True)
    print(study.how["epochs_trained"])
    peers.leave()
    return 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    lost = "another process was lost; go on with all"
    sys.exit(supervised(lambda: guarded(lambda: work(*arguments), "stopped", "go on with all"), lambda native: lost))
