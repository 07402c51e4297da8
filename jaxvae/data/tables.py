"""Tables of numbers, a row an example: CSV with a head, and Parquet; read by Apache Arrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.data.reading import Found, Reading
from jaxvae.errors import DataError, quoted, reason

MAX_LISTED = 10  # columns in an error


def read_csv(path: Path, reading: Reading) -> Found:
    """Columns as numbers; the first line has their names."""
    from pyarrow import ArrowException, csv

    try:
        return _from_table(path, csv.read_csv(path), reading)
    except ArrowException as error:
        raise DataError(f"{path} is no table of comma-separated values with a head ({reason(error)})") from None


def read_parquet(path: Path, reading: Reading) -> Found:
    """Columns as numbers."""
    from pyarrow import ArrowException, parquet

    try:
        return _from_table(path, parquet.read_table(path), reading)
    except ArrowException as error:
        raise DataError(f"{path} is no Parquet file ({reason(error)})") from None


def _from_table(path: Path, table: Any, reading: Reading) -> Found:
    names = table.column_names
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path} has two columns named {quoted(twice[0])}; name each differently")
    if reading.label and reading.label not in names:
        raise DataError(f"{path} has no column {quoted(reading.label)}; its columns: {_listed(names)}")
    if names and all(_is_number(name) for name in names):
        raise DataError(f"{path} has numbers in its first line, where the names of its columns must be; add them")
    kept = [name for name in names if name != reading.label]
    if not kept or not table.num_rows:
        raise DataError(f"{path} has {table.num_rows} rows and {len(kept)} columns of numbers; nothing to train on")
    columns = [_numbers(path, name, table[name]) for name in kept]
    labels = table[reading.label].to_pylist() if reading.label else None
    return Found(np.stack(columns, 1), None if labels is None else np.array(labels, object))


def _numbers(path: Path, name: str, column: Any) -> np.ndarray:
    """A column as numbers; whole numbers stay whole."""
    from pyarrow import types

    kind = column.type
    if column.null_count:
        row = next(i for i, value in enumerate(column.is_null().to_pylist()) if value)
        raise DataError(
            f"{path}: column {quoted(name)} has no value in {column.null_count:,} rows, the first is row {row}; "
            "fill them or leave these rows out"
        )
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        example = quoted(column[0].as_py())
        raise DataError(
            f"{path}: column {quoted(name)} has no numbers but {kind}, such as {example}; give it as the label, "
            "make numbers of it, or leave it out"
        )
    return column.to_numpy()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(map(quoted, names[:MAX_LISTED])) + more
