"""A sweep's runs by setting, which is everything but the seed: means over seeds, and the best setting of a model.

In: configurations and final losses of runs. Out: settings, ranked by their means.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from jaxvae.config import RunConfig
from jaxvae.results.claims import Final, Mean, mean
from jaxvae.runs import Run

MAX_PLOTTED_MODELS = 20  # models that have figures and travel in the page, where there are too many runs for all

Model = tuple[str, int]  # architecture and latent size


class Setting(NamedTuple):
    """Runs that differ in nothing but the seed."""

    config: RunConfig  # with seed 0
    finals: tuple[Final, ...]  # in the sweep's order
    diverged: frozenset[str] = frozenset()  # names of those that stopped before their last epoch

    @property
    def model(self) -> Model:
        return self.config.architecture, self.config.latent_dim

    @property
    def seeds(self) -> int:
        return len({final.name for final in self.finals} | self.diverged)

    @property
    def finite(self) -> tuple[Final, ...]:
        """The runs that reached their last epoch."""
        return tuple(final for final in self.finals if final.name not in self.diverged)

    def mean(self, part: str, digits: int = 4) -> Mean | None:
        """The mean of a loss over the runs that reached their last epoch, with its 95 % interval; None without any."""
        values = [getattr(final, part) for final in self.finite]
        return mean(values, digits) if values else None

    @property
    def negative_elbo(self) -> float:
        """The mean over seeds; infinite if no run reached its last epoch."""
        average = self.mean("negative_elbo", 9)
        return average.mean if average and math.isfinite(average.mean) else math.inf


def trained_settings(settings: Sequence[Setting]) -> list[Setting]:
    """Settings without their runs that completed no epoch; the names of those among them that diverged stay."""
    trained = [s._replace(finals=tuple(final for final in s.finals if final.epochs > 0)) for s in settings]
    return [setting for setting in trained if setting.finals]


def ranked(settings: Sequence[Setting]) -> list[Setting]:
    """From the lowest mean −ELBO up, then those most of whose seeds diverged."""
    return sorted(settings, key=lambda setting: (2 * len(setting.diverged) > setting.seeds, setting.negative_elbo))


def best_of_each_model(settings: Sequence[Setting]) -> list[Setting]:
    """Each model's first setting in the ranking, in the order of the models."""
    lowest: dict[Model, Setting] = {}
    for setting in ranked(settings):
        lowest.setdefault(setting.model, setting)
    return [lowest[model] for model in dict.fromkeys(setting.model for setting in settings)]


def thin_out(models: Collection[Model]) -> set[Model]:
    """At most `MAX_PLOTTED_MODELS`, of each architecture the same latent sizes, from the smallest to the largest."""
    architectures = {architecture for architecture, _ in models}
    sizes = evenly_spaced(sorted({d for _, d in models}), max(1, MAX_PLOTTED_MODELS // len(architectures)))
    return {model for model in models if model[1] in sizes}


def evenly_spaced(sequence: Sequence, most: int) -> list:
    """At most so many of its members, evenly from the first to the last."""
    places = np.linspace(0, len(sequence) - 1, min(most, len(sequence))).round().astype(int)
    return [sequence[place] for place in places]


def first_seeds(runs: Sequence[Run]) -> list[Run]:
    """The run with the lowest seed of each setting, in order."""
    lowest: dict[RunConfig, Run] = {}
    for run in sorted(runs, key=lambda run: run.config.seed):
        lowest.setdefault(run.config.setting, run)
    return [run for run in runs if run is lowest[run.config.setting]]
