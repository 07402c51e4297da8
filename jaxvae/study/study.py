"""A sweep with a folder: trains what is missing, keeps every epoch, and writes the results.

In: run configurations, a dataset and a folder. Out: the folder, complete, and a summary on the console.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxvae import results, training
from jaxvae.config import RunConfig
from jaxvae.data import Dataset, checked
from jaxvae.errors import ConfigError, InputError, Remedy, quoted
from jaxvae.jax_settings import own_settings
from jaxvae.runs import Divergence, Past, Progress, checkpoint, history_entry, run_folder
from jaxvae.study import resume
from jaxvae.study.outputs import Outputs
from jaxvae.study.progress import Display
from jaxvae.system import as_path, console, lock, machine
from jaxvae.training import Epoch, distributed
from jaxvae.values import Whole, plain

FOLDER = re.compile(r"[\w.=+-]{1,200}")  # of 255 that file systems allow; files have it with something before and after


class Study:
    """The runs of one folder."""

    def __init__(self, folder: str | os.PathLike, runs: Iterable[RunConfig], dataset: Dataset):
        runs = list(runs)
        if not runs or not all(isinstance(run, RunConfig) for run in runs):
            raise ConfigError("a study needs a list of at least one RunConfig")
        if wrong := [run.name for run in runs if not FOLDER.fullmatch(run.name)]:
            allowed = "at most 200 letters, digits and . _ = + -"
            raise ConfigError(f"a run's folder has its name, of {allowed}, not {quoted(wrong[0])}")
        self.folder, self.runs, self.dataset = as_path(folder), runs, checked(dataset)
        self.about = results.about(self.dataset)
        self.probe_dataset = results.probe_dataset(runs[0].dataset_as_trained(self.dataset))
        self.probe_shape = (2, *self.probe_dataset.train_images.shape)  # [split, image, *shape]
        self.console = console(quiet=not distributed.first())
        self.outputs = Outputs(self.folder, self.runs, self.dataset, self.about, self.console)

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
        with lock.hold(self.folder):
            free = (self.folder.with_name(f"{self.folder.name}.before-{i}") for i in itertools.count(1))
            target = next(path for path in free if not path.exists())
            self.folder.rename(target)
            lock.remove(target)
            self._say(f"moved {self.folder} to {target}")

    # ── training ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @own_settings()
    def train(
        self,
        strategy: str = "auto",
        workers: Whole = 1,
        *,
        mesh: Mesh | None = None,
        fresh: bool = False,
        quiet: bool = False,
        pages: bool = True,
    ) -> None:
        """Brings every run to its number of epochs, from where the folder has it, or `fresh` from the beginning.

        Of several processes, all of which must see the folder, the first one prepares it; each writes the checkpoints
        of the runs that its devices have.

        Args:
            strategy, workers, mesh: see `jaxvae.training.train`.
            fresh: moves an existing folder aside first.
            quiet: without a display of the progress.
            pages: whether curves and a page of the runs that have ended are written on the way.

        Raises:
            InputError: another process writes into the folder; it cannot be written to, or is not shared; see also
                `jaxvae.study.resume.past_of_runs`.
            ConfigError: see `jaxvae.training.check`.
            FaultError: a worker process was ended from outside, another process of several was lost, the disk is full,
                the folder is no longer there. What was finished is kept.
        """
        workers = plain(workers)
        if run := run_folder.run_around(self.folder):
            raise InputError(f"{self.folder} belongs to the run {run}; choose the folder of its sweep, {run.parent}")
        if distributed.several() and mesh is None:
            mesh = training.make_mesh("auto")
        distributed.all_or_none("check", lambda: training.check(self.runs, self.dataset, strategy, workers, mesh))
        self._check_equal(strategy, mesh)
        with contextlib.ExitStack() as locks, machine.storage(self.folder):
            vmapped = training.vmaps(strategy, mesh, self.dataset.on_disk)
            self._begin(distributed.broadcast_from_first("folder", lambda: self._prepare(locks, fresh, vmapped)))
            self._train(strategy, workers, mesh, quiet, pages)
            distributed.barrier("trained")  # before anybody reads what all have saved, or lets go of the lock

    def _check_equal(self, strategy: str, mesh: Mesh | None) -> None:
        """Of several processes, all must train the same runs on the same data, in the same programs."""
        text = json.dumps([run.to_json() for run in self.runs])
        distributed.check_equal("study", {
            "runs": hashlib.sha256(text.encode()).hexdigest(),
            "data": self.dataset.fingerprint,
            "meshes": mesh and [training.layout_of(mesh), *(device.id for device in mesh.devices.flat)],
            "strategies": training.vmaps(strategy, mesh, self.dataset.on_disk),
            "versions": self.about["versions"],
        })  # fmt: skip

    def _prepare(self, locks: contextlib.ExitStack, fresh: bool, vmapped: bool) -> dict[str, Any]:
        """Makes the folder say what is going to be trained, after checking that it agrees with what has been; returns
        what `_begin` needs of it."""
        if fresh and self.folder.exists():
            self._move_aside()
        locks.enter_context(lock.hold(self.folder))
        past = resume.past_of_runs(self.folder, self.runs, self.about, self._say)
        if vmapped:
            past = resume.with_companions(self.folder, self.runs, past)
        for name, own in past.items():
            checkpoint.settle(self.folder / name, own)
        for run in self.runs:
            own = past.get(run.name)
            ended = own and (own.epoch == run.epochs or own.ended)
            if not ended or not self._has_config(run):
                run_folder.write_config(self.folder / run.name, run, self.about)
        groups: dict[tuple[str, ...], list[str]] = {}
        for name, own in past.items():
            groups.setdefault(own.lane_runs, []).append(name)
        return {
            "lock": lock.content(self.folder), "epochs": {name: own.epoch for name, own in past.items()},
            "ended": [name for name, own in past.items() if own.ended], "groups": [*groups.items()],
        }  # fmt: skip

    def _has_config(self, run: RunConfig) -> bool:
        """Whether the run's folder says this of it, in whatever format, and who chose the precision does not matter."""
        there, _ = run_folder.read_config(self.folder / run.name)
        return (there.name, there.epochs) == (run.name, run.epochs)

    def _begin(self, state: dict[str, Any]) -> None:
        """Takes over the state of the folder as the first process has read it, if this process sees the same folder."""

        def check_shared() -> None:
            if lock.content(self.folder) != state["lock"]:
                raise InputError(f"{self.folder} is not the first process's; {Remedy.SHARED_FOLDER}")

        distributed.all_or_none("shared", check_shared)
        self.epochs: dict[str, int] = state["epochs"]  # of each run that is continued, how many it has behind it
        self.ended = frozenset(state["ended"])  # diverged, or stopped early
        self.lane_runs: dict[str, tuple[str, ...]] = {}
        for lanes, names in state["groups"]:
            self.lane_runs |= dict.fromkeys(names, tuple(lanes))

    def _train(self, strategy: str, workers: int, mesh: Mesh | None, quiet: bool, pages: bool) -> None:
        # the past of each run that is being trained, and its reconstructions
        self.under_way: dict[str, tuple[Past, np.ndarray]] = {}
        behind = sum(self.epochs.values())
        self.how: dict[str, Any] = {"strategy": strategy, "workers": workers}
        self.how |= {"mesh": training.layout_of(mesh), "processes": jax.process_count()} if mesh else {}
        self.how |= {"epochs_trained_before": behind, "epochs_trained": 0}
        if not quiet:
            self._print_head(workers, mesh, behind)
        left = [run for run in self.runs if run.name not in self.ended]
        shown = console(quiet=True) if quiet else self.console
        self.outputs.begin(self.epochs, self.ended)
        with Display(shown, left, self.epochs, len(self.dataset.train_images)) as display:

            def on_epoch(report: Epoch) -> None:
                self._save(report)
                self.how["epochs_trained"] += report.epoch > 0
                display.epoch(report)
                if pages and not distributed.several():  # where others save the runs that they train
                    self.outputs.epoch(report, self.how)

            training.train(
                self.runs,
                self.dataset,
                strategy=strategy,
                workers=workers,
                mesh=mesh,
                epochs=self.epochs,
                state=lambda name: checkpoint.read(self.folder / name, self.epochs[name]).state,
                lane_runs=self.lane_runs,
                ended=self.ended,
                on_epoch=on_epoch,
                probes=self.probe_dataset,
            )

    def _print_head(self, workers: int, mesh: Mesh | None, behind: int) -> None:
        device, total = self.about["device"], sum(run.epochs for run in self.runs)
        places = f"{device['count']} × {device['kind']}" if workers == 1 else f"{workers} worker processes"
        if mesh:
            of = f" of {jax.process_count()} processes" if distributed.several() else ""
            places = f"a mesh {training.layout_of(mesh)} of {mesh.size} × {device['kind']}{of}"
        count, data = len(self.runs), results.caption(self.about["dataset"], self.runs)
        head = f"{count} run{'s' if count > 1 else ''} of {data} on {places}"
        going_on = f", going on after {behind} of {total} epochs" if self.epochs else ""
        self.console.print(f"{head}{going_on}; writing {self.folder}/")
        self.console.print(results.precisions(self.runs))
        if words := training.streaming.in_words(self.dataset):
            self.console.print(words)

    def _save(self, report: Epoch) -> None:
        """Makes the epoch permanent: once this returns, an interrupted study goes on from here.

        Of an epoch that is not finite only that is saved, in the checkpoint before it. Of several processes one saves.
        """
        if not report.keeps or report.state is None:
            return
        run, folder = report.run, self.folder / report.run.name
        past, earlier = self.under_way.pop(run.name, (None, None))
        if past is None and run.name in self.epochs:
            latest = checkpoint.read(folder, self.epochs[run.name])
            past, earlier = latest.past, latest.reconstructions
        mark = None if report.diverged is None else Divergence(report.epoch, report.diverged)
        if mark and past:
            progress = checkpoint.read(folder, past.epoch)._replace(diverged=mark)
        else:
            pictures = np.reshape(report.reconstructions, self.probe_shape)[None]  # type: ignore[arg-type]
            entry = history_entry(report)
            history = [*past.history, entry] if past else [entry]
            images = pictures if earlier is None else np.concatenate([earlier, pictures])
            progress = Progress(report.state, history, images, mark, report.lane_runs)
        checkpoint.save(folder, progress)
        if progress.epoch < run.epochs and not progress.past.ended:
            self.under_way[run.name] = progress.past, progress.reconstructions

    # ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @own_settings()
    def write(self, wall_seconds: float) -> None:
        """Tables, claims, figures and the page from the runs' folders; prints them.

        Raises:
            CheckpointError: a run's folder is damaged.
            StorageError: the disk is full or refuses.
        """
        with lock.hold(self.folder), machine.storage(self.folder):
            how = self.how | {"wall_seconds": round(wall_seconds, 1)}
            all_results, figures, page = self.outputs.write(how)
        for table in results.summary(all_results):
            self.console.print(table)
        example = json.dumps(str(self.folder / self.runs[-1].name), ensure_ascii=False)
        self._say(f"\n{len(figures)} figures in {self.folder / 'figures'}/, losses in metrics.csv beside it")
        if all_results.too_many:
            shown = len(all_results.runs_to_plot)
            self._say(f"pictures and models of {shown} of {len(self.runs):,} runs: {results.PLOTTED}")
        self._say(f"an interactive page, with the models in it: {page}")
        self._say(f"load a model:  import jaxvae; run = jaxvae.load({example})")
