"""Successive halving: many settings are trained for a little, the best of them for longer, few to the end.

In: how good each setting is so far, example by example. Out: which go on, and which cannot be told apart.

Jamieson & Talwalkar 2016; Li et al. 2018 (Hyperband), algorithm 1, of which this is one bracket. Of two settings with a
difference inside its standard error neither is the better one: such a difference sends nobody home.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxvae.errors import ConfigError

INTERVAL = 1.96  # standard errors, within which two settings are not told apart


class Rank(NamedTuple):
    """A setting at a rung."""

    setting: str
    loss: float  # nats, mean over examples and seeds; infinite if a seed diverged
    behind: float  # nats, that it is worse than the best one; 0 for that
    error: float  # standard error of that difference, over examples and seeds
    tied: bool  # whether it cannot be told from the best one
    goes_on: bool


def rungs(epochs: int, first: int = 1, keep: int = 3) -> tuple[int, ...]:
    """Epochs after which settings are compared, the last one at the end: each `keep` times the one before.

    Example:
        >>> rungs(27), rungs(30), rungs(30, first=4)
        ((1, 3, 9, 27), (1, 3, 10, 30), (10, 30))
    """
    if not 1 <= first <= epochs:
        raise ConfigError(f"the first rung must be from 1 to the {epochs} epochs of the last, not {first}")
    if keep < 2:
        raise ConfigError(f"one in {keep} settings cannot be kept; keep must be at least 2")
    found = [epochs]
    while (before := round(found[0] / keep)) >= first and before < found[0]:
        found.insert(0, before)
    return tuple(found)


def ranked(losses: Mapping[str, Float[np.ndarray, "seeds n"]], keep: int, last: bool = False) -> list[Rank]:
    """The settings from the best to the worst.

    One in `keep` goes on, rounded up, and with them what cannot be told from the first or the last of these, but no
    more than twice as many.

    Args:
        losses: of each setting, in nats: of each of its seeds on the same n examples.
        last: whether it is the last rung, after which none goes on.
    """
    means = {name: float(values.mean()) if np.isfinite(values).all() else math.inf for name, values in losses.items()}
    order = sorted(means, key=lambda name: means[name])
    room = -(-len(order) // keep)
    best, barely = losses[order[0]], losses[order[room - 1]]
    found = []
    for place, name in enumerate(order):
        if not math.isfinite(means[name]):
            found.append(Rank(name, math.inf, math.inf, math.inf, False, False))
            continue
        behind, error = difference(losses[name], best)
        beyond, its_error = difference(losses[name], barely)
        tied = behind <= INTERVAL * error
        close = place < 2 * room and (tied or beyond <= INTERVAL * its_error)
        found.append(
            Rank(name, means[name], behind, error if place else 0.0, tied, not last and (place < room or close))
        )
    return found


def difference(one: Float[np.ndarray, "s n"], other: Float[np.ndarray, "t n"]) -> tuple[float, float]:
    """By how much the first loss is larger, in nats, and the standard error of that.

    Over examples the error is that of the differences, as both have the same; seeds, of which there may be several, are
    independent.
    """
    per_example = one.mean(0) - other.mean(0)
    variance = per_example.var(ddof=1) / len(per_example) if len(per_example) > 1 else 0.0
    for seeds in (one, other):
        if len(seeds) > 1:
            variance += seeds.mean(1).var(ddof=1) / len(seeds)
    return float(per_example.mean()), math.sqrt(variance)


def cost(settings: int, levels: tuple[int, ...], keep: int) -> tuple[int, int]:
    """Epochs that a search trains if none are tied, and those of all settings to the end.

    Example:
        >>> cost(64, (1, 3, 9, 27), 3)
        (210, 1728)
    """
    total, before, going = 0, 0, settings
    for level in levels:
        total += going * (level - before)
        before, going = level, -(-going // keep)
    return total, settings * levels[-1]
