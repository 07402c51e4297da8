"""Schedules over a given length: straight, in cycles, along a cosine, exponential.

In: where they begin and end, and how long they take, in epochs or, with by="step", in optimiser steps. Out: a number
for each epoch or step. Below, t = 0, 1, 2, … are the epochs, or steps, that lie behind: the first of them has the
initial value. By epoch, a value holds for all of it.

    ELBO(beta=Linear(0, 1, 10))                                   KL warm-up: β rises to 1 over the first ten epochs
    Adam(Cosine(1e-3, 9000, warm_up=500, by="step"))              a learning rate over 9,000 steps
    Capacity(capacity=Linear(0, 25, 100_000, by="step"))          C of Burgess et al. 2018, section 5
"""

import math
from abc import ABC, abstractmethod
from typing import Any

from jaxvae.errors import ConfigError, quoted
from jaxvae.parts import Number, part, require_number, require_one_of, require_whole, static

BY = ("epoch", "step")


class _Over(ABC):
    """What schedules of a given length have in common."""

    part_name: str
    length: Number
    by: str

    def check(self) -> None:
        require_number(self, "initial")
        require_number(self, "length")
        if self.length == 0:
            raise ConfigError(f"{self.part_name}: length must be above 0, not {quoted(self.length)}")
        require_one_of(self, "by", BY)

    def at(self, count: int) -> float:
        """The value in an epoch or a step, counted from 1."""
        return self._after(max(0, count - 1))

    @abstractmethod
    def _after(self, t: int) -> float:
        """The value when t epochs or steps lie behind."""


@part("schedule/linear")
class Linear(_Over):
    """From the initial to the final value in a straight line: initial + (final − initial) · (t − after) / length, then
    the final one; before `after` the initial one.

    Of β from 0 to 1 it is KL warm-up (Bowman et al. 2016, section 3.1; Sønderby et al. 2016).

    Example:
        >>> [Linear(0, 1, 4).at(epoch) for epoch in (1, 2, 3, 4, 5, 6)]
        [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    initial: Number = static(name="from", title="initial")
    final: Number = static(name="to", title="final")
    length: Number = static(name="over", title="length")
    after: Number = static(default=0, name="after", title="after")
    by: str = static(default="epoch", title="by")

    def check(self) -> None:
        super().check()
        require_number(self, "final")
        require_number(self, "after")

    def _after(self, t: int) -> float:
        share = min(1.0, max(0.0, (t - self.after) / self.length))
        return (1 - share) * self.initial + share * self.final


@part("schedule/cyclical")
class Cyclical(_Over):
    """Cyclical annealing (Fu et al. 2019, section 4): `cycles` cycles in the whole `length`. In each, the value rises
    in a straight line for a share `rising` of the cycle, then stays at the final one, as it does at the end:
    τ = (t mod length/cycles) / (length/cycles), initial + (final − initial) · min(1, τ / rising).

    Example:
        >>> [Cyclical(8, cycles=2).at(epoch) for epoch in (1, 2, 3, 4, 5, 6, 9)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0]
    """

    length: Number = static(name="over", title="length")
    cycles: int = static(default=4, name="cycles", title="cycles")
    rising: Number = static(default=0.5, name="rising", title="rising")
    initial: Number = static(default=0.0, name="from", title="initial")
    final: Number = static(default=1.0, name="to", title="final")
    by: str = static(default="epoch", title="by")

    def check(self) -> None:
        super().check()
        require_number(self, "final")
        require_whole(self, "cycles", 1, 2**31)
        _require_at_most_one(self, "rising")

    def _after(self, t: int) -> float:
        if t >= self.length:
            return self.final
        cycle = self.length / self.cycles
        tau = (t % cycle) / cycle
        share = min(1.0, tau / self.rising) if self.rising else 1.0
        return (1 - share) * self.initial + share * self.final


@part("schedule/cosine")
class Cosine(_Over):
    """Half a cosine from the initial to the final value (Loshchilov & Hutter 2017, equation 5, without restarts):
    final + (initial − final) · (1 + cos(π (t − warm_up) / (length − warm_up))) / 2, then the final one.

    Before, while t < warm_up, it rises in a straight line, initial · (t + 1) / (warm_up + 1): no epoch goes by at zero.

    Example:
        >>> [round(Cosine(1.0, 5, warm_up=1).at(epoch), 3) for epoch in (1, 2, 3, 4, 5, 6)]
        [0.5, 1.0, 0.854, 0.5, 0.146, 0.0]
    """

    initial: Number = static(name="from", title="initial")
    length: Number = static(name="over", title="length")
    final: Number = static(default=0.0, name="to", title="final")
    warm_up: Number = static(default=0, name="warm", title="warm-up")
    by: str = static(default="epoch", title="by")

    def check(self) -> None:
        super().check()
        require_number(self, "final")
        require_number(self, "warm_up", below=float(self.length))

    def _after(self, t: int) -> float:
        if t < self.warm_up:
            return self.initial * (t + 1) / (self.warm_up + 1)
        share = min(1.0, (t - self.warm_up) / (self.length - self.warm_up))
        return self.final + (self.initial - self.final) * (1 + math.cos(math.pi * share)) / 2


@part("schedule/exponential")
class Exponential(_Over):
    """Multiplied by `factor` over each `length`: initial · factor^(t / length).

    Example:
        >>> [Exponential(1.0, 2, factor=0.25).at(epoch) for epoch in (1, 2, 3, 5)]
        [1.0, 0.5, 0.25, 0.0625]
    """

    initial: Number = static(name="from", title="initial")
    length: Number = static(name="over", title="length")
    factor: Number = static(default=0.5, name="factor", title="factor")
    by: str = static(default="epoch", title="by")

    def check(self) -> None:
        super().check()
        _require_at_most_one(self, "factor")  # what grows for ever leaves float32

    def _after(self, t: int) -> float:
        return self.initial * self.factor ** (t / self.length)


def _require_at_most_one(schedule: Any, field: str) -> None:
    require_number(schedule, field)
    if (value := getattr(schedule, field)) > 1:
        raise ConfigError(f"{schedule.part_name}: {field} must be at most 1, not {quoted(value)}")
