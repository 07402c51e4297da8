"""An array in a file, of which rows are read by their places.

In: a memory map, as `np.load(path, mmap_mode="r")` makes it. Out: rows in memory.

The file is mapped for each reading alone: what was read takes no memory once it is let go, and whoever reads is told of
a file that has been changed or cut short since.
"""

from __future__ import annotations

import math
import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxvae.errors import DataError

READERS = 8  # threads: a disk finds eight rows in the time of one; cold, they took 0.4 of one thread's time
FEW = 64  # rows that one thread reads
APART = 2**16  # bytes from a row to the next, from which on the system reads nothing ahead


@dataclass(frozen=True)
class FileArray:
    """Rows that lie one after another in a file."""

    path: str  # absolute
    offset: int  # of the first row, bytes
    shape: tuple[int, ...]  # [n, *shape]
    dtype: np.dtype
    state: tuple[int, int]  # size of the file and when it was changed last, nanoseconds

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The rows, in their order; fastest where they ascend.

        Raises:
            DataError: the file cannot be read, or has been changed.
        """
        try:
            with open(self.path, "rb") as file:
                if _state(os.fstat(file.fileno())) != self.state:
                    raise DataError(f"{self.path} has been changed since it was opened; open it again, and train anew")
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({error.strerror or error})") from None
        there = np.frombuffer(mapped, self.dtype, math.prod(self.shape), self.offset).reshape(self.shape)
        if len(rows) and (np.diff(rows) == 1).all():
            return np.array(there[rows[0] : rows[-1] + 1])
        if len(rows) <= FEW:
            return there[rows]
        if hasattr(mapped, "madvise") and abs(int(rows[-1]) - int(rows[0])) * self.row_bytes > APART * len(rows):
            mapped.madvise(mmap.MADV_RANDOM)
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)

        def read(part: slice) -> None:  # of all that takes rows, this lets other threads go on
            np.take(there, rows[part], axis=0, out=out[part], mode="clip")

        ends = [len(rows) * i // READERS for i in range(READERS + 1)]
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(read, map(slice, ends, ends[1:])))
        return out


def file_array(array: Any) -> FileArray | None:
    """Where a memory map has its rows; None for any other array, and for a map whose rows do not lie one after another
    or are not the file's own (mode "c")."""
    if not isinstance(array, np.memmap) or array.filename is None or array.mode == "c" or not array.ndim:
        return None
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, mmap.mmap) or not array.flags.c_contiguous:  # computed from a map; a transposed one
        return None
    if array.flags.writeable:
        array.flush()  # so that the file does not change later
    begin = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY  # where the map begins in the file
    offset = begin + array.ctypes.data - np.frombuffer(base, np.uint8).ctypes.data
    path = os.path.abspath(array.filename)
    try:
        return FileArray(path, offset, array.shape, array.dtype, _state(os.stat(path)))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None


def _state(of: os.stat_result) -> tuple[int, int]:
    return of.st_size, of.st_mtime_ns
