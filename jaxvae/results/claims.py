"""The claims of the original experiment, checked against what was measured.

In: the final test losses of a sweep's runs, how their digits lie in latent space and what a classifier reads in them.
Out: each statement with a verdict and its numbers, over several seeds with their 95 % intervals.

The statements are about MNIST after 15 epochs; what passes and fails elsewhere is a finding about the other data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

NETWORKS = ("linear", "conv")  # of the original experiment; its claims are about no others
ORIGINAL_BATCH = 100  # the original experiment quotes losses summed over a batch of this size
CLEAR = (0, 1)  # the digits whose clusters the original calls clear
TURNED = ((7, 9), (4, 9), (5, 8))  # the digits that its two-dimensional model turns into others


class Final(NamedTuple):
    """A run after its last epoch; losses on the test split in nats per image."""

    name: str
    architecture: str
    latent_dim: int
    seed: int
    epochs: int
    parameters: int
    reconstruction: float
    kl: float
    loss: float

    @property
    def negative_elbo(self) -> float:
        """Whatever the weight of KL in training was."""
        return self.reconstruction + self.kl

    @property
    def batch_sum(self) -> float:
        """Reconstruction summed over 100 images, as the original experiment quotes it."""
        return ORIGINAL_BATCH * self.reconstruction


class Mean(NamedTuple):
    """A mean over seeds."""

    mean: float
    interval: tuple[float, float] | None  # 95 %, Student's t; none for a single seed


class Claim(NamedTuple):
    number: int
    statement: str
    criterion: str  # what is compared, and what counts as true
    measured: dict[str, Any]  # nested dictionaries of `Mean`
    margins: dict[str, Mean]  # by how much each comparison comes out true; below zero it does not
    holds: str  # in how many seeds all comparisons come out true, "4 of 5 seeds"
    verdict: str  # "pass" or "fail" of the means over seeds; "not tested": the sweep lacks the runs

    @property
    def certain(self) -> bool:
        """Whether each comparison's interval leaves out zero."""
        return bool(self.margins) and all(
            m.interval and (m.interval[0] > 0 or m.interval[1] < 0) for m in self.margins.values()
        )


Seeds = dict[int, float]  # seed → value
Table = dict[str, dict[int, Seeds]]  # architecture → latent size → seeds
Digits = Mapping[str, Mapping[str, Any]]  # run → its record by `evaluation.digits`


def check(finals: Sequence[Final], digits: Digits | None = None) -> list[Claim]:
    """The seven statements; of several seeds the means are judged.

    Args:
        digits: by the runs' names; without them, as where the data have no labels, the last two are not tested.
    """
    digits = digits or {}
    finals = [final for final in finals if final.architecture in NETWORKS]
    classified = [final for final in finals if final.name in digits]
    reconstruction = _table(finals, "reconstruction")
    return [
        _reconstruction_falls(reconstruction),
        _reconstruction_range(reconstruction),
        _conv_below_linear(reconstruction),
        _parameter_counts(_table(finals, "parameters")),
        _kl_ranks(_table(finals, "kl")),
        _clusters(classified, digits),
        _turns(classified, digits),
    ]


def mean(values: Sequence[float], digits: int = 4) -> Mean:
    """The mean of independent values and its 95 % interval."""
    centre = fmean(values)
    if len(values) < 2:
        return Mean(round(centre, digits), None)
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Mean(round(centre, digits), (round(centre - half, digits), round(centre + half, digits)))


def _table(finals: Sequence[Final], quantity: str) -> Table:
    values: Table = defaultdict(lambda: defaultdict(dict))
    for final in sorted(finals, key=lambda final: final.latent_dim):
        values[final.architecture][final.latent_dim][final.seed] = float(getattr(final, quantity))
    return values


def _means(table: Table, digits: int = 2) -> dict[str, dict[str, Mean]]:
    return {a: {f"d={d}": mean([*v.values()], digits) for d, v in row.items()} for a, row in table.items()}


def _claim(number: int, statement: str, criterion: str, measured: dict[str, Any], margins: dict[str, Seeds]) -> Claim:
    """Not tested without margins."""
    margins = {label: values for label, values in margins.items() if values}
    means = {label: mean([*values.values()]) for label, values in margins.items()}
    seeds = set.intersection(*(set(values) for values in margins.values())) if margins else set()
    count = sum(all(values[seed] > 0 for values in margins.values()) for seed in seeds)
    verdict = ("pass" if all(m.mean > 0 for m in means.values()) else "fail") if means else "not tested"
    holds = f"{count} of {len(seeds)} seed{'s' if len(seeds) != 1 else ''}" if means else ""
    return Claim(number, statement, criterion, measured, means, holds, verdict)


def _minus(a: Seeds, b: Seeds, sign: int = 1) -> Seeds:
    return {seed: sign * (a[seed] - b[seed]) for seed in a if seed in b}


def _steps(table: Table, sign: int) -> dict[str, Seeds]:
    """Of each step in latent size, by how much the value changes in the direction of `sign`."""
    return {f"{a}, d={d} to {e}": _minus(row[e], row[d], sign) for a, row in table.items() for d, e in pairwise(row)}


def _between(table: Table, sign: int = 1) -> dict[str, Seeds]:
    """Linear minus conv at each latent size that both have, times `sign`."""
    linear, conv = table.get("linear", {}), table.get("conv", {})
    return {f"d={d}": _minus(linear[d], conv[d], sign) for d in linear if d in conv}


