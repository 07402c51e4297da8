"""A sweep with a folder: trains what is missing, keeps every epoch, and writes the results.

In: run configurations, a dataset and a folder. Out: the folder, complete, and a summary on the console.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from jaxvae import checkpoint, claims, classifier, evaluation, figures, machine, report, results
from jaxvae.checkpoint import CheckpointError, Progress
from jaxvae.config import InputError, RunConfig, differences
from jaxvae.data import Dataset, binarized
from jaxvae.objectives import Losses
from jaxvae.precision import automatic
from jaxvae.progress import Display
from jaxvae.sweep import check, sweep
from jaxvae.workers import Epoch


def settle_precision(runs: list[RunConfig], folder: Path | None) -> list[RunConfig]:
    """`runs` in the precision that suits the machine best; those begun in `folder` keep theirs, and lend it."""
    kept: dict[str, str] = {}
    for run in runs:
        if folder and checkpoint.newest(folder / run.name):
            there, _ = checkpoint.read_config(folder / run.name)
            kept[run.name] = kept[run.model.architecture] = there.model.precision
    for architecture in {run.model.architecture for run in runs} - kept.keys():
        kept[architecture] = automatic(architecture)
    return [_in_precision(run, kept.get(run.name, kept[run.model.architecture])) for run in runs]


def _in_precision(run: RunConfig, precision: str) -> RunConfig:
    return replace(run, model=replace(run.model, precision=precision))


class Study:
    """The runs of one folder."""

    def __init__(self, folder: Path, runs: list[RunConfig], dataset: Dataset):
        self.folder, self.runs, self.dataset = folder, runs, dataset
        self.about = results.about(dataset)
        self.seen = binarized(dataset, runs[0].train.binarize)
        self.probes = results.probes(self.seen)
        self.console = Console(highlight=False, markup=False)
        if not self.console.is_terminal:
            self.console.width = 120

    def _move_aside(self) -> None:
        """Renames the folder, if there is one, so that the study starts anew and nothing is lost."""
        here = Path.cwd()
        if self.folder.resolve() in (here, *here.parents):
            raise InputError(f"{self.folder} is the folder you are in and cannot be moved aside; choose another --out")
        if self.folder.exists():
            free = (self.folder.with_name(f"{self.folder.name}.before-{i}") for i in itertools.count(1))
            target = next(path for path in free if not path.exists())
            self.folder.rename(target)
            self.console.print(f"moved {self.folder} to {target}")

    # ── training ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def train(self, strategy: str = "auto", workers: int = 1, *, fresh: bool = False, quiet: bool = False) -> None:
        """Brings every run to its number of epochs, from where the folder has it, or `fresh` from the beginning.

        `strategy` and `workers` are those of `jaxvae.sweep.sweep`.

        Raises:
            CheckpointError: the folder holds a damaged checkpoint, runs that differ from these, or results that
                would be lost.
            ConfigError: see `jaxvae.sweep.check`.
            WorkerError: a worker process was ended from outside.
        """
        check(self.runs, self.dataset, strategy, workers)
        if fresh:
            self._move_aside()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.progress = {run.name: found for run in self.runs if (found := self._resume(run))}
        self._keep_results()
        for name, progress in self.progress.items():
            checkpoint.settle(self.folder / name, progress)
        for run in self.runs:
            finished = run.name in self.progress and self.progress[run.name].epoch == run.epochs
            if not finished or checkpoint.read_config(self.folder / run.name)[0] != run:
                checkpoint.write_config(self.folder / run.name, run, self.about)
        done = {name: progress.epoch for name, progress in self.progress.items()}
        behind, total = sum(done.values()), sum(run.epochs for run in self.runs)
        self.how = {
            "strategy": strategy,
            "workers": workers,
            "epochs_trained_before": behind,
            "epochs_trained": total - behind,
        }
        if not quiet:
            device = self.about["device"]
            places = f"{device['count']} × {device['kind']}" if workers == 1 else f"{workers} worker processes"
            head = f"{len(self.runs)} runs of {results.caption(self.dataset, self.runs)} on {places}"
            going_on = f", going on after {behind} of {total} epochs" if done else ""
            self.console.print(f"{head}{going_on}; writing {self.folder}/")
            self.console.print(results.precisions(self.runs))
        states = {name: progress.state for name, progress in self.progress.items()}
        images = len(self.dataset.train_images)
        console = Console(quiet=True) if quiet else self.console
        with Display(console, self.runs, done, images) as display:

            def on_epoch(report: Epoch) -> None:
                self._keep(report)
                display.epoch(report)

            flat = self.probes.reshape(-1, 28, 28)
            how = {"strategy": strategy, "workers": workers}
            sweep(self.runs, self.dataset, **how, states=states, on_epoch=on_epoch, probes=flat)

    def _resume(self, run: RunConfig) -> Progress | None:
        folder = self.folder / run.name
        if checkpoint.newest(folder) is None:
            return None
        there, about = checkpoint.read_config(folder)
        progress = checkpoint.read(folder)
        if conflicts := self._conflicts(there, progress.epoch if progress else 0, about, run):
            raise CheckpointError(
                f"{folder} holds another run ({'; '.join(conflicts)}); use --fresh to start anew, or another --out"
            )
        return progress

    def _keep_results(self) -> None:
        """Refuses a folder whose results this study would write over with those of other runs.

        Results without their checkpoints, as a clone has them, may come again in another precision.
        """
        if not (found := results.read_sweep(self.folder)):
            return
        there, about = found
        now = {run.name: run for run in self.runs}

        def lost(run: RunConfig) -> bool:
            new = now.get(run.name)
            return not new or bool(self._conflicts(_in_precision(run, new.model.precision), run.epochs, about, new))

        if names := [run.name for run in there if lost(run)]:
            raise CheckpointError(
                f"{self.folder} holds results that this sweep lacks or would change ({', '.join(names)}); "
                "use another --out, or --fresh to start anew"
            )

    def _conflicts(self, there: RunConfig, epochs: int, about: dict[str, Any], run: RunConfig) -> list[str]:
        """What keeps `run` on this study's data from continuing what is there after `epochs` epochs."""
        conflicts = differences(there, run)
        data, ours = about.get("dataset", {}).get("fingerprint"), self.about["dataset"]["fingerprint"]
        if data != ours:
            conflicts.append(f"dataset {str(data)[:12]} there, {ours[:12]} now")
        if epochs > run.epochs:
            conflicts.append(f"epochs {epochs} there, {run.epochs} now")
        return conflicts

    def _keep(self, report: Epoch) -> None:
        """Makes the epoch permanent: once this returns, an interrupted study goes on from here."""
        run, pictures = report.run, np.reshape(report.reconstructions, self.probes.shape)  # type: ignore[arg-type]
        entry = {
            "epoch": report.epoch,
            "train": _plain(report.train),
            "test": _plain(report.test),
            "seconds": round(report.seconds, 3),
        }
        before = self.progress.get(run.name)
        history = [*before.history, entry] if before else [entry]
        images = np.concatenate([before.reconstructions, pictures[None]]) if before else pictures[None]
        self.progress[run.name] = Progress(report.state, history, images)
        with machine.interrupts_deferred():  # half-way through, Orbax would leave coroutines behind, and say so
            checkpoint.save(self.folder / run.name, self.progress[run.name])

    # ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, wall_seconds: float) -> None:
        """Tables, claims and figures from the runs' folders; prints them."""
        loaded = [checkpoint.load(self.folder / run.name) for run in self.runs]
        digits = self._read_digits(loaded)
        found = claims.check([results.final(run) for run in loaded], digits["runs"])
        sweep = {"runs": [run.to_json() for run in self.runs], **self.how, "wall_seconds": round(wall_seconds, 1)}
        results.write_tables(self.folder, loaded, found, digits, self.dataset)
        if self.how["epochs_trained"] or not (self.folder / results.SWEEP).exists():
            results.write_sweep(self.folder, loaded, self.about, sweep)
        drawn = figures.write_figures(self.folder / "figures", loaded, digits, self.seen)
        page = report.write(self.folder, loaded, self.seen)
        self._print_results(loaded, found)
        example = self.folder / self.runs[-1].name
        self.console.print(f"\n{len(drawn)} figures in {self.folder / 'figures'}/, losses in metrics.csv beside it")
        self.console.print(f"a page to look at, with the models in it: {page}")
        self.console.print(f'load a model:  import jaxvae; run = jaxvae.load("{example}")')

    def _read_digits(self, loaded: list[checkpoint.Run]) -> dict[str, Any]:
        """What a classifier trained on the same images reads in the test split and in its reconstructions."""
        self.console.print("reading the digits in all reconstructions, with a classifier trained on the originals")
        images, labels = self.seen.test_images, self.seen.test_labels
        reader = evaluation.reader(evaluation.as_seen(self.dataset, self.runs[0]))
        own = np.asarray(classifier.read(reader, jnp.asarray(images)))
        with ThreadPoolExecutor(len(machine.cores())) as pool:
            found = pool.map(lambda run: evaluation.digits(run, reader, images, labels), loaded)
            told = {run.config.name: digits for run, digits in zip(loaded, found, strict=True)}
        how = {"epochs": classifier.EPOCHS, "accuracy": float((own == labels).mean()), "test_images": len(labels)}
        return {"classifier": how, "runs": told}

    def _print_results(self, loaded: list[checkpoint.Run], found: list[claims.Claim]) -> None:
        caption = results.caption(self.dataset, self.runs)
        table = Table(title=f"Test losses, nats per image – {caption}", title_justify="left")
        table.add_column("run")
        for heading in ("parameters", "epochs", "reconstruction", "KL", "loss", "sum over 100"):
            table.add_column(heading, justify="right")
        for final in map(results.final, loaded):
            losses = f"{final.reconstruction:.2f}", f"{final.kl:.2f}", f"{final.loss:.2f}", f"{final.batch_sum:,.0f}"
            table.add_row(final.name, f"{final.parameters:,}", str(final.epochs), *losses)
        self.console.print(table)
        table = Table(title=f"The original experiment's claims about MNIST, on {caption}", title_justify="left")
        for heading in ("", "claim", "verdict", "holds in"):
            table.add_column(heading)
        for claim in found:
            table.add_row(str(claim.number), claim.statement, claim.verdict, claim.holds)
        self.console.print(table)


def _plain(losses: Losses | None) -> dict[str, float] | None:
    return None if losses is None else {name: float(value) for name, value in losses._asdict().items()}
