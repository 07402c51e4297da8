"""A sweep under settings that a user has made for JAX, Flax, Matplotlib, Python and the console.

In: nothing. Out: a check for each setting: tables, figures and models to the bit as without it, or one line that names
it and exit code 2.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from benchmarks.faults.checks import Check
from benchmarks.faults.kills import ROOT, difference

WHAT = "settings without effect or named / tried"

COMMAND = (
    "-m", "jaxvae", "sweep", "--dataset", "digits", "--limit", "120", "--batch-size", "20", "--epochs", "1",
    "--architectures", "linear", "--latent-dims", "2", "--precision", "float32", "--quiet",
)  # fmt: skip
SHELL = '"$@"'  # how the command is started; a setting may redirect its streams
MATPLOTLIBRC = "font.size: 30\nfigure.dpi: 300\nsavefig.bbox: tight\ntext.usetex: True\nimage.cmap: jet"
CONSOLE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


class Setting(NamedTuple):
    """What a user has set; a variable that is None is unset."""

    variables: Mapping[str, str | None] = {}
    shell: str = SHELL
    says: str = ""  # a pattern of the line in which it is refused; empty: it changes nothing


def _jax(**variables: str) -> dict[str, Setting]:
    return {f"JAX_{name}={value}": Setting({f"JAX_{name}": value}) for name, value in variables.items()}


SETTINGS: dict[str, Setting] = {
    **_jax(ENABLE_X64="1", DEFAULT_PRNG_IMPL="rbg", THREEFRY_PARTITIONABLE="0", DEFAULT_MATMUL_PRECISION="bfloat16"),
    **_jax(NUMPY_RANK_PROMOTION="raise", NUMPY_DTYPE_PROMOTION="strict", TRANSFER_GUARD="disallow_explicit"),
    **_jax(DISABLE_JIT="1", DEBUG_NANS="1", DEBUG_INFS="1", CHECK_TRACER_LEAKS="1", DEBUG_KEY_REUSE="1"),
    **_jax(LEGACY_PRNG_KEY="error", ENABLE_CUSTOM_PRNG="1", ENABLE_CHECKS="1", THREAD_GUARD="1", NUM_CPU_DEVICES="2"),
    "JAX_RANDOM_SEED_OFFSET=5": Setting({"JAX_RANDOM_SEED_OFFSET": "5"}, says="JAX_RANDOM_SEED_OFFSET is 5"),
    "JAX_ENABLE_X64=perhaps": Setting({"JAX_ENABLE_X64": "perhaps"}, says="JAX cannot start .*JAX_ENABLE_X64"),
    "JAX_PLATFORMS=none": Setting({"JAX_PLATFORMS": "none"}, says="JAX cannot start .*JAX_PLATFORMS is none"),
    "settings of Flax": Setting({"FLAX_FIX_RNG_SEPARATOR": "1", "FLAX_RETURN_FROZENDICT": "1"}),
    "names of Flax's modules": Setting({"FLAX_PRESERVE_ADOPTED_NAMES": "1"}),
    "a notebook's Matplotlib": Setting({"MPLBACKEND": "module://matplotlib_inline.backend_inline"}),
    "a window's Matplotlib": Setting({"MPLBACKEND": "qtagg"}),
    "a matplotlibrc": Setting({"MATPLOTLIBRC": "matplotlibrc"}),
    "PYTHONOPTIMIZE=1": Setting({"PYTHONOPTIMIZE": "1"}),
    "PYTHONOPTIMIZE=2": Setting({"PYTHONOPTIMIZE": "2"}),
    "warnings as errors": Setting({"PYTHONWARNINGS": "error"}),
    "short numbers": Setting({"PYTHONINTMAXSTRDIGITS": "640"}),
    "no search of the working folder": Setting({"PYTHONSAFEPATH": "1", "PYTHONPATH": str(ROOT)}),
    "a console of ASCII": Setting({"PYTHONIOENCODING": "ascii"}),
    "a console of Latin-1": Setting({"PYTHONIOENCODING": "latin-1"}),
    "a system without UTF-8": Setting(CONSOLE),
    "a console of 20 columns": Setting({"COLUMNS": "20", "TERM": "dumb"}),
    "colours by force": Setting({"FORCE_COLOR": "1"}),
    "another time zone": Setting({"TZ": "Asia/Kathmandu"}),
    "no home folder": Setting({"HOME": None}),
    "a home that is not there": Setting({"HOME": "/nonexistent"}),
    "no folder for temporary files": Setting({"TMPDIR": "/nonexistent"}),
    "standard input closed": Setting(shell=f"{SHELL} <&-"),
    "standard output closed": Setting(shell=f"{SHELL} >&-"),
    "all streams closed": Setting(shell=f"{SHELL} <&- >&- 2>&-"),
    "a mask that lets nobody else read": Setting(shell=f"umask 077; {SHELL}"),
}


def checks(sweep: Path) -> list[Check]:
    return [
        Check(what, lambda folder, setting=setting: _failure(setting, folder)) for what, setting in SETTINGS.items()
    ]


def _failure(setting: Setting, folder: Path) -> str | None:
    (folder / "matplotlibrc").write_text(MATPLOTLIBRC, encoding="utf-8")
    ended = _sweep(setting, folder, folder / "sweep")
    lines = ended.stderr.splitlines()
    if setting.says:
        held = ended.returncode == 2 and len(lines) == 1 and re.search(setting.says, lines[0])
        return None if held and not (folder / "sweep").exists() else f"exit code {ended.returncode}: {lines[-1:]}"
    if ended.returncode:
        return f"exit code {ended.returncode}: {lines[-1:]}"
    return difference(_without_settings(folder.parent), folder / "sweep")


@cache
def _without_settings(folder: Path) -> Path:
    """The sweep that all others are compared with."""
    ended = _sweep(Setting(), folder, folder / "undisturbed")
    if ended.returncode:
        raise RuntimeError(f"a sweep does not even run without settings: {ended.stderr[-300:]}")
    return folder / "undisturbed"


def _sweep(setting: Setting, folder: Path, out: Path) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "PYTHON", "XLA_"))}
    variables |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)} | {**setting.variables}
    environment = {name: value for name, value in variables.items() if value is not None}
    command = ["sh", "-c", setting.shell, "sh", sys.executable, *COMMAND, "--out", str(out)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", timeout=300, check=False
    )
