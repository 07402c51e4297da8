"""The learning rate of Burda, Grosse & Salakhutdinov 2016.

In: the initial rate. Out: a number for each epoch.
"""

import itertools

from jaxvae.parts import part, require_number, static


@part("schedule/stages")
class Stages:
    """Stage i = 1, 2, … has 3^(i − 1) epochs at the initial value times 10^(−(i − 1)/7) (Burda, Grosse & Salakhutdinov
    2016, section 5, whose eight stages are 3,280 epochs)."""

    initial: float = static(name="", title="initial")

    def check(self) -> None:
        require_number(self, "initial")

    def at(self, epoch: int) -> float:
        """The value in an epoch, counted from 1."""
        stage = next(i for i in itertools.count() if epoch <= (3 ** (i + 1) - 1) // 2)
        return self.initial * 10 ** (-stage / 7)
