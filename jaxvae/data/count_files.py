"""Single-cell counts in .h5ad files, read by anndata (Virshup et al. 2024), which the extra `jaxvae[h5ad]` brings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.data.reading import Found, Reading
from jaxvae.errors import DataError, quoted, reason


def read(path: Path, reading: Reading) -> Found:
    """The matrix X, cells × genes, whole numbers where all are; labels from a column of `obs`."""
    try:
        import anndata  # type: ignore[import-not-found]
    except ImportError:
        raise DataError(f"{path} is read by anndata, which is not installed: pip install 'jaxvae[h5ad]'") from None
    try:
        table: Any = anndata.read_h5ad(path)
    except Exception as error:  # h5py and anndata raise many kinds for damaged files
        raise DataError(f"{path} is no .h5ad file that anndata can read ({reason(error)})") from None
    if table.X is None:
        raise DataError(f"{path} has no matrix X of counts")
    columns = list(map(str, table.obs.columns))
    if reading.label and reading.label not in columns:
        raise DataError(f"{path} has no column {quoted(reading.label)} of cells; its columns: {', '.join(columns)}")
    matrix = table.X.toarray() if hasattr(table.X, "toarray") else np.asarray(table.X)
    return Found(matrix, np.asarray(table.obs[reading.label]) if reading.label else None)
