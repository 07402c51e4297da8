"""Commands as a user gives them, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.classic import classic

ROOT = Path(__file__).parent.parent
QUICK = ["--dataset", "digits", "--limit", "120", "--batch-size", "20", "--epochs", "3"]
LINEAR = ["--architectures", "linear", "--latent-dims", "2", "3", "--workers", "1"]  # with QUICK: what is `finished`
LINEAR_2, LINEAR_3 = (classic("linear", d, batch_size=20).name for d in (2, 3))  # its runs


def command(arguments, cache, module="experiments.sweep"):
    environment = os.environ | {"JAXVAE_CACHE_DIR": str(cache)}
    for name in ("JAXVAE_DATA_DIR", "JAX_NUM_CPU_DEVICES"):
        environment.pop(name, None)
    full = [sys.executable, "-W", "error::DeprecationWarning:jaxvae", "-m", module, *map(str, arguments)]
    return subprocess.Popen(full, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(arguments, cache, module="experiments.sweep"):
    process = command(arguments, cache, module)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err
