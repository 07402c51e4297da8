"""Many runs at once: runs that can share a compiled program are vmapped, the others dealt over devices or processes.

In: run configurations, a dataset, states to continue from. Out: the final states; every epoch is reported on the way.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxvae import engine, machine
from jaxvae.config import ConfigError, RunConfig
from jaxvae.data import Dataset, binarized
from jaxvae.engine import TrainState
from jaxvae.workers import DeviceWorker, Epoch, ProcessWorker, Work, on_host, process_workers

STRATEGIES = ("auto", "vmap", "loop")
POLL_SECONDS = 0.01

Place = DeviceWorker | ProcessWorker


def sweep(
    runs: Sequence[RunConfig],
    dataset: Dataset,
    *,
    strategy: str = "auto",
    workers: int = 1,
    states: Mapping[str, TrainState] | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    probes: np.ndarray | None = None,
    devices: Sequence[Any] | None = None,
) -> dict[str, TrainState]:
    """Trains `runs` and returns their final states by name, as host arrays.

    Args:
        strategy: `loop` trains each run by itself, as many at a time as there are workers or devices; `vmap` trains
            runs of one architecture, precision and batch size as one program, latent sizes padded to the largest – a
            part of them on each worker or device, and smaller parts where memory asks for it; `auto` loops on CPU,
            where a prototype's step of five conv models took 57 ms looped and 82 ms vmapped; it vmaps elsewhere,
            which no GPU has confirmed yet.
        workers: processes to compute in, on CPU only, each with an equal share of the cores; 1 computes in this
            process. The bits of the results depend on the threads that a share has. A script that asks for more than
            one must guard what it does by `if __name__ == "__main__":`, as the processes import it.
        states: for a run to be continued, its state after a whole number of epochs.
        on_epoch: called in the calling thread, in the order in which epochs end, while training goes on.
        probes: images whose reconstructions each epoch reports, bytes [n, 28, 28]; or none.
        devices: of type `jax.Device`, for one worker; default all local ones.

    Raises:
        ConfigError: see `check`.
        WorkerError: a worker process was ended from outside.
    """
    check(runs, dataset, strategy, workers)
    dataset = binarized(dataset, runs[0].train.binarize) if runs else dataset
    vmapped = strategy == "vmap" or (strategy == "auto" and _platform(devices) != "cpu")
    parts = (workers if workers > 1 else len(devices or jax.local_devices())) if vmapped else 1
    groups = _grouped(runs, states or {}, vmapped, parts, len(dataset.train_images))
    places = _workers(workers, devices, sum(not group.done for group in groups), dataset, probes)
    try:
        _train(groups, places, on_epoch)
    finally:
        for place in places:
            place.close()
    finished = {run.name: state for group in groups for run, state in zip(group.runs, group.states, strict=True)}
    return {run.name: finished[run.name] for run in runs}


def check(runs: Sequence[RunConfig], dataset: Dataset, strategy: str, workers: int = 1) -> None:
    """Says what is wrong with a sweep before it starts.

    Raises:
        ConfigError: two runs of one name, a batch larger than the training set, binarisations that differ, an unknown
            strategy, worker processes that are fewer than one or have no CPU to work on.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
    if workers < 1:
        raise ConfigError(f"workers must be a whole number of at least 1, not {workers}")
    if workers > 1 and (platform := _platform()) != "cpu":
        raise ConfigError(f"workers must be 1 on a {platform}, which one process fills; {workers} are for a CPU")
    names = [run.name for run in runs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"two runs are named {twice[0]}: names differ in architecture, latent size, objective and seed only"
        )
    if len(kinds := sorted({run.train.binarize for run in runs})) > 1:
        raise ConfigError(f"runs of one sweep must see the same images, not binarize {' and '.join(kinds)}")
    images = len(dataset.train_images)
    for run in runs:
        if run.train.batch_size > images:
            raise ConfigError(f"batch_size {run.train.batch_size} is larger than the training set of {images} images")


def automatic_workers(runs: int) -> int:
    """How many processes suit a sweep: on CPU one for each core, as long as there are runs for them, else one.

    Two single-threaded processes side by side took 0.69 to 0.90 of the time of one process with two threads for conv
    models, and 0.77 to 0.84 for linear ones (bfloat16 and float32, two cores of an AMD EPYC: Zen 5, Zen 4).
    """
    return max(1, min(len(machine.cores()), runs)) if _platform() == "cpu" else 1


