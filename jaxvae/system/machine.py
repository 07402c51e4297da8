"""The machine that one is on: its cores, its memory, and the folder where what is prepared for it is kept.

In: environment variables and the operating system. Out: numbers and paths.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from pathlib import Path
from typing import Any

from jaxvae.errors import InputError, StorageError, quoted


def cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def threads() -> int:
    """On which JAX computes in this process, if on a CPU."""
    said = os.environ.get("PJRT_NPROC", "")
    return int(said) if said.isdecimal() and int(said) else len(cores())


def free_memory() -> int:
    """Bytes that could be taken without swapping."""
    import psutil  # here, as a command's --help imports this module

    return psutil.virtual_memory().available


def memory_maps_run_out() -> bool:
    """Whether this process has half of the memory maps that Linux allows it; with all of them, it is ended."""
    try:
        limit = int(Path("/proc/sys/vm/max_map_count").read_text())
        with open("/proc/self/maps", "rb") as maps:
            return sum(1 for _ in maps) > limit // 2
    except OSError:  # no Linux
        return False


def processor() -> str:
    """Name and instruction set of the processor, in a dozen characters."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = [platform.processor()]
    model = {line for line in lines if line.startswith(("model name", "flags", "Features"))} or set(lines)
    return hashlib.sha256("\n".join([platform.machine(), *sorted(model)]).encode()).hexdigest()[:12]


@contextlib.contextmanager
def storage(place: Path):
    """What the operating system refuses within the block, with a file of `place`, is a `StorageError`."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{error.filename or place} cannot be used ({error.strerror or error})") from error


def cache_dir() -> Path:
    """Where prepared files are kept: `$JAXVAE_CACHE_DIR`, else `jaxvae` in the user's cache folder.

    Raises:
        InputError: it is in a home folder that does not exist.
    """
    if folder := os.environ.get("JAXVAE_CACHE_DIR"):
        return as_path(folder)
    return as_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "jaxvae"


def own_cache_dir() -> Path:
    """The part of `cache_dir` for what other processors must not read: compiled programs, measured speeds."""
    return cache_dir() / f"processor-{processor()}"


def as_path(path: Any) -> Path:
    """A path that was given, with `~` for the home folder filled in, if files may be called so.

    Raises:
        InputError: it is empty or no path at all, or holds a NUL; or there is no such home folder.
    """
    if not isinstance(path, str | os.PathLike) or not str(path) or "\0" in str(path):
        raise InputError(f"{quoted(path)} is no path: give the name of a file or a folder")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path} cannot be resolved: there is no such home folder; write it out") from None


def writable(folder: Path) -> Path:
    """The folder, made if need be.

    Raises:
        InputError: it cannot be made or written to.
    """
    advice = "set JAXVAE_CACHE_DIR to a writable folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made ({error.strerror}); {advice}") from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder} is not writable; {advice}")
    return folder
