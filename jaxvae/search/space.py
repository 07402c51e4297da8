"""Which settings a search tries: combinations of what options name, with ranges among their values.

In: for each option texts, `0.001`, `0.1..10` or `adam:b1=uniform(0.5,0.99)`. Out: settings, a text for each option.

Settings are points of a Sobol sequence, which fills a space more evenly than independent draws or a grid do (Bergstra &
Bengio 2012, section 2.4). The same space and seed have the same settings, and of more settings these are the first.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import qmc

from jaxvae.errors import ConfigError, quoted

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"({NUMBER})\.\.({NUMBER})|uniform\(({NUMBER}),({NUMBER})\)")
DIGITS = 3  # of a value that is drawn, so that names and tables stay readable
POINTS = 16  # that are tried for each setting, as whole numbers and lists repeat
MOST = 2**16  # points in all

Setting = dict[str, str]


class Range(NamedTuple):
    """Numbers between two ends, which are among them."""

    low: float
    high: float
    logarithmic: bool
    whole: bool

    def at(self, share: float) -> str:
        """The number at a share of the way, 0 to 1, on the range's scale."""
        to, back = (math.log, math.exp) if self.logarithmic else (float, float)
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        value = back(to(low) + share * (to(high) - to(low)))
        return str(min(max(round(value), int(self.low)), int(self.high))) if self.whole else f"{value:.{DIGITS}g}"


def settings(space: Mapping[str, Sequence[str]], count: int, seed: int = 0) -> list[Setting]:
    """Different settings of the space: `count`, or all that there are if these are fewer and none is from a range.

    Args:
        space: for each option what it may be. `LOW..HIGH` in a text stands for a number drawn on a logarithmic scale, a
            whole one if both ends are, and `uniform(LOW,HIGH)` for one drawn evenly.

    Raises:
        ConfigError: a range has no numbers, or none on a logarithmic scale.

    Example:
        >>> len(settings({"betas": ["0.1..10"], "latent_dims": ["2", "5"]}, 9))
        9
        >>> settings({"betas": ["1", "4"], "latent_dims": ["2"]}, 9)
        [{'betas': '1', 'latent_dims': '2'}, {'betas': '4', 'latent_dims': '2'}]
    """
    ranges = {option: [_ranges(text) for text in texts] for option, texts in space.items()}
    if not any(itertools.chain.from_iterable(itertools.chain.from_iterable(ranges.values()))):
        combinations = [dict(zip(space, texts, strict=True)) for texts in itertools.product(*space.values())]
        if len(combinations) <= count:
            return combinations
    found: dict[tuple[str, ...], Setting] = {}
    for point in _points(space, ranges, min(MOST, POINTS * count), seed):
        setting = {option: _text(texts, ranges[option], point) for option, texts in space.items()}
        found.setdefault(tuple(setting.values()), setting)
        if len(found) == count:
            break
    return list(found.values())


def _points(
    space: Mapping[str, Sequence[str]], ranges: Mapping[str, list[list[Range]]], most: int, seed: int
) -> Iterator[Iterator[float]]:
    """Numbers from 0 to 1, as many for each setting as it has choices and ranges at most."""
    size = sum((len(texts) > 1) + sum(map(len, ranges[option])) for option, texts in space.items())
    shift = np.random.default_rng(seed).random(size)  # else all would begin at the lowest values (Cranley & Patterson)
    for point in qmc.Sobol(size, scramble=False).random_base2(max(1, (most - 1).bit_length())):
        yield iter(((point + shift) % 1).tolist())


def _text(texts: Sequence[str], ranges: list[list[Range]], point: Iterator[float]) -> str:
    """One of the texts, its ranges replaced by numbers. Of those not chosen the numbers are drawn, too, so that what an
    option is does not decide over the others."""
    choice = min(int(next(point) * len(texts)), len(texts) - 1) if len(texts) > 1 else 0
    drawn = [[one.at(next(point)) for one in own] for own in ranges]
    numbers = iter(drawn[choice])
    return RANGE.sub(lambda _: next(numbers), texts[choice])


def _ranges(text: str) -> list[Range]:
    return [_range(text, *match.groups()) for match in RANGE.finditer(text)]


def _range(text: str, log_low: str | None, log_high: str | None, low: str | None, high: str | None) -> Range:
    logarithmic = log_low is not None
    first, last = (log_low, log_high) if logarithmic else (low, high)
    assert first is not None
    assert last is not None
    ends = Range(float(first), float(last), logarithmic, all(end.lstrip("+-").isdecimal() for end in (first, last)))
    if not ends.low < ends.high < math.inf:
        raise ConfigError(f"the range in {quoted(text)} must go from a lower number to a higher one")
    if logarithmic and ends.low <= 0:
        raise ConfigError(f"the range in {quoted(text)} has no logarithms; write uniform({first},{last})")
    return ends
