"""The losses of all runs as tables: one for people, one for programs, one of means over seeds.

In: what came of each run. Out: the content of metrics.csv, metrics.parquet and means.csv; histories read back.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxvae.config import RunConfig, shortest
from jaxvae.errors import CheckpointError, Remedy
from jaxvae.objectives import Losses
from jaxvae.results.grids import Setting
from jaxvae.runs import SPLITS, Outcome

if TYPE_CHECKING:
    import pyarrow

PARTS = Losses._fields
MEANS = ("reconstruction", "kl", "negative_elbo", "loss")  # of which means.csv has the means
CHUNK = 500  # runs in a row group: with 15 epochs 15,500 rows


# ── for people ───────────────────────────────────────────────────────────────────────────────────────────────────────


def metrics_csv(outcomes: Iterable[Outcome]) -> str:
    """Losses of every run, epoch and split, in nats per image; for the epoch that a run diverged in, only that."""
    lines = ["run,architecture,latent_dim,seed,epoch,split,reconstruction,kl,loss"]
    for outcome in outcomes:
        config, model = outcome.config, outcome.config.model
        identity = f"{config.name},{model.architecture},{model.latent_dim},{config.seed}"
        for epoch, s in outcome.rows():
            values = ",".join(f"{value:.6f}" for value in outcome.losses[epoch, s])
            lines.append(f"{identity},{epoch},{SPLITS[s]},{values}")
        if outcome.diverged:
            lines.append(f"{identity},{outcome.diverged.epoch},diverged at step {outcome.diverged.step},nan,nan,nan")
    return "\n".join(lines) + "\n"


def read_metrics(folder: Path) -> dict[str, np.ndarray]:
    """The histories in metrics.csv by run, as in `Outcome.losses`.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = folder / "metrics.csv"
    found: dict[str, list[list[list[float] | None]]] = {}
    try:
        for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))):
            if (row["split"] or "").startswith("diverged"):
                continue
            history, epoch = found.setdefault(row["run"], []), int(row["epoch"])
            if epoch == len(history):
                history.append([None, None])
            if epoch < 0 or None in row:
                raise ValueError
            history[epoch][SPLITS.index(row["split"])] = [float(row[part]) for part in PARTS]
        return {run: _as_array(history) for run, history in found.items()}
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; {Remedy.TRAIN_AGAIN}") from None
    except (csv.Error, OSError, ValueError, KeyError, TypeError, IndexError):
        raise CheckpointError(f"{path} is damaged; {Remedy.TRAIN_AGAIN}") from None


def _as_array(history: list[list[list[float] | None]]) -> np.ndarray:
    if any(row is None for row in [row for epoch in history for row in epoch][1:]):
        raise ValueError
    return np.array([[row or [np.nan] * len(PARTS) for row in epoch] for epoch in history])


# ── for programs ─────────────────────────────────────────────────────────────────────────────────────────────────────


def metrics_parquet(outcomes: Sequence[Outcome]) -> bytes:
    """A row for every row of metrics.csv, with all that its run was asked for, in typed columns.

    Split `diverged` has no losses, and the optimiser step in `diverged_step`, which all other rows lack. The bytes
    depend on nothing but the outcomes and PyArrow's version.
    """
    import pyarrow.parquet  # a quarter of a second, and nothing else needs it

    file = io.BytesIO()
    with pyarrow.parquet.ParquetWriter(file, schema := _schema(), compression="zstd") as writer:
        for start in range(0, len(outcomes), CHUNK):
            writer.write_table(_rows(outcomes[start : start + CHUNK], schema))
    return file.getvalue()


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    word = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([
        ("run", word), ("architecture", word), ("latent_dim", pa.int32()), ("objective", word),
        ("importance_samples", pa.int32()), ("beta", pa.float64()), ("learning_rate", pa.float64()),
        ("seed", pa.uint32()), ("epoch", pa.int32()), ("split", word),
        *((part, pa.float64()) for part in PARTS), ("diverged_step", pa.int64()),
    ])  # fmt: skip


