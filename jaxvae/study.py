"""A sweep with a folder: trains what is missing, keeps every epoch, and writes the results.

In: run configurations, a dataset and a folder. Out: the folder, complete, and a summary on the console.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from jaxvae import checkpoint, claims, engine, results
from jaxvae.checkpoint import CheckpointError, Progress
from jaxvae.config import InputError, RunConfig, differences
from jaxvae.data import Dataset
from jaxvae.objectives import Losses
from jaxvae.progress import Display
from jaxvae.sweep import Epoch, check, sweep

_reconstruct = jax.jit(engine.reconstruct, static_argnums=0)


class Study:
    """The runs of one folder."""

    def __init__(self, folder: Path, runs: list[RunConfig], dataset: Dataset):
        self.folder, self.runs, self.dataset = folder, runs, dataset
        self.about = results.about(dataset)
        self.probes = results.probes(dataset)
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

    def train(self, strategy: str = "auto", *, fresh: bool = False, quiet: bool = False) -> None:
        """Brings every run to its number of epochs, from where the folder has it, or `fresh` from the beginning.

        Raises:
            CheckpointError: the folder holds a damaged checkpoint, runs that differ from these, or results that
                would be lost.
            ConfigError: see `sweep`.
        """
        check(self.runs, self.dataset, strategy)
        if fresh:
            self._move_aside()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.progress = {run.name: found for run in self.runs if (found := self._resume(run))}
        self._keep_results()
        for name, progress in self.progress.items():
            checkpoint.settle(self.folder / name, progress)
        for run in self.runs:
            if run.name not in self.progress or self.progress[run.name].epoch < run.epochs:
                checkpoint.write_config(self.folder / run.name, run, self.about)
        done = {name: progress.epoch for name, progress in self.progress.items()}
        behind, total = sum(done.values()), sum(run.epochs for run in self.runs)
        self.how = {"strategy": strategy, "epochs_trained_before": behind, "epochs_trained": total - behind}
        device = self.about["device"]
        if not quiet:
            head = f"{len(self.runs)} runs of {results.caption(self.dataset)} on {device['count']} × {device['kind']}"
            going_on = f", going on after {behind} of {total} epochs" if done else ""
            self.console.print(f"{head}{going_on}; writing {self.folder}/")
        states = {name: progress.state for name, progress in self.progress.items()}
        images = len(self.dataset.train_images)
        console = Console(quiet=True) if quiet else self.console
        with Display(console, self.runs, done, images) as display:

            def on_epoch(report: Epoch) -> None:
                self._keep(report)
                display.epoch(report)

            sweep(self.runs, self.dataset, strategy=strategy, states=states, on_epoch=on_epoch)

    def _resume(self, run: RunConfig) -> Progress | None:
        folder = self.folder / run.name
        if checkpoint.newest(folder) is None:
            return None
        found, about = checkpoint.read_config(folder)
        conflicts = differences(found, run)
        there, now = about.get("dataset", {}).get("fingerprint"), self.about["dataset"]["fingerprint"]
        if there != now:
            conflicts.append(f"dataset {str(there)[:12]} there, {now[:12]} now")
        progress = checkpoint.read(folder)
        if progress and progress.epoch > run.epochs:
            conflicts.append(f"epochs {progress.epoch} there, {run.epochs} now")
        if conflicts:
            raise CheckpointError(
                f"{folder} holds another run ({'; '.join(conflicts)}); use --fresh to start anew, or another --out"
            )
        return progress

    def _keep_results(self) -> None:
        """Refuses a folder with the results of runs that this study lacks: they would be written over."""
        path = self.folder / results.SWEEP
        if not path.exists():
            return
        try:
            there = [RunConfig.from_json(run) for run in json.loads(path.read_text(encoding="utf-8"))["runs"]]
        except (ValueError, KeyError, TypeError):
            raise CheckpointError(f"{path} is damaged; use --fresh to start anew, or another --out") from None
        now = {run.name: run for run in self.runs}

        def lost(run: RunConfig) -> bool:
            new = now.get(run.name)
            return new is None or bool(differences(run, new)) or run.epochs > new.epochs

        if names := [run.name for run in there if lost(run)]:
            raise CheckpointError(
                f"{self.folder} holds results that this sweep lacks or would change ({', '.join(names)}); "
                "use another --out, or --fresh to start anew"
            )

    def _keep(self, report: Epoch) -> None:
        """Makes the epoch permanent: once this returns, an interrupted study goes on from here."""
        run, folder = report.run, self.folder / report.run.name
        flat = self.probes.reshape(-1, 28, 28)
        pictures = np.asarray(_reconstruct(run.model, report.state.params, flat)).reshape(self.probes.shape)
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
        checkpoint.save(folder, self.progress[run.name])

    # ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, wall_seconds: float) -> None:
        """Tables, claims and figures from the runs' folders; prints them."""
        loaded = [checkpoint.load(self.folder / run.name) for run in self.runs]
        found = claims.check([results.final(run) for run in loaded])
        sweep = {"runs": [run.to_json() for run in self.runs], **self.how, "wall_seconds": round(wall_seconds, 1)}
        results.write_tables(self.folder, loaded, found, self.dataset)
        if self.how["epochs_trained"] or not (self.folder / results.SWEEP).exists():
            results.write_sweep(self.folder, loaded, self.about, sweep)
        figures = results.write_figures(self.folder / "figures", loaded, self.dataset)
        self._print_results(loaded, found)
        example = self.folder / self.runs[-1].name
        self.console.print(f"\n{len(figures)} figures in {self.folder / 'figures'}/, losses in metrics.csv beside it")
        self.console.print(f'load a model:  import jaxvae; run = jaxvae.load("{example}")')

    def _print_results(self, loaded: list[checkpoint.Run], found: list[claims.Claim]) -> None:
        caption = results.caption(self.dataset)
        table = Table(title=f"Test losses, nats per image – {caption}", title_justify="left")
        table.add_column("run")
        for heading in ("parameters", "epochs", "reconstruction", "KL", "loss", "sum over 100"):
            table.add_column(heading, justify="right")
        for final in map(results.final, loaded):
            losses = f"{final.reconstruction:.2f}", f"{final.kl:.2f}", f"{final.loss:.2f}", f"{final.batch_sum:,.0f}"
            table.add_row(final.name, f"{final.parameters:,}", str(final.epochs), *losses)
        self.console.print(table)
        table = Table(title=f"The original experiment's claims about MNIST, on {caption}", title_justify="left")
        for heading in ("", "claim", "verdict"):
            table.add_column(heading)
        for claim in found:
            table.add_row(str(claim.number), claim.statement, claim.verdict)
        self.console.print(table)


def _plain(losses: Losses | None) -> dict[str, float] | None:
    return None if losses is None else {name: float(value) for name, value in losses._asdict().items()}
