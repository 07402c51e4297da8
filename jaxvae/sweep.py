"""Many runs at once: runs that can share a compiled program are vmapped, the others dealt over devices or processes.

In: run configurations, a dataset, states to continue from. Out: the final states; every epoch is reported on the way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxvae import engine, interrupts, machine
from jaxvae.config import LONGEST, ConfigError, RunConfig, is_whole, shown
from jaxvae.data import Dataset, binarized, checked
from jaxvae.engine import TrainState
from jaxvae.groups import Group, Together, grouped
from jaxvae.workers import DeviceWorker, Epoch, ProcessWorker, process_workers

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
    together: Together | None = None,
    diverged: Collection[str] = (),
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
        together: for a vmapped run to be continued, the names of those that were in its program, as `Epoch.together`
            told: with them it goes on to the same bits.
        diverged: names of runs that were reported to have diverged, and are not trained.
        on_epoch: called in the calling thread, in the order in which epochs end, while training goes on; for the
            epochs that end together without a signal to stop in between. A run whose loss or state is not finite
            any more is reported so once and stops there, with its last finite state; the others go on.
        probes: images whose reconstructions each epoch reports, bytes [n, 28, 28]; or none.
        devices: of type `jax.Device`, for one worker; default all local ones.

    Raises:
        ConfigError: see `check`.
        WorkerError: a worker process was ended from outside.
    """
    check(runs, dataset, strategy, workers)
    dataset = binarized(dataset, runs[0].train.binarize) if runs else dataset
    vmapped = vmaps(strategy, devices)
    parts = (workers if workers > 1 else len(devices or jax.local_devices())) if vmapped else 1
    states, images = states or {}, len(dataset.train_images)
    epochs = {
        run.name: int(states[run.name].step) // engine.steps_per_epoch(run.train, images)
        for run in runs
        if run.name in states
    }
    groups = grouped(runs, states, epochs, vmapped, parts, together or {}, diverged)
    places = _workers(workers, devices, sum(not group.done for group in groups), dataset, probes)
    try:
        _train(groups, places, on_epoch)
    finally:
        for place in places:
            place.close()
    finished = {name: state for group in groups for name, state in group.states.items()}
    return {run.name: finished[run.name] for run in runs}


def check(runs: Sequence[RunConfig], dataset: Dataset, strategy: str, workers: int = 1) -> None:
    """Says what is wrong with a sweep before it starts.

    Raises:
        ConfigError: two runs of one name, a batch larger than the training set, more steps than are counted,
            binarisations that differ, an unknown strategy, worker processes that are fewer than one, more than the
            cores could serve, or have no CPU to work on.
        DataError: see `jaxvae.data.checked`.
    """
    if not isinstance(strategy, str) or strategy not in STRATEGIES:
        raise ConfigError(f"strategy must be one of {', '.join(STRATEGIES)}, not {shown(strategy)}")
    if not is_whole(workers, at_least=1):
        raise ConfigError(f"workers must be a whole number of at least 1, not {shown(workers)}")
    if workers > (most := 2 * len(machine.cores())):
        raise ConfigError(f"workers must be at most {most}, two for each core, not {shown(workers)}")
    if workers > 1 and (platform := _platform()) != "cpu":
        raise ConfigError(f"workers must be 1 on a {platform}, which one process fills; {workers} are for a CPU")
    if wrong := [run for run in runs if not isinstance(run, RunConfig)]:
        raise ConfigError(f"runs must be of type RunConfig, not {shown(wrong[0])}")
    names = [run.name for run in runs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"two runs are named {twice[0]}: names differ in architecture, latent size, objective and seed only"
        )
    if len(kinds := sorted({run.train.binarize for run in runs})) > 1:
        raise ConfigError(f"runs of one sweep must see the same images, not binarize {' and '.join(kinds)}")
    images = len(checked(dataset).train_images)
    for run in runs:
        if run.train.batch_size > images:
            raise ConfigError(f"batch_size {run.train.batch_size} is larger than the training set of {images} images")
        if run.epochs * engine.steps_per_epoch(run.train, images) >= LONGEST:
            raise ConfigError(f"{run.epochs} epochs are more than {LONGEST} steps, which cannot be counted")


def vmaps(strategy: str, devices: Sequence[Any] | None = None) -> bool:
    """Whether runs that can be are trained as one program."""
    return strategy == "vmap" or (strategy == "auto" and _platform(devices) != "cpu")


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


def _train(groups: list[Group], places: list[Place], on_epoch: Callable[[Epoch], None]) -> None:
    """Deals the groups' epochs over the places until all are done; in `groups`, its halves replace one too large."""
    waiting = [group for group in groups if not group.done]
    running: dict[Place, Group] = {}
    before: dict[Place, Group] = {}  # what each place trained last
    pace: dict[str, float] = {}  # seconds an epoch, by architecture
    reports: list[Epoch] = []
    while True:
        for place in places:
            if place not in running and waiting:
                group = _next(waiting, list(running.values()), before.get(place), pace, len(places))
                waiting.remove(group)
                running[place] = before[place] = group
                place.begin(group.work())
        with interrupts.deferred():
            for report in reports:
                on_epoch(report)
        if not running:
            return
        place = _first_ready(running)
        group, reports = running.pop(place), place.reports()
        if not reports:
            groups.remove(group)
            groups.extend(halves := group.halves())
            waiting.extend(half for half in halves if not half.done)
            continue
        group.advance(reports)
        if reports[0].train is not None:
            pace[reports[0].run.model.architecture] = reports[0].seconds / len(reports)
        if not group.done:
            waiting.append(group)


def _next(
    waiting: list[Group], running: list[Group], own: Group | None, pace: Mapping[str, float], places: int
) -> Group:
    """The group to train next on a place whose last was `own`.

    A place stays with its group, as another means another program to load – unless a group that waits has as much
    before it as each place has on average: put off any longer, it would still be trained when all else has ended.
    """

    def left(group: Group) -> float:
        run = group.runs[0]
        return (run.epochs - group.epoch) * group.working * pace.get(run.model.architecture, 1.0)

    longest = max(waiting, key=left)
    if left(longest) >= sum(map(left, [*waiting, *running])) / places:
        return longest
    return own if own in waiting else waiting[0]


def _first_ready(running: Mapping[Place, Group]) -> Place:
    while True:
        for place in running:
            if place.ready():
                return place
        time.sleep(POLL_SECONDS)
