"""One writer for a folder: the second learns who the first is.

In: a folder. Out: a lock that the system releases by itself when the process that holds it ends, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import sys
from pathlib import Path

import filelock

from jaxvae.errors import InputError, LockedError, Remedy

NAME = ".lock"
HOLDER = ".lock-holder"  # who holds it: the locked file itself cannot be read everywhere


@contextlib.contextmanager
def hold(folder: Path):
    """Nobody else writes into the folder, which is made if need be, while the block runs.

    A lock file that a killed process left behind is taken over. On a file system without locks there is none.

    Raises:
        LockedError: another process holds it; says which.
        InputError: the folder cannot be made or written to.
    """
    lock = filelock.FileLock(folder / NAME, timeout=0, thread_local=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _acquire(lock, folder)
        (folder / HOLDER).unlink(missing_ok=True)  # never written through a link
        (folder / HOLDER).write_text(json.dumps(_this_process()), encoding="utf-8")
        ours = (folder / HOLDER).stat()
    except OSError as error:
        lock.release()
        raise InputError(f"{folder} cannot be written to ({error.strerror}); {Remedy.ANOTHER_FOLDER}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if os.path.samestat(ours, (folder / HOLDER).stat()):  # the folder may have been moved aside
                remove(folder)
        lock.release()


def content(folder: Path) -> str:
    """What the folder says of who holds it; nothing if nobody does."""
    try:
        return (folder / HOLDER).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def remove(folder: Path) -> None:
    """Takes the files of a lock that one holds out of the folder."""
    for name in (HOLDER, NAME):
        (folder / name).unlink(missing_ok=True)


def _acquire(lock: filelock.BaseFileLock, folder: Path) -> None:
    try:
        lock.acquire()
    except filelock.Timeout:
        what = f"{folder} is being written by {_named(content(folder))}"
        raise LockedError(f"{what}; wait for it to end, or {Remedy.ANOTHER_FOLDER}") from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise


def _this_process() -> dict[str, object]:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {"pid": os.getpid(), "host": platform.node(), "command": command}


def _named(content: str) -> str:
    try:
        holder = json.loads(content)
        return f"process {holder['pid']} on {holder['host']} ({holder['command']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
