"""What the original experiment found, checked against what was measured.

In: the final test losses of a sweep's runs. Out: each statement with its numbers and a verdict.

The statements are about MNIST after 15 epochs; what passes and fails elsewhere is a finding about the other data.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple

ORIGINAL_BATCH = 100  # the original experiment quotes losses summed over a batch of this size


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
    def batch_sum(self) -> float:
        """Reconstruction summed over 100 images, as the original experiment quotes it."""
        return ORIGINAL_BATCH * self.reconstruction


class Claim(NamedTuple):
    number: int
    statement: str
    criterion: str  # what is compared, and what counts as true
    measured: dict[str, Any]
    verdict: str  # "pass", "fail" or "not tested": the sweep lacks the runs


def check(finals: Sequence[Final]) -> list[Claim]:
    """The five statements about losses and sizes; over several seeds, about their means."""
    reconstruction, kl = _table(finals, "reconstruction"), _table(finals, "kl")
    return [
        _falls(reconstruction),
        _range(reconstruction),
        _conv_below_linear(reconstruction),
        _sizes(_table(finals, "parameters")),
        _kl_ranks(kl),
    ]


Table = dict[str, dict[int, float]]  # architecture → latent size → mean over seeds


def _table(finals: Sequence[Final], quantity: str) -> Table:
    values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for final in sorted(finals, key=lambda final: final.latent_dim):
        values[final.architecture][final.latent_dim].append(getattr(final, quantity))
    return {a: {d: fmean(v) for d, v in by_size.items()} for a, by_size in values.items()}


def _common(table: Table) -> list[int]:
    """Latent sizes that both architectures were trained at."""
    return [d for d in table.get("linear", {}) if d in table.get("conv", {})]


def _verdict(tested: Any, true: bool) -> str:
    return ("pass" if true else "fail") if tested else "not tested"


def _rounded(table: Table, digits: int = 2) -> dict[str, dict[str, float]]:
    return {a: {f"d={d}": round(v, digits) for d, v in row.items()} for a, row in table.items()}


def _rises(row: dict[int, float]) -> bool:
    return all(a < b for a, b in pairwise(row.values()))


def _falls(table: Table) -> Claim:
    tested = len(table) == 2 and all(len(row) > 1 for row in table.values())
    return Claim(
        1,
        "Test reconstruction falls with every step in latent dimension, for both architectures.",
        "nats per image, strictly decreasing",
        _rounded(table),
        _verdict(tested, all(_rises({d: -v for d, v in row.items()}) for row in table.values())),
    )


def _range(table: Table) -> Claim:
    ends = {a: {d: ORIGINAL_BATCH * row[d] for d in (2, 50)} for a, row in table.items() if 2 in row and 50 in row}
    true = all(7_000 <= row[50] <= 8_000 for row in ends.values())
    return Claim(
        2,
        "Summed over 100 images, reconstruction goes from almost 15,000 at d = 2 to around 7,000–8,000 at d = 50.",
        "the larger of the architectures between 14,000 and 15,000 at d = 2, each between 7,000 and 8,000 at d = 50",
        _rounded(ends, 0),
        _verdict(ends, true and 14_000 <= max((row[2] for row in ends.values()), default=0) <= 15_000),
    )


def _conv_below_linear(table: Table) -> Claim:
    sizes = _common(table)
    lead = {f"d={d}": round(table["linear"][d] - table["conv"][d], 2) for d in sizes}
    return Claim(
        3,
        "The convolutional model reconstructs better than the linear one at every dimension.",
        "linear minus conv, nats per image, all positive",
        lead,
        _verdict(sizes, all(value > 0 for value in lead.values())),
    )


def _sizes(table: Table) -> Claim:
    counts = {a: int(row[2]) for a, row in table.items() if 2 in row}
    tested = len(counts) == 2
    true = tested and 350e3 < counts["linear"] < 450e3 and 150e3 < counts["conv"] < 250e3
    return Claim(
        4,
        "At d = 2 the linear model has about 400K parameters, the convolutional one about 200K.",
        "within 50K of those",
        counts,
        _verdict(tested, true),
    )


def _kl_ranks(table: Table) -> Claim:
    sizes = _common(table)
    ranked = all(table["linear"][d] < table["conv"][d] for d in sizes)
    return Claim(
        5,
        "KL ranks the other way: linear models and small dimensions have the lower KL.",
        "nats per image, rising with every step in dimension, and linear below conv at every dimension",
        _rounded(table),
        _verdict(len(sizes) > 1, ranked and all(_rises(row) for row in table.values())),
    )
