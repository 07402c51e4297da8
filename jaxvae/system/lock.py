"""One writer for a folder: the second learns who the first is.

In: a folder. Out: a lock that the system releases by itself when the process that holds it ends, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import sys
from pathlib import Path

from jaxvae.errors import InputError, LockedError, Remedy

NAME = ".lock"


@contextlib.contextmanager
def hold(folder: Path):
    """Nobody else writes into the folder, which is made if need be, while the block runs.

    A lock file that a killed process left behind is taken over. On a file system without locks there is none.

    Raises:
        LockedError: another process holds it; says which.
        InputError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _locked(folder / NAME)
    except OSError as error:
        raise InputError(f"{folder} cannot be written to ({error.strerror}); {Remedy.ANOTHER_FOLDER}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if _same(file, folder / NAME):  # the folder may have been moved aside
                (folder / NAME).unlink()
        os.close(file)


def content(folder: Path) -> str:
    """What the lock file says of its holder; nothing if there is none."""
    try:
        return (folder / NAME).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _locked(path: Path) -> int:
    """The descriptor of the lock file at `path`, locked."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)  # a link's target would be written over
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(os.pread(file, 1000, 0))
            os.close(file)
            raise LockedError(
                f"{path.parent} is being written by {holder}; wait for it to end, or {Remedy.ANOTHER_FOLDER}"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                os.close(file)
                raise
        if _same(file, path):  # else it was removed by its last holder just now
            break
        os.close(file)
    os.ftruncate(file, 0)
    holder = {"pid": os.getpid(), "host": platform.node(), "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])}
    os.pwrite(file, json.dumps(holder).encode(), 0)
    return file


def _same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _holder(content: bytes) -> str:
    try:
        holder = json.loads(content)
        return f"process {holder['pid']} on {holder['host']} ({holder['command']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
