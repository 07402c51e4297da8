"""A sweep with a folder: trains what is missing, keeps every epoch, and writes the results.

In: run configurations, a dataset and a folder. Out: the folder, complete, and a summary on the console.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from jaxvae import evaluation, figures, results
from jaxvae.config import RunConfig
from jaxvae.data import Dataset, binarized, checked
from jaxvae.errors import ConfigError, InputError, Remedy
from jaxvae.evaluation import classifier
from jaxvae.objectives import Losses
from jaxvae.page import report
from jaxvae.results import claims, grids, summary
from jaxvae.runs import Begun, Divergence, Outcome, Past, Progress, Run, checkpoint, load
from jaxvae.study import resume
from jaxvae.study.progress import Display
from jaxvae.system import as_path, lock, machine
from jaxvae.training import Epoch, check, mesh, train, vmaps
from jaxvae.training import distributed as peers


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
            raise InputError(
                f"{self.folder} is the folder you are in and cannot be moved aside; {Remedy.ANOTHER_FOLDER}"
            )
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
        if peers.several() and on is None:
            on = mesh.arranged("auto")
        peers.all_or_none("check", lambda: check(self.runs, self.dataset, strategy, workers, on))
        self._agree(strategy, on)
        with contextlib.ExitStack() as held, machine.storage(self.folder):
            self._begin(peers.from_first("folder", lambda: self._prepare(held, fresh, vmaps(strategy, on))))
            self._train(strategy, workers, on, quiet)
            peers.wait("trained")  # before anybody reads what all have saved, or lets go of the lock

    def _agree(self, strategy: str, on: Mesh | None) -> None:
        """Of several processes, all train the same runs on the same data, in the same programs."""
        text = json.dumps([run.to_json() for run in self.runs])
        peers.agree("study", {
            "runs": hashlib.sha256(text.encode()).hexdigest(),
            "data": self.dataset.fingerprint,
            "meshes": on and [mesh.described(on), *(device.id for device in on.devices.flat)],
            "strategies": vmaps(strategy, on),
            "versions": self.about["versions"],
        })  # fmt: skip

    def _prepare(self, held: contextlib.ExitStack, fresh: bool, vmapped: bool) -> dict[str, Any]:
        """The folder says what is going to be trained, and agrees with what has been; what `_begin` needs of it."""
        if fresh and self.folder.exists():
            self._move_aside()
        held.enter_context(lock.held(self.folder))
        found = resume.found(self.folder, self.runs, self.about, self._say)
        if vmapped:
            found = resume.with_companions(self.folder, self.runs, found)
        for name, past in found.items():
            checkpoint.settle(self.folder / name, past)
        for run in self.runs:
            past = found.get(run.name)
            ended = past and (past.epoch == run.epochs or past.diverged)
            if not ended or checkpoint.read_config(self.folder / run.name)[0] != run:
                checkpoint.write_config(self.folder / run.name, run, self.about)
        groups = dict.fromkeys(past.together for past in found.values())
        places = {together: i for i, together in enumerate(groups)}
        runs = {name: [past.epoch, bool(past.diverged), places[past.together]] for name, past in found.items()}
        return {"lock": lock.content(self.folder), "runs": runs, "groups": [*groups]}

    def _begin(self, told: dict[str, Any]) -> None:
        """What the first process has found in the folder, which all must see."""

        def see() -> None:
            if lock.content(self.folder) != told["lock"]:
                raise InputError(f"{self.folder} is not the first process's; {Remedy.SHARED_FOLDER}")

        peers.all_or_none("shared", see)
        groups = [tuple(names) for names in told["groups"]]
        self.begun = {name: Begun(epoch, diverged, groups[i]) for name, (epoch, diverged, i) in told["runs"].items()}

    def _train(self, strategy: str, workers: int, on: Mesh | None, quiet: bool) -> None:
        done = {name: begun.epoch for name, begun in self.begun.items()}
        # of the runs that are trained now, what is behind them, and their reconstructions
        self.under_way: dict[str, tuple[Past, np.ndarray]] = {}
        behind = sum(done.values())
        self.how: dict[str, Any] = {"strategy": strategy, "workers": workers}
        self.how |= {"mesh": mesh.described(on), "processes": jax.process_count()} if on else {}
        self.how |= {"epochs_trained_before": behind, "epochs_trained": 0}
        stopped = {name for name, begun in self.begun.items() if begun.diverged}
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
                together={name: begun.together for name, begun in self.begun.items()},
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

        Of an epoch that is not finite only that is kept, in the checkpoint before it. Of several processes one keeps.
        """
        if not report.keeps or report.state is None:
            return
        run, folder = report.run, self.folder / report.run.name
        past, earlier = self.under_way.pop(run.name, (None, None))
        if past is None and run.name in self.begun:
            kept = checkpoint.read(folder, self.begun[run.name].epoch)
            past, earlier = kept.past, kept.reconstructions
        mark = None if report.diverged is None else Divergence(report.epoch, report.diverged)
        if mark and past:
            progress = checkpoint.read(folder, past.epoch)._replace(diverged=mark)
        else:
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
        if progress.epoch < run.epochs and not mark:
            self.under_way[run.name] = progress.past, progress.reconstructions

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

    def _load(self, config: RunConfig) -> Run:
        return load(self.folder / config.name)

    def _outcomes(self) -> tuple[list[Outcome], dict[str, Run]]:
        """What came of each run; and the runs by name, if they are few enough to be held."""
        outcomes, held = [], {}
        for config in self.runs:
            run = self._load(config)
            outcomes.append(run.outcome)
            if len(self.runs) <= grids.ALL:
                held[config.name] = run
        return outcomes, held

    def _read_digits(self, outcomes: list[Outcome], names: Collection[str], held: dict[str, Run]) -> dict[str, Any]:
        """What a classifier trained on the same images reads in the test split, and in the reconstructions of some
        runs. Of the models no more are loaded at a time than cores read in."""
        where = "all reconstructions" if len(names) == len(outcomes) else f"reconstructions of {len(names)} runs"
        self.console.print(f"reading the digits in {where}, with a classifier trained on the originals")
        images, labels = self.seen.test_images, self.seen.test_labels
        reader = evaluation.reader(evaluation.as_seen(self.dataset, self.runs[0]))
        own = np.asarray(classifier.read(reader, jnp.asarray(images)))
        how = {"epochs": classifier.EPOCHS, "accuracy": float((own == labels).mean()), "test_images": len(labels)}

        def told(outcome: Outcome) -> dict[str, Any]:
            run = held.get(outcome.config.name) or self._load(outcome.config)
            return {**evaluation.digits(run, reader, images, labels), **results.divergence(outcome)}

        chosen = [outcome for outcome in outcomes if outcome.config.name in set(names)]
        with ThreadPoolExecutor(len(machine.cores())) as pool:
            found = dict(zip((outcome.config.name for outcome in chosen), pool.map(told, chosen), strict=True))
        return {"classifier": how, "runs": found}


def _plain(losses: Losses | None) -> dict[str, float] | None:
    return None if losses is None else {name: float(value) for name, value in losses._asdict().items()}
