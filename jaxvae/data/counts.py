"""A simulated table of counts whose truth is known: cells of four groups with 50 genes each.

In: nothing. Out: 5,000 training and 1,000 test rows, the same on every call, and what they were drawn from.

A cell has a total from a log-normal distribution. A gene's count is negative binomial around the gene's share of it,
which depends on the cell's group alone.
"""

from typing import Any, NamedTuple

import numpy as np

RECIPE = 1  # raised when the counts change, so that cached ones are made again
SIZES = {"train": 5_000, "test": 1_000}
GROUPS, GENES = 4, 50
MEDIAN_TOTAL, LOG_SPREAD = 1_000, 0.4  # of the log-normal distribution of expected totals


class Truth(NamedTuple):
    """What counts are drawn from."""

    proportions: np.ndarray  # [group, gene], of a cell's expected total; rows sum to 1
    theta: np.ndarray  # [gene]: a count's variance is mean + mean²/θ; ∞ for Poisson counts


class Cells(NamedTuple):
    """Drawn from a truth."""

    counts: np.ndarray  # int32 [n, gene]
    groups: np.ndarray  # uint8 [n]
    totals: np.ndarray  # float64 [n]: expected ones, around which the sums of counts vary


def make() -> dict[str, Any]:
    """`train_images`, `train_labels`, `test_images`, `test_labels`: counts as float32, groups as uint8."""
    arrays, own = {}, truth()
    for split, size in SIZES.items():
        cells = draw(own, size, np.random.default_rng([RECIPE, size]))
        arrays[f"{split}_images"] = cells.counts.astype(np.float32)
        arrays[f"{split}_labels"] = cells.groups
    return arrays


def truth() -> Truth:
    """Of `make`: the logarithm of a gene's share varies from gene to gene, and half as much from group to group."""
    rng = np.random.default_rng(RECIPE)
    shares = np.exp(rng.normal(0, 0.8, GENES) + rng.normal(0, 0.4, (GROUPS, GENES)))
    return Truth(shares / shares.sum(1, keepdims=True), rng.uniform(2, 10, GENES))


def draw(truth: Truth, cells: int, rng: np.random.Generator) -> Cells:
    """Cells of equally frequent groups."""
    groups = rng.permutation(np.arange(cells) % len(truth.proportions))
    totals = MEDIAN_TOTAL * np.exp(rng.normal(0, LOG_SPREAD, cells))
    means = totals[:, None] * truth.proportions[groups]
    spread = np.isfinite(truth.theta)
    theta = np.where(spread, truth.theta, 1.0)
    rates = np.where(spread, means * rng.gamma(theta, size=means.shape) / theta, means)
    return Cells(rng.poisson(rates).astype(np.int32), groups.astype(np.uint8), totals)
