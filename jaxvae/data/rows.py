"""Examples that stay in their file: read, and made what a run sees of them, when they are asked for.

In: a memory map. Out: `Rows`, of which training and evaluation take a part at a time; and what serves arrays in memory
and rows alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from jaxvae.data.file_array import FileArray, file_array
from jaxvae.errors import DataError
from jaxvae.system import machine

BLOCK = 32 * 2**20  # bytes of a file that are read at once, where all of it is
LARGE = 8 * 2**30  # bytes of a file that stays there, however much memory is free: an accelerator's may be less
AT_HAND = 256 * 2**20  # bytes of examples that stand for all, where all are not needed

Change = partial[np.ndarray]  # of a function of examples and their places in their split; with named arguments alone


class Limits(NamedTuple):
    """What holds for all numbers of some examples."""

    low: float
    high: float
    whole: bool  # whether all are whole numbers
    not_finite: int = 0  # how many are left out


@dataclass(frozen=True, eq=False)
class Rows:
    """Examples in a file. An index, a slice or an array of places reads them: `rows[:100]` is an array in memory."""

    source: FileArray
    places: np.ndarray  # of the examples in the file, int64 [n]
    changes: tuple[Change, ...] = ()  # one after another
    dtype: np.dtype = np.dtype(np.float32)  # of what is read, after the changes
    known: Limits | None = None  # of the whole file, before any change

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.places), *self.source.shape[1:]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Of all examples, if they were in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, which: Any) -> np.ndarray:
        if isinstance(which, int | np.integer):
            return self[np.array([range(len(self))[which]])][0]
        if isinstance(which, slice):
            which = np.arange(*which.indices(len(self)))
        places = np.asarray(which)
        places = (
            np.flatnonzero(places) if places.dtype == np.bool_ else np.where(places < 0, places + len(self), places)
        )
        images = self.source.read(self.places[places])
        images = images if images.dtype == np.uint8 else images.astype(np.float32, copy=False)
        for change in self.changes:
            images = change(images, places)
        return images

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them, in memory."""
        return self[:].astype(dtype or self.dtype, copy=False)

    def first(self, n: int | None) -> Rows:
        return replace(self, places=self.places[:n])

    def taken(self, which: np.ndarray) -> Rows:
        """Those examples alone, which then have other places."""
        assert not self.changes, "changes go by the places that examples have"
        return replace(self, places=self.places[which])

    def changed(self, change: Change, dtype: Any) -> Rows:
        return replace(self, changes=(*self.changes, change), dtype=np.dtype(dtype), known=None)

    @property
    def identity(self) -> np.ndarray:
        """Bytes that are the same for the same rows, made without reading them."""
        words = [repr(self.source).encode(), self.places.tobytes()]
        for change in self.changes:
            words.append(change.func.__name__.encode())
            words += [name.encode() + np.asarray(value).tobytes() for name, value in change.keywords.items()]
        return np.frombuffer(b"".join(words), np.uint8)


Examples = np.ndarray | Rows


def array_or_rows(name: str, given: Any) -> Examples:
    """NumPy's array of what is given; of a memory map its rows, all of whose numbers are looked at once.

    Raises:
        DataError: a map is too large to be read at once, and its rows do not lie one after another.
    """
    source = file_array(given)
    if source is None or source.dtype.kind not in "buif" or not source.row_bytes:
        if isinstance(given, np.memmap) and not given.flags.c_contiguous and is_large(given.nbytes):
            raise DataError(
                f"{name} is a memory map whose examples do not lie one after another; write a file in C order"
            )
        return np.asarray(given)
    in_bytes = source.dtype == np.uint8
    dtype = np.dtype(np.uint8 if in_bytes else np.float32)
    return Rows(source, np.arange(source.shape[0]), dtype=dtype, known=_limits_of_file(source))


def is_large(size: int) -> bool:
    """Whether so many bytes stay in their file: more than 8 GiB, or than a quarter of the free memory, as an array is
    held up to four times: as it is given, in float32, split in two and on the device."""
    return size > min(LARGE, machine.free_memory() // 4)


@lru_cache(maxsize=16)
def _limits_of_file(source: FileArray) -> Limits:
    if source.dtype == np.uint8:
        return Limits(0, 255, True)
    count, n = _per_block(source.row_bytes), source.shape[0]
    return _limits(source.read(np.arange(i, min(i + count, n))) for i in range(0, n, count))


# ── for arrays in memory and rows alike ──────────────────────────────────────────────────────────────────────────────


def first_examples(examples: Examples, n: int | None) -> Examples:
    """The first `n`, where they are."""
    return examples.first(n) if isinstance(examples, Rows) else examples[:n]


def blocks(examples: Examples) -> Iterator[np.ndarray]:
    """All examples in their order: of an array in one piece, of rows and of a memory map in blocks of 32 MiB."""
    if not isinstance(examples, Rows | np.memmap):
        yield examples
        return
    count = _per_block(max(1, examples.nbytes // max(1, len(examples))))
    for i in range(0, len(examples), count):
        yield np.asarray(examples[i : i + count])


def at_hand(examples: Examples) -> np.ndarray:
    """An array as it is; of rows the first, as many as 256 MiB hold: enough to see how they are, or to learn by."""
    return examples[: max(1, AT_HAND * len(examples) // examples.nbytes)] if isinstance(examples, Rows) else examples


def taken(examples: Examples, which: np.ndarray) -> Examples:
    """Those examples alone, where they are."""
    return examples.taken(which) if isinstance(examples, Rows) else examples[which]


def changed(examples: Examples, change: Change, dtype: Any) -> Examples:
    """What `change` makes of examples and their places."""
    if isinstance(examples, Rows):
        return examples.changed(change, dtype)
    return change(examples, np.arange(len(examples)))


def limits(examples: Examples) -> Limits:
    """Of all numbers that are finite."""
    return examples.known if isinstance(examples, Rows) and examples.known else _limits(blocks(examples))


def moments(rows: Rows, axis: int | None) -> tuple[Any, Any]:
    """Mean and standard deviation along `axis`, or of all numbers; in blocks, float64 (Chan et al. 1979)."""
    count, mean, squares = 0, 0.0, 0.0
    for block in blocks(rows):
        block = block.astype(np.float64)
        own, more = block.mean(axis), block.size if axis is None else len(block)
        apart = own - mean
        squares = squares + np.square(block - own).sum(axis) + apart**2 * (count * more / (count + more))
        mean = mean + apart * (more / (count + more))
        count += more
    return mean, np.sqrt(squares / count)


def _limits(parts: Iterable[np.ndarray]) -> Limits:
    found = Limits(np.inf, -np.inf, True)
    for part in parts:
        finite = np.isfinite(part)
        missing = part.size - int(np.count_nonzero(finite))
        part = part[finite] if missing else part
        if part.size:
            whole = found.whole and (part.dtype.kind in "bui" or bool((part == np.rint(part)).all()))
            low, high = min(found.low, part.min().item()), max(found.high, part.max().item())
            found = found._replace(low=low, high=high, whole=whole)
        found = found._replace(not_finite=found.not_finite + missing)
    return found


def _per_block(row_bytes: int) -> int:
    return max(1, BLOCK // row_bytes)
