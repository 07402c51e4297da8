"""A search for the best setting in one folder: rung by rung, each a study of the settings that are left.

In: settings, a dataset, how long to train. Out: the folder, with every run that was trained and search.json, which says
who went on at each rung and why; and the winner.

A rung that has been decided is not decided again, and a study goes on from its checkpoints: killed at any moment, the
same search comes to the same winner.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from jaxvae import results
from jaxvae.config import RunConfig
from jaxvae.data import Dataset, checked, first_examples, held_out, split_off
from jaxvae.errors import CheckpointError, ConfigError, InputError, Remedy, is_whole, quoted
from jaxvae.evaluation import in_float32, likelihood
from jaxvae.jax_settings import own_settings
from jaxvae.models import conditions_of
from jaxvae.runs import write
from jaxvae.search import halving
from jaxvae.search.halving import Rank
from jaxvae.study import Run, Study, load
from jaxvae.system import as_path, console, machine
from jaxvae.training import distributed
from jaxvae.values import Whole, plain

FILE = "search.json"
VALIDATION = 0.1  # share of the train split, where settings do not say
EXAMPLES = 2000  # of the validation split, that settings are compared on
SAMPLES = 1  # codes for each of them: of one the bound is the ELBO


class Rung(NamedTuple):
    """What was decided."""

    epochs: int  # that each setting has behind it
    ranks: list[Rank]


class Search:
    """Successive halving over settings, each with all seeds, in one folder.

    Args:
        settings: runs that are not alike; their seeds and epochs do not count.
        epochs: of those that are trained to the end.
        first: epochs before settings are compared for the first time.
        keep: one in so many settings goes on.
        seeds: each setting is trained with all of them and judged by their mean.
        samples: codes of the bound that settings are ranked by, L_K; 1 is the ELBO.
        examples: of the validation split, that they are ranked on.

    Raises:
        ConfigError: there are no two settings, or two that are alike; see also `halving.rungs`.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        settings: Sequence[RunConfig],
        dataset: Dataset,
        *,
        epochs: Whole = 27,
        first: Whole = 1,
        keep: Whole = 3,
        seeds: Sequence[int] = (0,),
        samples: Whole = SAMPLES,
        examples: Whole = EXAMPLES,
    ):
        numbers = {"epochs": epochs, "first": first, "keep": keep, "samples": samples, "examples": examples}
        numbers = {name: plain(value) for name, value in numbers.items()}
        for name, value in numbers.items():
            if not is_whole(value, at_least=1):
                raise ConfigError(f"{name} must be a whole number of at least 1, not {quoted(value)}")
        self.folder, self.dataset = as_path(folder), checked(dataset)
        self.keep, self.samples, self.examples = (numbers[name] for name in ("keep", "samples", "examples"))
        self.seeds = [plain(seed) for seed in dict.fromkeys(seeds)]
        self.levels = halving.rungs(numbers["epochs"], numbers["first"], self.keep)
        named = {one.setting.name: self._as_setting(one) for one in settings}
        if len(named) < 2 or len(named) < len(settings):
            raise ConfigError(f"a search needs at least two settings, each of them once; {len(settings)} were given")
        if not self.seeds:
            raise ConfigError("a search needs at least one seed")
        self.settings = {setting.name: setting for setting in named.values()}

    def _as_setting(self, run: RunConfig) -> RunConfig:
        return replace(run.setting, seed=0, epochs=self.levels[-1], validation=run.validation or VALIDATION)

    # ── what has been decided ────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _about(self) -> dict[str, Any]:
        """What must be the same for the search to go on."""
        return {
            "settings": {name: setting.to_json() for name, setting in self.settings.items()},
            "levels": list(self.levels), "keep": self.keep, "seeds": self.seeds, "samples": self.samples,
            "examples": self.examples, "dataset": results.about(self.dataset)["dataset"],
        }  # fmt: skip

    def rungs(self) -> list[Rung]:
        """Those that the folder has.

        Raises:
            CheckpointError: it holds another search, or a damaged one.
        """
        path = self.folder / FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            about = {name: content[name] for name in self._about}
            rungs = [Rung(one["epochs"], [_rank(rank) for rank in one["ranks"]]) for one in content["rungs"]]
        except FileNotFoundError:
            return []
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CheckpointError(f"{path} is damaged; {Remedy.ANOTHER_FOLDER}") from None
        if wrong := [name for name, value in json.loads(json.dumps(self._about)).items() if about[name] != value]:
            raise CheckpointError(f"{path} is another search's ({', '.join(wrong)} differ); {Remedy.ANOTHER_FOLDER}")
        return rungs

    def _write(self, rungs: Sequence[Rung]) -> None:
        content = self._about | {
            "rungs": [{"epochs": one.epochs, "ranks": [_as_json(rank) for rank in one.ranks]} for one in rungs]
        }
        with machine.storage(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            write(self.folder / FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    # ── the search ───────────────────────────────────────────────────────────────────────────────────────────────────

    @own_settings()
    def run(
        self, strategy: str = "auto", workers: Whole = 1, *, mesh: Mesh | None = None, quiet: bool = False
    ) -> list[Rung]:
        """Trains and decides what is not decided yet; returns all rungs.

        Args:
            strategy, workers, mesh: see `jaxvae.training.train`.

        Raises:
            CheckpointError: the folder holds another search.
            InputError: no setting is left, as all diverged; see also `Study.train`.
        """
        rungs = self.rungs()
        screen = console(quiet=quiet or not distributed.first())
        if not rungs and distributed.first():
            self._write(rungs)
        for place, epochs in enumerate(self.levels):
            if place < len(rungs):
                continue
            left = [rank.setting for rank in rungs[-1].ranks if rank.goes_on] if rungs else [*self.settings]
            how_many = f"{len(left)} settings" + (f" with {len(self.seeds)} seeds each" if len(self.seeds) > 1 else "")
            screen.print(f"rung {place + 1} of {len(self.levels)}: {how_many}, to epoch {epochs}")
            runs = [self.run_of(name, seed, epochs) for name in left for seed in self.seeds]
            Study(self.folder, runs, self.dataset).train(strategy, workers, mesh=mesh, quiet=quiet, pages=False)
            last = epochs == self.levels[-1]
            decide = partial(self._decide, left, epochs, last)
            ranks = distributed.broadcast_from_first(f"rung-{epochs}", decide)
            rungs.append(Rung(epochs, [Rank(*rank) for rank in ranks]))
            if distributed.first():
                self._write(rungs)
            if not np.isfinite(rungs[-1].ranks[0].loss):
                raise InputError(f"all settings of {self.folder} diverged; search among lower learning rates")
        return rungs

    def run_of(self, setting: str, seed: int, epochs: int) -> RunConfig:
        """A setting's run with this seed, to this epoch."""
        return replace(self.settings[setting], seed=seed, epochs=epochs)

    def _decide(self, settings: Sequence[str], epochs: int, last: bool) -> list[Rank]:
        return halving.ranked({name: self.losses(name, epochs) for name in settings}, self.keep, last)

    @own_settings()
    def losses(self, setting: str, epochs: int) -> np.ndarray:
        """What a setting is ranked by after so many epochs, [seed, example] in nats."""
        runs = [load(self.folder / self.run_of(setting, seed, epochs).name) for seed in self.seeds]
        return np.stack([self._losses(run) for run in runs])

    def _losses(self, run: Run) -> np.ndarray:
        """−L_K of validation examples, nats; infinite if the run diverged. The noise is the same for all runs."""
        validation = self._validation_split(run.config)
        images = first_examples(validation.test_images, self.examples)
        if run.diverged:
            return np.full(len(images), np.inf)
        conditions = conditions_of(run.config.vae.condition, validation)[1]
        given = conditions if conditions is None else conditions[: len(images)]
        own = in_float32(run.in_trained_numbers())
        return -likelihood.bounds(own.vae, own.params, images, (self.samples,), conditions=given).bound[0]

    def _validation_split(self, run: RunConfig) -> Dataset:
        return run.dataset_as_trained(split_off(self.dataset, run.validation)[1], drawn_once=True)

    @property
    def compared_examples(self) -> int:
        """Held-out examples that settings are ranked on."""
        shares = {setting.validation for setting in self.settings.values()}
        return min(self.examples, *(held_out(len(self.dataset.train_images), share) for share in shares))

    def winner(self, rungs: Sequence[Rung]) -> Run:
        """The best setting of the last rung, with the first seed."""
        best = rungs[-1].ranks[0].setting
        return load(self.folder / self.run_of(best, self.seeds[0], rungs[-1].epochs).name)


def _as_json(rank: Rank) -> dict[str, Any]:
    """As JSON has no infinity, null in its place."""
    return {n: None if isinstance(v, float) and not np.isfinite(v) else v for n, v in rank._asdict().items()}


def _rank(record: dict[str, Any]) -> Rank:
    numbers: dict[str, Any] = {name: np.inf if value is None else value for name, value in record.items()}
    return Rank(**numbers)


def read(folder: Path) -> dict[str, Any]:
    """The content of a folder's search.json.

    Raises:
        InputError: there is none.
    """
    try:
        return json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder} holds no search: it has no {FILE}") from None
