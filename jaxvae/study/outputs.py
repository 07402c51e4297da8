"""What a study writes beside its runs' folders: tables, figures and a page, at its end, and some of it on the way.

In: the folders of runs that have ended. Out: files, and the results that they tell of.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxvae import evaluation, figures, results
from jaxvae.config import RunConfig
from jaxvae.data import Dataset
from jaxvae.evaluation import classifier
from jaxvae.models import conditions_of
from jaxvae.page import report
from jaxvae.runs import Run, load
from jaxvae.system import machine
from jaxvae.training import Epoch

INTERVAL = 30.0  # seconds from one page on the way to the next, at least
SHARE = 0.02  # of the time that all of them may take


class Outputs:
    """The files of one folder, but for its runs' own."""

    def __init__(
        self, folder: Path, runs: list[RunConfig], dataset: Dataset, about: Mapping[str, Any], console: Console
    ):
        self.folder, self.runs, self.dataset, self.about, self.console = folder, runs, dataset, about, console
        self.dataset_as_trained = runs[0].dataset_as_trained(dataset)
        self.loaded: dict[str, Run] = {}

    # ── at the end ───────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, how: Mapping[str, Any]) -> tuple[results.Results, list[Path], Path]:
        """Tables, figures and the page; returns what they tell of, the figures' paths and the page's.

        Args:
            how: the runs were trained, for sweep.json.
        """
        found = self._results(self.runs)
        found = replace(found, digits=self._classify(found))
        runs = [self._load(run) for run in found.runs_to_plot]
        results.write_tables(self.folder, found)
        results.write_sweep(self.folder, found, dict(self.about), dict(how))
        with self._working("drawing figures") as at:
            drawn = figures.write_figures(
                self.folder / "figures", found, runs, self.dataset_as_trained, lambda path: at(path.stem)
            )
        with self._working("writing the page"):
            page = report.write(found, self.folder, runs, self.dataset_as_trained)
        return found, drawn, page

    def _results(self, runs: list[RunConfig]) -> results.Results:
        return results.Results(tuple(self._load(run).outcome for run in runs), self.about["dataset"])

    def _load(self, config: RunConfig) -> Run:
        """A run that has ended, from memory if they are few enough to stay there."""
        if config.name in self.loaded:
            return self.loaded[config.name]
        run = load(self.folder / config.name).in_trained_numbers()
        if len(self.runs) <= results.MAX_LISTED_RUNS:
            self.loaded[config.name] = run
        return run

    def _classify(self, found: results.Results) -> dict[str, Any] | None:
        """What a classifier trained on the originals reads in the test split, and in the reconstructions of some runs;
        None if the data have no labels. Of the models no more are loaded at a time than there are cores."""
        if self.dataset.labels is None:
            return None
        images, labels = self.dataset_as_trained.test_images, self.dataset.labels[1]
        runs, classes = found.runs_to_classify, self.dataset.classes
        where = "all reconstructions" if len(runs) == len(self.runs) else f"reconstructions of {len(runs)} runs"
        diverged = {one.config.name: results.divergence(one) for one in found.outcomes}
        with self._working(f"classifying {where}, with a classifier trained on the originals") as at:
            reader = evaluation.reader(self.runs[0].dataset_as_trained(self.dataset, drawn_once=True))
            own = evaluation.read_classes(reader, images)
            how = {"epochs": classifier.EPOCHS, "accuracy": float((own == labels).mean()), "test_images": len(labels)}

            def record(run: RunConfig) -> dict[str, Any]:
                model = evaluation.in_float32(self._load(run))
                conditions = conditions_of(run.vae.condition, self.dataset)[1]
                readings = evaluation.by_class(model, reader, images, labels, classes, conditions)
                return {**readings, **diverged[run.name]}

            records = {}
            with ThreadPoolExecutor(len(machine.cores())) as pool:
                for run, readings in zip(runs, pool.map(record, runs), strict=True):
                    records[run.name] = readings
                    at(f"{len(records)} of {len(runs)}")
        return {"classifier": how, "runs": records}

    @contextlib.contextmanager
    def _working(self, what: str) -> Iterator[Callable[[str], None]]:
        """Says what is being done; on a terminal also how far, by what it is given."""
        if not self.console.is_terminal:
            self.console.print(what)
        with self.console.status(what) as status:
            yield lambda detail: status.update(f"{what}: {detail}")

    # ── on the way ───────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, epochs: Mapping[str, int], ended: frozenset[str]) -> None:
        """Training begins.

        Args:
            epochs: of each run that is continued, how many it has behind it.
            ended: runs that are not trained any further.
        """
        self.loaded.clear()
        self.epochs = {run.name: epochs.get(run.name, 0) for run in self.runs}
        self.ended = {run.name for run in self.runs if epochs.get(run.name) == run.epochs} | ended
        self.started = time.perf_counter()
        self.due, self.page_was_said = self.started + INTERVAL, False

    def epoch(self, done: Epoch, how: Mapping[str, Any]) -> None:
        """Draws the curves and writes the page of the runs that have ended, if some have and it is time."""
        name = done.run.name
        self.epochs[name] = done.epoch
        if done.epoch == done.run.epochs or done.ended:
            self.ended.add(name)
        now = time.perf_counter()
        listed = len(self.runs) <= results.MAX_LISTED_RUNS
        if now < self.due or not 0 < len(self.ended) < len(self.runs) or not listed:
            return
        ended = [run for run in self.runs if run.name in self.ended]
        found, runs = self._results(ended), [self._load(run) for run in ended]
        sweep = {**self.about, **how, "wall_seconds": now - self.started}
        total = sum(run.epochs for run in self.runs)
        under_way = report.UnderWay(
            sweep, len(ended), len(self.runs), sum(self.epochs.values()), total, time.strftime("%H:%M")
        )
        figures.write_curves(self.folder / "figures", found)
        page = report.write(found, self.folder, runs, self.dataset_as_trained, under_way)
        if not self.page_was_said:
            self.console.print(f"the runs that have ended, to look at: {page}", soft_wrap=True)
            self.page_was_said = True
        self.due = time.perf_counter() + max(INTERVAL, (time.perf_counter() - now) / SHARE)
