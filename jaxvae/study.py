"""A sweep with a folder: trains what is missing, keeps every epoch, and writes the results.

In: run configurations, a dataset and a folder. Out: the folder, complete, and a summary on the console.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jaxvae import (
    checkpoint,
    claims,
    classifier,
    evaluation,
    figures,
    grids,
    lock,
    machine,
    report,
    results,
    resume,
    summary,
    trained,
)
from jaxvae.checkpoint import Divergence, Progress
from jaxvae.config import ConfigError, InputError, RunConfig
from jaxvae.data import Dataset, binarized, checked
from jaxvae.machine import as_path
from jaxvae.objectives import Losses
from jaxvae.progress import Display
from jaxvae.sweep import check, sweep, vmaps
from jaxvae.workers import Epoch


class Study:
    """The runs of one folder."""

    def __init__(self, folder: Path, runs: list[RunConfig], dataset: Dataset):
        if not runs or not all(isinstance(run, RunConfig) for run in runs):
            raise ConfigError("a study needs a list of at least one RunConfig")
        self.folder, self.runs, self.dataset = as_path(folder), runs, checked(dataset)
        self.about = results.about(dataset)
        self.seen = binarized(dataset, runs[0].train.binarize)
        self.probes = results.probes(self.seen)
        self.console = Console(highlight=False, markup=False)
        if not self.console.is_terminal:
            self.console.width = 120

    def _say(self, line: str) -> None:
        """Prints a line as it is, not broken where a terminal ends, so that its paths can be copied."""
        self.console.print(line, soft_wrap=True)

    def _move_aside(self) -> None:
        """Renames the folder, so that the study starts anew and nothing is lost."""
        here = Path.cwd()
        if self.folder.resolve() in (here, *here.parents):
            raise InputError(f"{self.folder} is the folder you are in and cannot be moved aside; choose another --out")
        with lock.held(self.folder):
            free = (self.folder.with_name(f"{self.folder.name}.before-{i}") for i in itertools.count(1))
            target = next(path for path in free if not path.exists())
            self.folder.rename(target)
            (target / lock.NAME).unlink()
            self._say(f"moved {self.folder} to {target}")

    # ── training ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def train(self, strategy: str = "auto", workers: int = 1, *, fresh: bool = False, quiet: bool = False) -> None:
        """Brings every run to its number of epochs, from where the folder has it, or `fresh` from the beginning.

        `strategy` and `workers` are those of `jaxvae.sweep.sweep`.

        Raises:
            InputError: another process writes into the folder; it cannot be written to; see also `jaxvae.resume.found`.
            ConfigError: see `jaxvae.sweep.check`.
            FaultError: a worker process was ended from outside, the disk is full, the folder is no longer there. What
                was finished is kept.
        """
        check(self.runs, self.dataset, strategy, workers)
        if fresh and self.folder.exists():
            self._move_aside()
        with lock.held(self.folder), machine.storage(self.folder):
            self.progress = resume.found(self.folder, self.runs, self.about, self._say)
            if vmaps(strategy):
                self.progress = resume.with_companions(self.folder, self.runs, self.progress)
            self._settle()
            self._train(strategy, workers, quiet)

    def _settle(self) -> None:
        """The folder says what is going to be trained, and agrees with what has been."""
        for name, progress in self.progress.items():
            checkpoint.settle(self.folder / name, progress)
        for run in self.runs:
            progress = self.progress.get(run.name)
            finished = progress and (progress.epoch == run.epochs or progress.diverged)
            if not finished or checkpoint.read_config(self.folder / run.name)[0] != run:
                checkpoint.write_config(self.folder / run.name, run, self.about)

    def _train(self, strategy: str, workers: int, quiet: bool) -> None:
        done = {name: progress.epoch for name, progress in self.progress.items()}
        behind = sum(done.values())
        self.how = {"strategy": strategy, "workers": workers, "epochs_trained_before": behind, "epochs_trained": 0}
        stopped = {name for name, progress in self.progress.items() if progress.diverged}
        if not quiet:
            self._print_head(workers, behind, bool(done))
        console, left = Console(quiet=True) if quiet else self.console, [r for r in self.runs if r.name not in stopped]
        with Display(console, left, done, len(self.dataset.train_images)) as display:

            def on_epoch(report: Epoch) -> None:
                self._keep(report)
                self.how["epochs_trained"] += report.epoch > 0
                display.epoch(report)

            sweep(
                self.runs,
                self.dataset,
                strategy=strategy,
                workers=workers,
                states={name: progress.state for name, progress in self.progress.items()},
                together={name: progress.together for name, progress in self.progress.items()},
                diverged=stopped,
                on_epoch=on_epoch,
                probes=self.probes.reshape(-1, 28, 28),
            )

    def _print_head(self, workers: int, behind: int, begun: bool) -> None:
        device, total = self.about["device"], sum(run.epochs for run in self.runs)
        places = f"{device['count']} × {device['kind']}" if workers == 1 else f"{workers} worker processes"
        head = f"{len(self.runs)} runs of {results.caption(self.dataset, self.runs)} on {places}"
        going_on = f", going on after {behind} of {total} epochs" if begun else ""
        self.console.print(f"{head}{going_on}; writing {self.folder}/")
        self.console.print(results.precisions(self.runs))

    def _keep(self, report: Epoch) -> None:
        """Makes the epoch permanent: once this returns, an interrupted study goes on from here.

        Of an epoch that is not finite only that is kept, in the checkpoint before it.
        """
        run, before = report.run, self.progress.get(report.run.name)
        mark = None if report.diverged is None else Divergence(report.epoch, report.diverged)
        if mark and before:
            progress = before._replace(diverged=mark)
        else:
            pictures = np.reshape(report.reconstructions, self.probes.shape)  # type: ignore[arg-type]
            entry = {
                "epoch": report.epoch,
                "train": _plain(report.train),
                "test": _plain(report.test),
                "seconds": round(report.seconds, 3),
            }
            history = [*before.history, entry] if before else [entry]
            images = np.concatenate([before.reconstructions, pictures[None]]) if before else pictures[None]
            progress = Progress(report.state, history, images, mark, report.together)
        self.progress[run.name] = progress
        checkpoint.save(self.folder / run.name, progress)

    # ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, wall_seconds: float) -> None:
        """Tables, claims and figures from the runs' folders; prints them.

        Raises:
            CheckpointError: a run's folder is damaged.
            StorageError: the disk is full or refuses.
        """
        with lock.held(self.folder), machine.storage(self.folder):
            outcomes, digits = self._outcomes()
            names = set(grids.drawn(results.grouped(outcomes)))
            drawn = [trained.load(self.folder / run.name) for run in self.runs if run.name in names]
            compared = {run.name for run in grids.comparable(self.runs)[0]}
            ended = [one for one in outcomes if not one.diverged and one.config.name in compared]
            found = claims.check(list(map(results.final, ended)), digits["runs"])
            sweep = {"runs": [run.to_json() for run in self.runs], **self.how, "wall_seconds": round(wall_seconds, 1)}
            results.write_tables(self.folder, outcomes, found, digits, self.dataset)
            results.write_sweep(self.folder, outcomes, self.about, sweep)
            pictures = figures.write_figures(self.folder / "figures", outcomes, drawn, digits, self.seen)
            page = report.write(self.folder, drawn, self.seen)
        for table in summary.tables(outcomes, found, results.caption(self.dataset, self.runs)):
            self.console.print(table)
        example = json.dumps(str(self.folder / self.runs[-1].name), ensure_ascii=False)
        self._say(f"\n{len(pictures)} figures in {self.folder / 'figures'}/, losses in metrics.csv beside it")
        if len(drawn) < len(self.runs):
            self._say(f"pictures and models of {len(drawn)} of {len(self.runs):,} runs: {grids.STAND_FOR}")
        self._say(f"a page to look at, with the models in it: {page}")
        self._say(f"load a model:  import jaxvae; run = jaxvae.load({example})")

    def _outcomes(self) -> tuple[list[trained.Outcome], dict[str, Any]]:
        """What came of each run, and what a classifier trained on the same images reads in the test split and in its
        reconstructions. Of the models no more are held than cores read in."""
        self.console.print("reading the digits in all reconstructions, with a classifier trained on the originals")
        images, labels = self.seen.test_images, self.seen.test_labels
        reader = evaluation.reader(evaluation.as_seen(self.dataset, self.runs[0]))
        own = np.asarray(classifier.read(reader, jnp.asarray(images)))
        how = {"epochs": classifier.EPOCHS, "accuracy": float((own == labels).mean()), "test_images": len(labels)}
        outcomes, told, waiting = [], {}, deque()

        def take() -> None:
            outcome, read = waiting.popleft()
            outcomes.append(outcome)
            told[outcome.config.name] = {**read.result(), **results.divergence(outcome)}

        with ThreadPoolExecutor(cores := len(machine.cores())) as pool:
            for config in self.runs:
                run = trained.load(self.folder / config.name)
                waiting.append((run.outcome, pool.submit(evaluation.digits, run, reader, images, labels)))
                del run  # else the last one would be held until the next is loaded
                if len(waiting) > cores:
                    take()
            while waiting:
                take()
        return outcomes, {"classifier": how, "runs": told}


def _plain(losses: Losses | None) -> dict[str, float] | None:
    return None if losses is None else {name: float(value) for name, value in losses._asdict().items()}