def _rows(outcomes: Sequence[Outcome], schema: pyarrow.Schema) -> pyarrow.Table:
    import pyarrow as pa

    rows = [outcome.rows() for outcome in outcomes]
    counts = [len(own) + bool(outcome.diverged) for own, outcome in zip(rows, outcomes, strict=True)]
    epochs, splits, losses, steps = [], [], [], []
    for own, outcome in zip(rows, outcomes, strict=True):
        epochs += [epoch for epoch, _ in own]
        splits += [s for _, s in own]
        losses += [outcome.losses[epoch, s] for epoch, s in own]
        steps += [None] * len(own)
        if outcome.diverged:
            epochs.append(outcome.diverged.epoch)
            splits.append(len(SPLITS))
            losses.append(np.full(len(PARTS), np.nan))
            steps.append(outcome.diverged.step)

    def each(field: str, value) -> pa.Array:
        """A column that is the same in all rows of a run."""
        return _column([value(outcome.config) for outcome in outcomes], counts, schema.field(field).type)

    by_part = np.array(losses, np.float64).reshape(-1, len(PARTS)).T
    lost = np.isin(splits, len(SPLITS))
    return pa.Table.from_arrays(
        [
            each("run", lambda run: run.name),
            each("architecture", lambda run: run.model.architecture),
            each("latent_dim", lambda run: run.model.latent_dim),
            each("objective", lambda run: run.train.objective),
            each("importance_samples", lambda run: run.train.importance_samples),
            each("beta", lambda run: float(run.beta)),
            each("learning_rate", lambda run: float(run.learning_rate)),
            each("seed", lambda run: run.seed),
            pa.array(epochs, schema.field("epoch").type),
            pa.DictionaryArray.from_arrays(np.array(splits, np.int32), [*SPLITS, "diverged"]),
            *(pa.array(values, mask=lost) for values in by_part),
            pa.array(steps, schema.field("diverged_step").type),
        ],
        schema=schema,
    )


def _column(values: list, counts: list[int], kind: pyarrow.DataType) -> pyarrow.Array:
    """`values`, each as often as its run has rows."""
    import pyarrow as pa

    places = np.repeat(np.arange(len(values), dtype=np.int32), counts)
    if not pa.types.is_dictionary(kind):
        return pa.array(values, kind).take(pa.array(places))
    words = list(dict.fromkeys(values))
    known = {word: i for i, word in enumerate(words)}
    return pa.DictionaryArray.from_arrays(np.array([known[value] for value in values], np.int32)[places], words)


# ── means ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def means_csv(settings: Iterable[Setting]) -> str:
    """A row a setting: of its final test losses, in nats per image, the mean over seeds, their standard deviation and
    the mean's 95 % interval (Student's t). Seeds that diverged are counted and take no part."""
    of_each = [f"{part}_{what}" for part in MEANS for what in ("mean", "sd", "low", "high")]
    head = ["setting", "architecture", "latent_dim", "objective", "importance_samples", "beta", "learning_rate"]
    lines = [",".join([*head, "epochs", "seeds", "diverged", *of_each])]
    for setting in settings:
        numbers = [number for part in MEANS for number in _spread(setting, part)]
        lines.append(",".join([*_identity(setting.config), *map(str, _counts(setting)), *numbers]))
    return "\n".join(lines) + "\n"


def _identity(config: RunConfig) -> list[str]:
    model, train = config.model, config.train
    what = [config.name, model.architecture, model.latent_dim, train.objective, train.importance_samples]
    return [*map(str, what), shortest(config.beta), shortest(config.learning_rate), str(config.epochs)]


def _counts(setting: Setting) -> tuple[int, int]:
    return setting.seeds, len(setting.diverged)


def _spread(setting: Setting, part: str) -> list[str]:
    """Mean, standard deviation and interval; empty where there are too few seeds for one."""
    if (found := setting.mean(part, 6)) is None:
        return [""] * 4
    if found.interval is None:
        return [f"{found.mean:.6f}", "", "", ""]
    deviation = np.std([getattr(final, part) for final in setting.finite], ddof=1)
    return [f"{found.mean:.6f}", f"{deviation:.6f}", *(f"{end:.6f}" for end in found.interval)]
