"""The losses of all runs as tables: one for people, one for programs, one of means over seeds.

In: results. Out: the content of metrics.csv, metrics.parquet and means.csv; histories read back.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxvae.errors import CheckpointError, Remedy
from jaxvae.results.labels import AxisTable, written
from jaxvae.results.results import PARTS, Results
from jaxvae.results.settings import Setting
from jaxvae.runs import SPLITS, Outcome

if TYPE_CHECKING:
    import pyarrow

IDENTITY = ("run", "architecture", "latent_dim", "seed", "epoch", "split")  # columns before the losses
MEANS = ("reconstruction", "kl", "negative_elbo", "loss")  # means.csv has the mean of each
CHUNK = 500  # runs in a row group: with 15 epochs 15,500 rows


class History(NamedTuple):
    """A run's losses, as in `Outcome`."""

    parts: tuple[str, ...]
    losses: np.ndarray  # [epoch, split, part]


# ── for people ───────────────────────────────────────────────────────────────────────────────────────────────────────


def metrics_csv(results: Results) -> str:
    """Losses of every run, epoch and split, in nats per image; for the epoch that a run diverged in, only that."""
    parts = results.parts
    rows: list[Sequence[Any]] = [[*IDENTITY, *parts]]
    for outcome in results.outcomes:
        config = outcome.config
        identity = [config.name, config.architecture, config.latent_dim, config.seed]
        for epoch, s in outcome.rows():
            losses = dict(zip(outcome.parts, outcome.losses[epoch, s], strict=True))
            values = [f"{losses[part]:.6f}" if part in losses else "" for part in parts]
            rows.append([*identity, epoch, SPLITS[s], *values])
        if outcome.diverged:
            values = ["nan" if part in outcome.parts else "" for part in parts]
            rows.append([*identity, outcome.diverged.epoch, f"diverged at step {outcome.diverged.step}", *values])
    return _csv(rows)


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def read_metrics(folder: Path) -> dict[str, History]:
    """The histories in metrics.csv, by run.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = folder / "metrics.csv"
    rows: dict[str, list[dict[str, str]]] = {}
    try:
        for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))):
            if not (row["split"] or "").startswith("diverged"):
                rows.setdefault(row["run"], []).append(row)
        return {run: _history(own) for run, own in rows.items()}
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; {Remedy.TRAIN_AGAIN}") from None
    except (csv.Error, OSError, ValueError, KeyError, TypeError, IndexError):
        raise CheckpointError(f"{path} is damaged; {Remedy.TRAIN_AGAIN}") from None


def _history(rows: Sequence[dict[str, str]]) -> History:
    """Rows of one run: epoch after epoch, both splits of each but the train split before training."""
    further = [name for name in rows[0] if name not in (*IDENTITY, *PARTS) and rows[0][name]]
    parts, history = (*PARTS, *further), []
    splits = len(SPLITS) if any(row["split"] == SPLITS[-1] for row in rows) else 2
    for row in rows:
        epoch = int(row["epoch"])
        if epoch == len(history):
            history.append([None] * splits)
        if epoch < 0 or None in row:
            raise ValueError
        history[epoch][SPLITS.index(row["split"])] = [float(row[part]) for part in parts]
    if any(losses is None for losses in [losses for epoch in history for losses in epoch][1:]):
        raise ValueError
    return History(parts, np.array([[losses or [np.nan] * len(parts) for losses in epoch] for epoch in history]))


# ── for programs ─────────────────────────────────────────────────────────────────────────────────────────────────────


def metrics_parquet(results: Results) -> bytes:
    """A row for every row of metrics.csv, with the axes of its run, in typed columns.

    Split `diverged` has no losses, and the optimiser step in `diverged_step`, which all other rows lack. The bytes
    depend on nothing but the outcomes and PyArrow's version.
    """
    import pyarrow.parquet  # a quarter of a second, and nothing else needs it

    table = AxisTable(results.runs)
    file, outcomes, schema = io.BytesIO(), results.outcomes, _schema(table, results.parts)
    with pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for start in range(0, len(outcomes), CHUNK):
            chunk = slice(start, start + CHUNK)
            axes = {name: table.column(name)[chunk] for name in table.columns}
            writer.write_table(_rows(outcomes[chunk], axes, schema, results.parts))
    return file.getvalue()


def _schema(table: AxisTable, parts: Sequence[str]) -> pyarrow.Schema:
    import pyarrow as pa

    word = pa.dictionary(pa.int32(), pa.string())

    def kind(name: str) -> pa.DataType:
        values = table.values(name)
        if any(isinstance(value, str) for value in values):
            return word
        return pa.float64() if table.axes[name].traced or any(isinstance(v, float) for v in values) else pa.int32()

    return pa.schema([
        ("run", word), ("architecture", word), ("latent_dim", pa.int32()),
        *((name, kind(name)) for name in table.columns),
        ("seed", pa.uint32()), ("epoch", pa.int32()), ("split", word),
        *((part, pa.float64()) for part in parts), ("diverged_step", pa.int64()),
    ])  # fmt: skip


def _rows(
    outcomes: Sequence[Outcome], axes: dict[str, list], schema: pyarrow.Schema, parts: Sequence[str]
) -> pyarrow.Table:
    import pyarrow as pa

    counts, epochs, splits, steps = [], [], [], []
    losses: dict[str, list[float | None]] = {part: [] for part in parts}
    for outcome in outcomes:
        measured = tuple(zip(*outcome.rows(), strict=True))  # epochs, splits
        epochs += measured[0]
        splits += measured[1]
        steps += [None] * len(measured[0])
        if outcome.diverged:
            epochs.append(outcome.diverged.epoch)
            splits.append(len(SPLITS))
            steps.append(outcome.diverged.step)
        for part, column in losses.items():
            if part in outcome.parts:
                column += outcome.losses[(*measured, outcome.parts.index(part))].tolist()
            column += [None] * (len(epochs) - len(column))
        counts.append(len(measured[0]) + bool(outcome.diverged))
    of_run = {
        "run": [outcome.config.name for outcome in outcomes],
        "architecture": [outcome.config.architecture for outcome in outcomes],
        "latent_dim": [outcome.config.latent_dim for outcome in outcomes],
        **axes,
        "seed": [outcome.config.seed for outcome in outcomes],
    }
    arrays = [
        *(_repeated(values, counts, schema.field(name).type) for name, values in of_run.items()),
        pa.array(epochs, schema.field("epoch").type),
        pa.DictionaryArray.from_arrays(np.array(splits, np.int32), [*SPLITS, "diverged"]),
        *(pa.array(column, pa.float64()) for column in losses.values()),
        pa.array(steps, schema.field("diverged_step").type),
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _repeated(values: list, counts: list[int], kind: pyarrow.DataType) -> pyarrow.Array:
    """`values`, each as often as its run has rows."""
    import pyarrow as pa

    places = np.repeat(np.arange(len(values), dtype=np.int32), counts)
    convert = written if pa.types.is_dictionary(kind) else float if pa.types.is_floating(kind) else int
    given = [None if value is None else convert(value) for value in values]
    return pa.array(given, kind).take(pa.array(places))


# ── means ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def means_csv(results: Results) -> str:
    """A row a setting: of its final test losses, in nats per image, the mean over seeds, their standard deviation and
    the mean's 95 % interval (Student's t). Seeds that diverged are counted and take no part."""
    statistics = [f"{part}_{what}" for part in MEANS for what in ("mean", "sd", "low", "high")]
    table = AxisTable(setting.config for setting in results.settings)
    head = ["setting", "architecture", "latent_dim", *table.columns, "epochs", "seeds", "diverged", *statistics]
    rows: list[Sequence[Any]] = [head]
    for setting, axes in zip(results.settings, table.rows, strict=True):
        config = setting.config
        values = [written(axes[name].value) if name in axes else "" for name in table.columns]
        counts = config.epochs, setting.seeds, len(setting.diverged)
        spreads = [number for part in MEANS for number in _spread(setting, part)]
        rows.append([config.name, config.architecture, config.latent_dim, *values, *counts, *spreads])
    return _csv(rows)


def _spread(setting: Setting, part: str) -> list[str]:
    """Mean, standard deviation and interval; empty where there are too few seeds for one."""
    average = setting.mean(part, 6)
    if average is None:
        return [""] * 4
    if average.interval is None:
        return [f"{average.mean:.6f}", "", "", ""]
    deviation = np.std([getattr(final, part) for final in setting.finite], ddof=1)
    return [f"{average.mean:.6f}", f"{deviation:.6f}", *(f"{end:.6f}" for end in average.interval)]
