"""Everything that tables, figures and the page derive from a sweep's outcomes, derived once.

In: what came of each run, the data, the digits read in reconstructions. Out: one frozen object that is handed on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxvae.config import RunConfig
from jaxvae.formats import OLD_SHAPE
from jaxvae.models import Bernoulli
from jaxvae.results.claims import Claim, Final, check
from jaxvae.results.labels import AxisTable, Words, caption, comparable, labels
from jaxvae.results.settings import MAX_PLOTTED_MODELS, Setting, best_of_each_model, thin_out, trained_settings
from jaxvae.runs import Outcome

PARTS = ("reconstruction", "kl", "loss")  # the first parts of every run's losses; an objective may add others
MAX_LISTED_RUNS = 60  # runs that are shown one by one; of more, a few stand for all
CLASSIFIED_SEEDS = 5  # seeds of a setting whose reconstructions are classified, where there are too many runs for all
PLOTTED = f"the first seed of each model's setting with the lowest mean −ELBO, of {MAX_PLOTTED_MODELS} models at most"


def final(outcome: Outcome) -> Final:
    config = outcome.config
    identity = config.name, config.architecture, config.latent_dim, config.seed, outcome.epochs, outcome.parameters
    return Final(*identity, *outcome.final[: len(PARTS)].tolist())


@dataclass(frozen=True, eq=False)
class Results:
    """What came of a sweep.

    Attributes:
        outcomes: one for each run, in the sweep's order.
        data: name, fingerprint and sizes of the dataset, see `about`.
        digits: the content of digits.json: what a classifier reads in the reconstructions of `runs_to_classify`, and
            how their codes lie; None where the data have no labels, or nothing was classified.
    """

    outcomes: tuple[Outcome, ...]
    data: Mapping[str, Any]
    digits: Mapping[str, Any] | None = None

    @cached_property
    def runs(self) -> list[RunConfig]:
        return [outcome.config for outcome in self.outcomes]

    @cached_property
    def words(self) -> Words:
        return Words.of(self.data)

    @cached_property
    def finals(self) -> dict[str, Final]:
        """By run, its test losses at the end."""
        return {outcome.config.name: final(outcome) for outcome in self.outcomes}

    @cached_property
    def losses(self) -> dict[str, np.ndarray]:
        """By run, [epoch, split, part of `PARTS`], nats per image; NaN where nothing was measured."""
        return {outcome.config.name: outcome.losses[..., : len(PARTS)] for outcome in self.outcomes}

    @property
    def parts(self) -> tuple[str, ...]:
        """`PARTS`, and every further part of the loss that any run has."""
        return tuple(dict.fromkeys([*PARTS, *(part for outcome in self.outcomes for part in outcome.parts)]))

    @cached_property
    def settings(self) -> list[Setting]:
        """The runs by everything but the seed, in the order of the first ones."""
        members: dict[RunConfig, list[Outcome]] = {}
        for outcome in self.outcomes:
            members.setdefault(outcome.config.setting, []).append(outcome)
        return [
            Setting(
                config,
                tuple(self.finals[one.config.name] for one in own),
                frozenset(one.config.name for one in own if one.diverged),
            )
            for config, own in members.items()
        ]

    @cached_property
    def trained(self) -> list[Setting]:
        """The settings of runs that completed an epoch: those that have curves."""
        return trained_settings(self.settings)

    @cached_property
    def best(self) -> list[Setting]:
        """Each model's setting with the lowest mean −ELBO, of those in `trained`."""
        return best_of_each_model(self.trained)

    @cached_property
    def several_settings(self) -> bool:
        """Whether a model was trained in more than one setting, so that the best one stands for it."""
        return len({setting.model for setting in self.trained}) < len(self.trained)

    @property
    def too_many(self) -> bool:
        """Whether there are too many runs to show each of them."""
        return len(self.outcomes) > MAX_LISTED_RUNS

    @cached_property
    def runs_to_plot(self) -> list[RunConfig]:
        """The runs that have figures of their own and whose models travel in the page.

        All of them, up to `MAX_LISTED_RUNS`; of more, the first seed of each model's best setting, thinned out.
        """
        return self._first_seeds(self._plotted_settings, 1) if self.too_many else self.runs

    @cached_property
    def runs_to_classify(self) -> list[RunConfig]:
        """The runs whose reconstructions are classified, which takes seconds for each (2 with MNIST's 10,000 test
        images, on two cores).

        All of them, up to `MAX_LISTED_RUNS`; of more, the first `CLASSIFIED_SEEDS` seeds of the settings that are
        plotted, and of the two-dimensional ones that the original's claims are checked on.
        """
        if not self.too_many:
            return self.runs
        checked = {run.setting for run in self.comparable[0] if run.latent_dim == 2}
        settings = [s for s in self.settings if s in self._plotted_settings or s.config in checked]
        return self._first_seeds(settings, CLASSIFIED_SEEDS)

    def _first_seeds(self, settings: Iterable[Setting], count: int) -> list[RunConfig]:
        """Of each setting the runs with the lowest seeds."""
        lowest = [sorted(setting.finals, key=lambda final: final.seed)[:count] for setting in settings]
        names = {final.name for finals in lowest for final in finals}
        return [run for run in self.runs if run.name in names]

    @cached_property
    def _plotted_settings(self) -> list[Setting]:
        models = thin_out({setting.model for setting in self.settings})
        return [setting for setting in best_of_each_model(self.settings) if setting.model in models]

    @cached_property
    def axes(self) -> AxisTable:
        """What the trained settings differ in."""
        return AxisTable([setting.config for setting in self.trained])

    @cached_property
    def labels(self) -> dict[str, str]:
        """By run and by setting what figures and tables call it."""
        return labels([*self.runs, *(setting.config for setting in self.settings)])

    def caption(self, *, averaged: bool = False, shared: bool = False) -> str:
        """The data, and what all runs have in common; see `jaxvae.results.labels.caption`."""
        runs = [outcome.config for outcome in self.outcomes if outcome.epochs > 0 or not averaged]
        return caption(self.data, runs, averaged=averaged, shared=shared)

    @cached_property
    def comparable(self) -> tuple[list[RunConfig], str]:
        """The runs that the claims are checked on, and why not all of them; see `jaxvae.results.labels.comparable`."""
        return comparable(self.runs)

    @cached_property
    def claims(self) -> list[Claim]:
        """Checked on the comparable runs that did not diverge; none where examples are not 28 × 28 grey levels, as
        MNIST's are, or the likelihood is not the original's."""
        like_mnist = tuple(self.data.get("shape", OLD_SHAPE)) == OLD_SHAPE and "dtype" not in self.data
        if not like_mnist or any(run.vae.likelihood != Bernoulli() for run in self.runs):
            return []
        names = {run.name for run in self.comparable[0]}
        ended = [one.config.name for one in self.outcomes if not one.diverged and one.config.name in names]
        return check([self.finals[name] for name in ended], self.digits and self.digits["runs"])
