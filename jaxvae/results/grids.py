"""A sweep's runs by setting, which is all but the seed: means over seeds, the best setting, what stands for too many.

In: configurations and final losses of runs. Out: settings; the runs that are drawn; those that the original's
statements can be checked on.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from jaxvae.config import LEARNING_RATE, RunConfig
from jaxvae.results.claims import Final, Mean, mean

ALL = 60  # runs that are shown one by one; of more, some stand for the rest
MOST = 20  # of those
READ = 5  # seeds of a setting in whose reconstructions digits are read, where there are too many runs to read all

STAND_FOR = f"the first seed of each model's setting with the lowest mean −ELBO, of {MOST} models at most"

Model = tuple[str, int]  # architecture and latent size


class Setting(NamedTuple):
    """Runs that differ in nothing but the seed."""

    config: RunConfig  # with seed 0
    finals: tuple[Final, ...]  # in the sweep's order
    diverged: frozenset[str] = frozenset()  # names of those that stopped before their last epoch

    @property
    def model(self) -> Model:
        return self.config.model.architecture, self.config.model.latent_dim

    @property
    def seeds(self) -> int:
        return len({final.name for final in self.finals} | self.diverged)

    @property
    def finite(self) -> tuple[Final, ...]:
        """Those that came to their last epoch."""
        return tuple(final for final in self.finals if final.name not in self.diverged)

    def mean(self, part: str, digits: int = 4) -> Mean | None:
        """Of a loss over the seeds that came to their last epoch, with its 95 % interval; None if none did."""
        values = [getattr(final, part) for final in self.finite]
        return mean(values, digits) if values else None

    @property
    def negative_elbo(self) -> float:
        """The mean over seeds; infinite if none came to its last epoch."""
        found = self.mean("negative_elbo", 9)
        return found.mean if found and math.isfinite(found.mean) else math.inf


def settings(
    configs: Sequence[RunConfig], finals: Iterable[Final], diverged: Collection[str] = frozenset()
) -> list[Setting]:
    """In the order of their first runs; `finals` belong to `configs`, `diverged` are names."""
    members: dict[RunConfig, list[Final]] = {}
    for config, final in zip(configs, finals, strict=True):
        members.setdefault(config.setting, []).append(final)
    return [
        Setting(config, tuple(own), frozenset(final.name for final in own if final.name in diverged))
        for config, own in members.items()
    ]


def trained_in(found: Sequence[Setting]) -> list[Setting]:
    """Without runs that have no epoch behind them; of those that diverged as early their names stay."""
    kept = [setting._replace(finals=tuple(final for final in setting.finals if final.epochs > 0)) for setting in found]
    return [setting for setting in kept if setting.finals]


def large(found: Sequence[Setting]) -> bool:
    """Whether there are too many runs to show each of them."""
    return sum(setting.seeds for setting in found) > ALL


def several(found: Collection[Setting]) -> bool:
    """Whether architecture and latent size are not enough to name a setting."""
    return len({setting.model for setting in found}) < len(found)


def ranked(found: Sequence[Setting]) -> list[Setting]:
    """From the lowest mean −ELBO up, then those most of whose seeds diverged."""
    return sorted(found, key=lambda setting: (2 * len(setting.diverged) > setting.seeds, setting.negative_elbo))


def best(found: Sequence[Setting]) -> list[Setting]:
    """Of each model the setting with the lowest mean −ELBO; where there is another, not one most of whose seeds
    diverged."""
    lowest: dict[Model, Setting] = {}
    for setting in ranked(found):
        lowest.setdefault(setting.model, setting)
    return [lowest[model] for model in dict.fromkeys(setting.model for setting in found)]


def drawn(found: Sequence[Setting]) -> list[str]:
    """Names of the runs of which there are figures and models in the page.

    All of them, up to `ALL`; of more the first seed of each model's best setting, of `some` models.
    """
    names = [final.name for setting in found for final in setting.finals]
    if not large(found):
        return names
    kept = some([setting.model for setting in found])
    chosen = [setting for setting in best(found) if setting.model in kept]
    return [min(setting.finals, key=lambda final: final.seed).name for setting in chosen]


def read(found: Sequence[Setting]) -> list[str]:
    """Names of the runs in whose reconstructions digits are read, which takes seconds for each (2 with MNIST's 10,000
    test images, on two cores).

    All of them, up to `ALL`; of more the first `READ` seeds of the settings that are drawn, and of the two-dimensional
    ones that the original's statements are checked on.
    """
    if not large(found):
        return [final.name for setting in found for final in setting.finals]
    kept = some([setting.model for setting in found])
    checked = {run for run in comparable([setting.config for setting in found])[0] if run.model.latent_dim == 2}
    shown = [setting for setting in best(found) if setting.model in kept]
    chosen = [setting for setting in found if setting in shown or setting.config in checked]
    return [final.name for setting in chosen for final in sorted(setting.finals, key=lambda final: final.seed)[:READ]]


def some(models: Collection[Model]) -> set[Model]:
    """At most `MOST` models, of each architecture the same latent sizes, evenly from the smallest to the largest."""
    sizes = spread(sorted({d for _, d in models}), MOST // len({architecture for architecture, _ in models}))
    return {model for model in models if model[1] in sizes}


def spread(sequence: Sequence, most: int) -> list:
    """At most so many of its members, evenly from the first to the last."""
    places = np.linspace(0, len(sequence) - 1, min(most, len(sequence))).round().astype(int)
    return [sequence[place] for place in places]


def firsts(runs: Iterable[RunConfig]) -> list[RunConfig]:
    """Of each setting the run with the lowest seed, in order."""
    lowest: dict[RunConfig, RunConfig] = {}
    for run in runs:
        had = lowest.setdefault(run.setting, run)
        if run.seed < had.seed:
            lowest[run.setting] = run
    return [*lowest.values()]


def comparable(runs: Sequence[RunConfig]) -> tuple[list[RunConfig], str]:
    """The runs that the original's statements are checked on, and why not all, where it is not all.

    The statements compare architectures and latent sizes, so all else must be the same: as in the original, where the
    sweep has that.
    """
    ways: dict[tuple, list[RunConfig]] = {}
    for run in runs:
        ways.setdefault((run.train, run.epochs, run.learning_rate, run.beta, run.schedule), []).append(run)
    if len(ways) <= 1:
        return [*runs], ""
    alike = [way for way in ways.values() if _as_in_the_original(way[0])]
    if len(alike) == 1:
        return alike[0], f"on the runs with β = 1 and learning rate {LEARNING_RATE:g}"
    return [], f"not tested, as of {len(ways)} ways of training no single one is the original's"


def _as_in_the_original(run: RunConfig) -> bool:
    plain = run.train.objective == "elbo" and run.schedule == "constant"
    return plain and (run.beta, run.learning_rate) == (1, LEARNING_RATE)