def _platform(devices: Sequence[Any] | None = None) -> str:
    return devices[0].platform if devices else jax.default_backend()


def _workers(
    count: int, devices: Sequence[Any] | None, groups: int, dataset: Dataset, probes: np.ndarray | None
) -> list[Place]:
    if count > 1:
        return [*process_workers(count, dataset, probes)] if groups else []
    return [DeviceWorker(device, dataset, probes) for device in (devices or jax.local_devices())[:groups]]


# ── who trains what, and when ────────────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass(eq=False)
class _Group:
    """Runs that go through one program, an epoch at a time."""

    runs: tuple[RunConfig, ...]
    states: tuple[TrainState, ...]  # none before epoch 0
    epoch: int  # the last one behind them; −1 before epoch 0
    vmapped: bool

    @property
    def done(self) -> bool:
        return self.epoch >= self.runs[0].epochs

    def work(self) -> Work:
        return Work(self.runs, self.states, self.epoch + 1, self.vmapped)

    def advance(self, reports: Sequence[Epoch]) -> None:
        self.states = tuple(report.state for report in reports)
        self.epoch += 1

    def halves(self) -> list[_Group]:
        middle = len(self.runs) // 2
        return [
            _Group(self.runs[half], self.states[half], self.epoch, self.vmapped)
            for half in (slice(None, middle), slice(middle, None))
        ]


def _grouped(
    runs: Sequence[RunConfig], states: Mapping[str, TrainState], vmapped: bool, parts: int, images: int
) -> list[_Group]:
    """First one of each architecture, so that the time left can soon be told; then the longest-running.

    Runs that can be vmapped together are dealt into `parts` groups.
    """
    together: dict[object, list[RunConfig]] = {}
    epoch = {
        run.name: int(states[run.name].step) // engine.steps_per_epoch(run.train, images) if run.name in states else -1
        for run in runs
    }
    first = {run.model.architecture: run.name for run in reversed(runs)}
    for run in sorted(runs, key=lambda run: (run.name not in first.values(), run.model.architecture != "conv")):
        model = dataclasses.replace(run.model, latent_dim=1)
        program = (model, run.train, run.epochs, epoch[run.name]) if vmapped else run.name
        together.setdefault(program, []).append(run)
    dealt = [members[i::parts] for members in together.values() for i in range(min(parts, len(members)))]
    return [
        _Group(
            tuple(members),
            tuple(on_host(states[run.name]) for run in members if run.name in states),
            epoch[members[0].name],
            vmapped,
        )
        for members in dealt
    ]


def _train(groups: list[_Group], places: list[Place], on_epoch: Callable[[Epoch], None]) -> None:
    """Deals the groups' epochs over the places until all are done; in `groups`, its halves replace one too large."""
    waiting = [group for group in groups if not group.done]
    running: dict[Place, _Group] = {}
    before: dict[Place, _Group] = {}  # what each place trained last
    pace: dict[str, float] = {}  # seconds an epoch, by architecture
    reports: list[Epoch] = []
    while True:
        for place in places:
            if place not in running and waiting:
                group = _next(waiting, list(running.values()), before.get(place), pace, len(places))
                waiting.remove(group)
                running[place] = before[place] = group
                place.begin(group.work())
        for report in reports:
            on_epoch(report)
        if not running:
            return
        place = _first_ready(running)
        group, reports = running.pop(place), place.reports()
        if not reports:
            groups.remove(group)
            groups.extend(halves := group.halves())
            waiting.extend(halves)
            continue
        group.advance(reports)
        if reports[0].train is not None:
            pace[reports[0].run.model.architecture] = reports[0].seconds / len(reports)
        if not group.done:
            waiting.append(group)


def _next(
    waiting: list[_Group], running: list[_Group], own: _Group | None, pace: Mapping[str, float], places: int
) -> _Group:
    """The group to train next on a place whose last was `own`.

    A place stays with its group, as another means another program to load – unless a group that waits has as much
    before it as each place has on average: put off any longer, it would still be trained when all else has ended.
    """

    def left(group: _Group) -> float:
        run = group.runs[0]
        return (run.epochs - group.epoch) * len(group.runs) * pace.get(run.model.architecture, 1.0)

    longest = max(waiting, key=left)
    if left(longest) >= sum(map(left, [*waiting, *running])) / places:
        return longest
    return own if own in waiting else waiting[0]


def _first_ready(running: Mapping[Place, _Group]) -> Place:
    while True:
        for place in running:
            if place.ready():
                return place
        time.sleep(POLL_SECONDS)