def _within(label: str, values: Seeds, low: int, high: int) -> dict[str, Seeds]:
    return {
        f"{label} below {high:,}": {seed: high - value for seed, value in values.items()},
        f"{label} above {low:,}": {seed: value - low for seed, value in values.items()},
    }


def _reconstruction_falls(table: Table) -> Claim:
    tested = len(table) == 2 and all(len(row) > 1 for row in table.values())
    return _claim(
        1,
        "Test reconstruction falls with every step in latent dimension, for both architectures.",
        "nats per image, strictly decreasing",
        _means(table),
        _steps(table, -1) if tested else {},
    )


def _reconstruction_range(table: Table) -> Claim:
    ends = {
        a: {d: {seed: ORIGINAL_BATCH * value for seed, value in row[d].items()} for d in (2, 50)}
        for a, row in table.items()
        if 2 in row and 50 in row
    }
    margins = {}
    if ends:
        shared = set.intersection(*(set(row[2]) for row in ends.values()))
        largest = {seed: max(row[2][seed] for row in ends.values()) for seed in shared}
        margins = _within("d=2", largest, 14_000, 15_000)
        for a, row in ends.items():
            margins |= _within(f"{a}, d=50", row[50], 7_000, 8_000)
    return _claim(
        2,
        "Summed over 100 images, reconstruction goes from almost 15,000 at d = 2 to around 7,000–8,000 at d = 50.",
        "the larger of the architectures between 14,000 and 15,000 at d = 2, each between 7,000 and 8,000 at d = 50",
        _means(ends, 0),
        margins,
    )


def _conv_below_linear(table: Table) -> Claim:
    margins = _between(table)
    return _claim(
        3,
        "The convolutional model reconstructs better than the linear one at every dimension.",
        "linear minus conv, nats per image, all positive",
        {label: mean([*values.values()], 2) for label, values in margins.items() if values},
        margins,
    )


def _parameter_counts(table: Table) -> Claim:
    counts = {a: row[2] for a, row in table.items() if 2 in row}
    expected = {"linear": 400_000, "conv": 200_000}
    margins = {a: {s: 50_000 - abs(v - expected[a]) for s, v in values.items()} for a, values in counts.items()}
    return _claim(
        4,
        "At d = 2 the linear model has about 400K parameters, the convolutional one about 200K.",
        "within 50K of those",
        {a: int(next(iter(values.values()))) for a, values in counts.items()},
        margins if len(counts) == 2 else {},
    )


def _kl_ranks(table: Table) -> Claim:
    below = {f"conv minus linear, {label}": values for label, values in _between(table, -1).items()}
    return _claim(
        5,
        "KL ranks the other way: linear models and small dimensions have the lower KL.",
        "nats per image, rising with every step in dimension, and linear below conv at every dimension",
        _means(table),
        below | _steps(table, 1) if len(below) > 1 else {},
    )


def _clusters(finals: Sequence[Final], digits: Digits) -> Claim:
    """Of the two, the less clear one is compared with the clearest of the others."""
    margins: dict[str, Seeds] = defaultdict(dict)
    measured: dict[str, Any] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for final in finals:
        record = digits[final.name]
        if not set(CLEAR) < set(record["classes"]):
            continue
        for quantity in ("purity", "silhouette", "radius"):
            by_digit = dict(zip(record["classes"], record[quantity], strict=True))
            for digit, value in by_digit.items():
                measured[f"{final.architecture}, d={final.latent_dim}"][quantity][str(digit)].append(value)
            if final.latent_dim == 2:
                least = min(by_digit.pop(digit) for digit in CLEAR)
                margins[f"{final.architecture}, {quantity}"][final.seed] = least - max(by_digit.values())
    means = {
        model: {quantity: {digit: mean(v, 3) for digit, v in row.items()} for quantity, row in rows.items()}
        for model, rows in measured.items()
    }
    return _claim(
        6,
        "In two dimensions zeros and ones form the clearest clusters, at the edge.",
        "at d = 2, the smaller of 0's and 1's purity, silhouette and distance from the centre (in units of the codes' "
        "root mean square distance from it) above every other digit's",
        means,
        margins,
    )


def _turns(finals: Sequence[Final], digits: Digits) -> Claim:
    """Shares of a digit's reconstructions, of all of them."""
    margins: dict[str, Seeds] = defaultdict(dict)
    shares: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for final in finals:
        confusion = np.asarray(digits[final.name]["confusion"], float)
        for digit, other in TURNED:
            if max(digit, other) >= len(confusion) or not (images := confusion[digit].sum()):
                continue
            row = confusion[digit] / images
            shares[f"{final.architecture}, d={final.latent_dim}"][f"{digit} read as {other}"].append(float(row[other]))
            if final.latent_dim == 2:
                rival = max(share for reading, share in enumerate(row) if reading not in (digit, other))
                margins[f"{final.architecture}, {digit} read as {other}"][final.seed] = float(row[other] - rival)
    return _claim(
        7,
        "A two-dimensional model turns 7 and 4 into 9, and 5 into 8.",
        "at d = 2, of all wrong readings of a digit's reconstructions this one is the most frequent, by a classifier "
        "trained on the originals; shares of the digit's test images",
        {model: {label: mean(v, 3) for label, v in row.items()} for model, row in shares.items()},
        margins,
    )
