"""What the benchmarks share: the machine and the versions that figures belong to, and how they are written down.

In: nothing, or rows and a folder. Out: descriptions for JSON files, tables, one-line errors. No JAX, no PyTorch.
"""

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxvae.errors import InputError
from jaxvae.system.machine import cores

PACKAGES = ("jaxvae", "jax", "jaxlib", "flax", "optax", "torch", "numpy")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16")  # those that the speed of products depends on


def description() -> dict[str, Any]:
    """The CPU as it calls itself, its instructions that matter here, the cores in use and the system."""
    info = _cpu_info()
    flags = info.get("flags", "").split()
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "cores": len(cores()),
        "system": platform.platform(),
    }


def _cpu_info() -> dict[str, str]:
    """The first processor's entry in /proc/cpuinfo; on macOS its name alone."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        if sys.platform != "darwin":
            return {}
        asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        return {"model name": asked.stdout.strip()}
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def gpu() -> str:
    """The first NVIDIA GPU, as it calls itself.

    Raises:
        InputError: there is none.
    """
    try:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        raise InputError("--device gpu needs an NVIDIA GPU, and nvidia-smi finds none; leave --device out") from None


def versions() -> dict[str, str]:
    """Python's and those of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def about() -> dict[str, Any]:
    """What every benchmark's JSON carries with it."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"date": now, "machine": description(), "versions": versions()}


def require_torch() -> None:
    """Raises InputError where PyTorch is not installed; does not import it."""
    if importlib.util.find_spec("torch") is None:
        raise InputError("PyTorch is not installed, and this benchmark compares with it; pip install -e '.[bench]'")


def at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{name} must be at least {least}, not {value}")


def writable(path: Path) -> None:
    """Makes the folder of a file to be written at the end, so that a wrong --out is refused before it costs hours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise InputError(f"{path} cannot be written; choose another --out")


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\nwrote {path}")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, aligned for a console too: the first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = f"|{'-' * (widths[0] + 2)}|{''.join('-' * (w + 1) + ':|' for w in widths[1:])}"
    return "\n".join([line(head), rule, *map(line, rows)])


def add_out(parser: argparse.ArgumentParser, name: str, what: str) -> None:
    """The option that says where a benchmark's JSON goes."""
    default = Path(f"results/benchmarks/{name}.json")
    parser.add_argument("--out", type=Path, default=default, metavar="FILE", help=f"{what} (default: %(default)s)")


def command(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None], arguments: list[str] | None
) -> int:
    """`guarded` with the options that `parser` makes of a command line."""
    options = parser.parse_args(arguments)
    return guarded(lambda: run(options))


def guarded(command: Callable[[], None]) -> int:
    """Runs a command; what a user can put right is one line on stderr and exit status 2."""
    try:
        command()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nstopped; nothing was written", file=sys.stderr)
        return 130
    else:
        return 0
    return 2
