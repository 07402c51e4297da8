"""Programs of every kind that train: scripts without a guard, standard input, threads, event loops, pools, notebooks.

In: nothing. Out: a check for each: it trains what a plain script trains, or is told in a line why not.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import NamedTuple

from benchmarks.faults.checks import Check
from benchmarks.faults.kills import ROOT

WHAT = "kinds of programs that train / tried"
START = """
import dataclasses, sys, tempfile
import numpy as np
from jaxvae.models import StandardNormal
from jaxvae.parts import part
from jaxvae.study.study import Study
from tests.blobs import small
from tests.classic import classic
import jaxvae

@part("prior/own")
class OwnPrior(StandardNormal):
    pass

plain = classic(hidden=(2,), batch_size=20, epochs=1)
own = dataclasses.replace(plain, vae=dataclasses.replace(plain.vae, prior=OwnPrior()))

def train(run=plain, workers=1):
    folder = tempfile.mkdtemp(dir=".")
    runs = [run, dataclasses.replace(run, seed=1)]
    Study(folder, runs, small()).train("loop", workers, quiet=True)
    losses = [jaxvae.load(f"{folder}/{one.name}", parts=[OwnPrior]).metrics[-1]["test"]["loss"] for one in runs]
    print("trained", [round(loss, 1) for loss in losses], flush=True)
"""
MISSING = ("fork", "sched_getaffinity", "sched_setaffinity", "posix_fallocate", "O_NOFOLLOW")  # on Windows
GUARDED = 'if __name__ == "__main__":\n    '


class Program(NamedTuple):
    """What follows the start, and how it is run."""

    text: str
    how: tuple[str, ...] = ("program.py",)
    times: int = 1  # that it trains
    says: str = ""  # a pattern of the line in which it is refused


STDIN, TEXT = ("-",), ("-c",)
PROGRAMS: dict[str, Program] = {
    "a script with workers and no guard": Program("train(workers=2)"),
    "standard input": Program("train()", STDIN),
    "standard input with workers": Program("train(workers=2)", STDIN),
    "a text with workers": Program("train(workers=2)", TEXT),
    "a module with workers": Program("train(workers=2)", ("-m", "program")),
    "a part, a guard and workers": Program(f"{GUARDED}train(own, 2)"),
    "a part, no guard and workers": Program("train(own, 2)", says="put what it does under `if __name__ =="),
    "a part from standard input, and workers": Program("train(own, 2)", STDIN, says="workers must be 1, as .*notebook"),
    "a thread": Program("import threading\nt = threading.Thread(target=train)\nt.start()\nt.join()"),
    "two threads": Program(
        "import threading\nts = [threading.Thread(target=train) for _ in range(2)]\n"
        "[t.start() for t in ts]\n[t.join() for t in ts]", times=2,
    ),
    "an event loop, as in notebooks": Program("import asyncio\nasync def work(): train()\nasyncio.run(work())"),
    "an event loop with workers": Program("import asyncio\nasync def work(): train(workers=2)\nasyncio.run(work())"),
    "an event loop's threads": Program(
        "import asyncio\nasync def work(): await asyncio.gather(*[asyncio.to_thread(train) for _ in range(2)])\n"
        "asyncio.run(work())", times=2,
    ),
    "a pool of processes": Program(
        f"from multiprocessing import get_context\n{GUARDED}get_context('spawn').Pool(1).apply(train)"
    ),
    "a pool whose processes ask for workers": Program(
        f"from multiprocessing import get_context\n{GUARDED}get_context('spawn').Pool(1).apply(train, (plain, 2))",
        says="workers must be 1 in a process of a pool",
    ),
    "a notebook's streams": Program(
        "import io\nreal, sys.stdout = sys.stdout, io.StringIO()\ntrain()\nreal.write(sys.stdout.getvalue())"
    ),
    "no streams at all": Program(
        "import builtins\nreal, sys.stdout, sys.stderr = sys.stdout, None, None\n"
        "builtins.print = lambda *words, **_: real.write(' '.join(map(str, words)) + '\\n')\ntrain()\nreal.flush()"
    ),
    "code given to exec": Program("exec(compile('train(workers=2)', '<cell>', 'exec'))"),
    "a shallow stack": Program("sys.setrecursionlimit(400)\ntrain()"),
    "NumPy that raises": Program("np.seterr(all='raise')\ntrain()"),
    "JAX in 64-bit mode, set late": Program("import jax\njax.config.update('jax_enable_x64', True)\ntrain(workers=2)"),
    "signals ignored, as under nohup": Program("import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\ntrain()"),
    "a system without fcntl, as Windows": Program("train()", ("-W", "ignore", "without.py")),
}  # fmt: skip


def checks(sweep: Path) -> list[Check]:
    return [
        Check(what, lambda folder, program=program: _failure(program, folder)) for what, program in PROGRAMS.items()
    ]


def _failure(program: Program, folder: Path) -> str | None:
    ended = _run(program, folder)
    last = (ended.stderr.strip().splitlines() or [""])[-1]
    if program.says:
        return None if ended.returncode and re.search(program.says, last) else f"exit code {ended.returncode}: {last}"
    if ended.returncode:
        return f"exit code {ended.returncode}: {last}"
    workers = "workers=2" in program.text or "own, 2" in program.text
    trained = [line for line in ended.stdout.splitlines() if line.startswith("trained")]
    return None if trained == [_expected(folder.parent, workers)] * program.times else f"printed {ended.stdout!r}"


_ONE_AT_A_TIME = threading.Lock()


def _expected(folder: Path, workers: bool) -> str:
    with _ONE_AT_A_TIME:
        return _printed_by_a_plain_script(folder, workers)


@cache
def _printed_by_a_plain_script(folder: Path, workers: bool) -> str:
    """What a plain script prints; losses of worker processes differ by rounding, and are printed with one digit."""
    program = Program(f"{GUARDED}train(workers={1 + workers})")
    (folder / f"plain-{workers}").mkdir()
    ended = _run(program, folder / f"plain-{workers}")
    if ended.returncode:
        raise RuntimeError(f"a plain script does not even run: {ended.stderr[-300:]}")
    return ended.stdout.strip()


def _run(program: Program, folder: Path) -> subprocess.CompletedProcess[str]:
    text = f"{START}\n{program.text}\n"
    (folder / "program.py").write_text(text, encoding="utf-8")
    without = f"import os, sys\nsys.modules['fcntl'] = None\nfor name in {MISSING}: delattr(os, name)\n{text}"
    (folder / "without.py").write_text(without, encoding="utf-8")
    command = [sys.executable, *program.how, *([text] if program.how == TEXT else [])]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(folder))),
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.run(
        command, input=text, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
