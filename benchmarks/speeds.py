"""From samples to figures: medians, spreads, ratios by round, and how near the machine's limit a contender is.

In: milliseconds a model-step of each contender, one a round. Out: what the table, the figure and the JSON show.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks import products
from benchmarks.contenders import BASELINE, Contender
from benchmarks.machine import table

TIMES = ("ms/step", "min–max", "images/s")
RATIOS = ("× PyTorch eager", "× PyTorch's best", "of the limit")
HEAD = ("contender", *TIMES, *RATIOS, "first call s")


class Timed(NamedTuple):
    """A contender's samples, paired with the others' by round."""

    contender: Contender
    ms: list[float]  # a model-step, one sample a round
    first_call_s: float  # with compilation

    @property
    def median(self) -> float:
        return float(np.median(self.ms))


class Speed(NamedTuple):
    """One row of the table."""

    timed: Timed
    images_per_s: float
    against_eager: float | None  # times as fast as PyTorch eager: median of the rounds' ratios
    against_best: float | None
    of_the_limit: float  # time that its products would take at the machine's best rate, over the time it takes

    def to_json(self) -> dict[str, Any]:
        contender = self.timed.contender
        low, median, high = np.quantile(self.timed.ms, (0, 0.5, 1))
        return {
            "name": contender.name,
            "architecture": contender.architecture,
            "family": contender.family,
            "precision": contender.precision,
            "strategy": contender.strategy,
            "ms_per_step": {"median": median, "min": low, "max": high, "samples": self.timed.ms},
            "images_per_s": self.images_per_s,
            "times_as_fast_as_pytorch_eager": self.against_eager,
            "times_as_fast_as_pytorch_best": self.against_best,
            "fraction_of_limit": self.of_the_limit,
            "first_call_s": self.timed.first_call_s,
        }


def best_of_pytorch(timed: Sequence[Timed], contender: Contender) -> Timed | None:
    """PyTorch's smallest median among those that do what `contender` does.

    A contender that trains several models at once is held against all of PyTorch's, also those that run once a core;
    one that trains a single model against those that train a single model.
    """
    rivals = [t for t in timed if t.contender.family == "PyTorch"]
    rivals = [t for t in rivals if contender.strategy != "alone" or t.contender.strategy == "alone"]
    return min(rivals, key=lambda t: t.median, default=None)


def ratio(reference: Timed | None, timed: Timed) -> float | None:
    """How many times as fast as `reference`: the median of the rounds' ratios, so that a slow round weighs on both."""
    if reference is None:
        return None
    return float(np.median(np.divide(reference.ms, timed.ms)))


def speeds(timed: Sequence[Timed], gflops: dict[str, float], latent_dim: int, batch: int) -> list[Speed]:
    """A row for each of one architecture's contenders; `gflops` are the machine's best rates by precision."""
    baseline = next((t for t in timed if t.contender.name == BASELINE), None)
    rows = []
    for t in timed:
        contender = t.contender
        # the useful products: models that are padded are held to what they would need without
        dims = contender.latent_dims(latent_dim)
        flops = np.mean([products.step_flops(contender.architecture, dim, batch) for dim in dims])
        least_ms = float(flops) / gflops[contender.precision] / 1e6
        best = best_of_pytorch(timed, contender)
        rows.append(Speed(t, 1000 * batch / t.median, ratio(baseline, t), ratio(best, t), least_ms / t.median))
    return rows


def as_table(rows: Sequence[Speed]) -> str:
    def times(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    cells = [
        (
            row.timed.contender.name,
            f"{row.timed.median:.2f}",
            f"{min(row.timed.ms):.2f}–{max(row.timed.ms):.2f}",
            f"{row.images_per_s:,.0f}",
            times(row.against_eager),
            times(row.against_best),
            f"{row.of_the_limit:.0%}",
            f"{row.timed.first_call_s:.1f}",
        )
        for row in rows
    ]
    return table(HEAD, cells)
