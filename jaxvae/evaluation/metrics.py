"""What can be measured of a trained run: one entry here is a record, a row of tables, a line of help and, where it asks
for one, a column of the page.

In: `Metric` entries. Out: the list of them, in the order of tables.

    @metric("code length", "nats", "mean norm of the posterior means", column=Column("code length"))
    def _length(subject):
        yield Measured(np.linalg.norm(subject.codes.mean, axis=1), "posterior means")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from jaxvae.errors import ConfigError

NEEDS = {
    "labels": "labels of the images",
    "several images": "more than one image",
    "codes": "a plan that looks at codes",
    "class reader": "a model that reads classes, as the objective m2 trains one",
    "importance sampling": "a plan with importance samples",
    "annealing": "a plan with annealed importance sampling",
    "test split": "the test split: on the one they are fitted on such numbers say less than they seem to",
    "own images": "a likelihood that can draw images and say how probable they are: not one that is given their totals",
    "bytes": "bytes as they are, under a probability of them or, dequantised, under a density",
    "independent codes": "a diagonal normal posterior and a standard normal prior",
}


class Measured(NamedTuple):
    """A number, or one for each image, and how it came about."""

    values: Any  # [n], one for each image; [r, n], a row for each repeat; or a number of all images together
    estimator: str
    samples: int | None = None  # K, or the number of chains
    split: str = ""  # where it is not the plan's
    binarization: str = ""  # of the images, where it is not the run's


class Column(NamedTuple):
    """How the page's table of runs shows a metric."""

    title: str
    unit: str = ""  # "{:,}" stands for the number of samples
    scale: float = 1
    places: int = 2  # behind the point


class Metric(NamedTuple):
    """One quantity."""

    name: str
    unit: str  # "nats", "bits", "share", "dimensions", "codes", or nothing
    meaning: str  # in a line
    compute: Callable[[Any], Iterable[Measured]]  # of a `subject.Subject`
    needs: tuple[str, ...] = ()  # keys of NEEDS
    column: Column | None = None
    of_samples: bool = False  # whether its numbers say nothing without their number of samples
    of_likelihood: bool = False  # whether they say nothing without what the likelihood measures


METRICS: dict[str, Metric] = {}


def metric(
    name: str,
    unit: str,
    meaning: str,
    *needs: str,
    column: Column | None = None,
    of_samples: bool = False,
    of_likelihood: bool = False,
) -> Callable[[Callable], Callable]:
    """Registers what the decorated function computes.

    Args:
        name, unit, meaning, of_samples, of_likelihood: see `Metric`.
        needs: without which it is left out.

    Raises:
        ConfigError: another metric has this name, or it needs something unknown.
    """
    if unknown := [need for need in needs if need not in NEEDS]:
        raise ConfigError(f"metric {name}: needs must be of {', '.join(NEEDS)}, not {unknown[0]}")

    def register(compute: Callable) -> Callable:
        had = METRICS.get(name)
        if had and (had.compute.__module__, had.compute.__qualname__) != (compute.__module__, compute.__qualname__):
            raise ConfigError(f"two metrics are named {name}")
        METRICS[name] = Metric(name, unit, meaning, compute, needs, column, of_samples, of_likelihood)
        return compute

    return register
