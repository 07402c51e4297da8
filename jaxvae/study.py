"""A sweep with a folder: trains what is missing, keeps every epoch, and writes the results.

In: run configurations, a dataset and a folder. Out: the folder, complete, and a summary on the console.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
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
    mesh,
    peers,
    report,
    results,
    resume,
    summary,
    trained,
)
from jaxvae.config import ConfigError, InputError, RunConfig
from jaxvae.data import Dataset, binarized, checked
from jaxvae.history import Divergence, Past, Progress
from jaxvae.machine import as_path
from jaxvae.objectives import Losses
from jaxvae.progress import Display
from jaxvae.sweep import check, train, vmaps
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
        self.console = Console(highlight=False, markup=False, quiet=not peers.first())
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

    def train(
        self,
        strategy: str = "auto",
        workers: int = 1,
        *,
        on: Mesh | None = None,
        fresh: bool = False,
        quiet: bool = False,
    ) -> None:
        """Brings every run to its number of epochs, from where the folder has it, or `fresh` from the beginning.

        `strategy`, `workers` and the mesh `on` are those of `jaxvae.sweep.train`. Of several processes, all of which
        must see the folder, the first one prepares it; each writes the checkpoints of the runs that its devices have.

        Raises:
            InputError: another process writes into the folder; it cannot be written to, or is not shared; see also
                `jaxvae.resume.found`.
            ConfigError: see `jaxvae.sweep.check`.
            FaultError: a worker process was ended from outside, another process of several was lost, the disk is full,
                the folder is no longer there. What was finished is kept.
        """
        check(self.runs, self.dataset, strategy, workers, on)
        self._agree(on)
        with contextlib.ExitStack() as held, machine.storage(self.folder):
            peers.from_first(lambda: self._prepare(held, fresh, vmaps(strategy, on)))
            if not peers.first():
                if not (self.folder / lock.NAME).exists():
                    raise InputError(f"{self.folder} is not the first process's; choose an --out that all hosts share")
                self._find(vmaps(strategy, on), lambda line: None)
            peers.wait()
            self._train(strategy, workers, on, quiet)

    def _agree(self, on: Mesh | None) -> None:
        """Of several processes, all train the same runs on the same data and mesh."""
        text = json.dumps([run.to_json() for run in self.runs])
        layout = mesh.described(on) if on else ""
        runs = hashlib.sha256(text.encode()).hexdigest()
        ours = {"runs": runs, "data": self.dataset.fingerprint, "mesh": layout}
        theirs = peers.from_first(lambda: ours)
        if differing := [what for what in ours if ours[what] != theirs[what]]:
            raise InputError(
                f"this process was given other {' and '.join(differing)} than the first; give all the same command"
            )

    def _prepare(self, held: contextlib.ExitStack, fresh: bool, vmapped: bool) -> None:
        """The folder says what is going to be trained, and agrees with what has been."""
        if fresh and self.folder.exists():
            self._move_aside()
        held.enter_context(lock.held(self.folder))
        self._find(vmapped, self._say)
        for name, past in self.past.items():
            checkpoint.settle(self.folder / name, past)
        for run in self.runs:
            past = self.past.get(run.name)
            if not (past and _finished(run, past)) or checkpoint.read_config(self.folder / run.name)[0] != run:
                checkpoint.write_config(self.folder / run.name, run, self.about)

    def _find(self, vmapped: bool, say: Callable[[str], None]) -> None:
        self.past = resume.found(self.folder, self.runs, self.about, say)
        if vmapped:
            self.past = resume.with_companions(self.folder, self.runs, self.past)

    def _train(self, strategy: str, workers: int, on: Mesh | None, quiet: bool) -> None:
        done = {name: past.epoch for name, past in self.past.items()}
        self.pictures: dict[str, np.ndarray] = {}  # of the runs under way, their reconstructions so far
        behind = sum(done.values())
        self.how: dict[str, Any] = {"strategy": strategy, "workers": workers}
        self.how |= {"mesh": mesh.described(on), "processes": jax.process_count()} if on else {}
        self.how |= {"epochs_trained_before": behind, "epochs_trained": 0}
        stopped = {name for name, past in self.past.items() if past.diverged}
        if not quiet:
            self._print_head(workers, on, behind, bool(done))
        console, left = Console(quiet=True) if quiet else self.console, [r for r in self.runs if r.name not in stopped]
        with Display(console, left, done, len(self.dataset.train_images)) as display:

            def on_epoch(report: Epoch) -> None:
                self._keep(report)
                self.how["epochs_trained"] += report.epoch > 0
                display.epoch(report)

            train(
                self.runs,
                self.dataset,
                strategy=strategy,
                workers=workers,
                on=on,
                epochs=done,
                state=lambda name: checkpoint.read(self.folder / name, done[name]).state,
                together={name: past.together for name, past in self.past.items()},
                diverged=stopped,
                on_epoch=on_epoch,
                probes=self.probes.reshape(-1, 28, 28),
            )

    def _print_head(self, workers: int, on: Mesh | None, behind: int, begun: bool) -> None:
        device, total = self.about["device"], sum(run.epochs for run in self.runs)
        places = f"{device['count']} × {device['kind']}" if workers == 1 else f"{workers} worker processes"
        if on:
            of = f" of {jax.process_count()} processes" if peers.several() else ""
            places = f"a mesh {mesh.described(on)} of {on.size} × {device['kind']}{of}"
        head = f"{len(self.runs)} runs of {results.caption(self.dataset, self.runs)} on {places}"
        going_on = f", going on after {behind} of {total} epochs" if begun else ""
        self.console.print(f"{head}{going_on}; writing {self.folder}/")
        self.console.print(results.precisions(self.runs))

    def _keep(self, report: Epoch) -> None:
        """Makes the epoch permanent: once this returns, an interrupted study goes on from here.

        Of an epoch that is not finite only that is kept, in the checkpoint before it. Of a run that another process
        holds, that one keeps all.
        """
        if report.state is None:
            return
        run, folder = report.run, self.folder / report.run.name
        past, earlier = self.past.get(run.name), self.pictures.pop(run.name, None)
        mark = None if report.diverged is None else Divergence(report.epoch, report.diverged)
        if mark and past:
            progress = checkpoint.read(folder, past.epoch)._replace(diverged=mark)
        else:
            if past and earlier is None:
                earlier = checkpoint.read(folder, past.epoch).reconstructions
            pictures = np.reshape(report.reconstructions, self.probes.shape)[None]  # type: ignore[arg-type]
            entry = {
                "epoch": report.epoch,
                "train": _plain(report.train),
                "test": _plain(report.test),
                "seconds": round(report.seconds, 3),
            }
            history = [*past.history, entry] if past else [entry]
            images = pictures if earlier is None else np.concatenate([earlier, pictures])
            progress = Progress(report.state, history, images, mark, report.together)
        checkpoint.save(folder, progress)
        self.past[run.name] = progress.past
        if not _finished(run, progress.past):
            self.pictures[run.name] = progress.reconstructions

    # ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, wall_seconds: float) -> None:
        """Tables, claims and figures from the runs' folders; prints them.

        Raises:
            CheckpointError: a run's folder is damaged.
            StorageError: the disk is full or refuses.
        """
        with lock.held(self.folder), machine.storage(self.folder):
            outcomes, held = self._outcomes()
            settings = results.grouped(outcomes)
            digits = self._read_digits(outcomes, grids.read(settings), held)
            names = set(grids.drawn(settings))
            drawn = [held.get(run.name) or self._load(run) for run in self.runs if run.name in names]
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

    def _load(self, config: RunConfig) -> trained.Run:
        return trained.load(self.folder / config.name)

    def _outcomes(self) -> tuple[list[trained.Outcome], dict[str, trained.Run]]:
        """What came of each run; and the runs by name, if they are few enough to be held."""
        outcomes, held = [], {}
        for config in self.runs:
            run = self._load(config)
            outcomes.append(run.outcome)
            if len(self.runs) <= grids.ALL:
                held[config.name] = run
        return outcomes, held

    def _read_digits(
        self, outcomes: list[trained.Outcome], names: Collection[str], held: dict[str, trained.Run]
    ) -> dict[str, Any]:
        """What a classifier trained on the same images reads in the test split, and in the reconstructions of some
        runs. Of the models no more are loaded at a time than cores read in."""
        where = "all reconstructions" if len(names) == len(outcomes) else f"reconstructions of {len(names)} runs"
        self.console.print(f"reading the digits in {where}, with a classifier trained on the originals")
        images, labels = self.seen.test_images, self.seen.test_labels
        reader = evaluation.reader(evaluation.as_seen(self.dataset, self.runs[0]))
        own = np.asarray(classifier.read(reader, jnp.asarray(images)))
        how = {"epochs": classifier.EPOCHS, "accuracy": float((own == labels).mean()), "test_images": len(labels)}

        def told(outcome: trained.Outcome) -> dict[str, Any]:
            run = held.get(outcome.config.name) or self._load(outcome.config)
            return {**evaluation.digits(run, reader, images, labels), **results.divergence(outcome)}

        chosen = [outcome for outcome in outcomes if outcome.config.name in set(names)]
        with ThreadPoolExecutor(len(machine.cores())) as pool:
            found = dict(zip((outcome.config.name for outcome in chosen), pool.map(told, chosen), strict=True))
        return {"classifier": how, "runs": found}


def _plain(losses: Losses | None) -> dict[str, float] | None:
    return None if losses is None else {name: float(value) for name, value in losses._asdict().items()}


def _finished(run: RunConfig, past: Past) -> bool:
    return past.epoch == run.epochs or past.diverged is not None
