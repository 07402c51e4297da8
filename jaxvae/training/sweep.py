"""Many runs at once: runs that can share a compiled program are vmapped, the others dealt over devices or processes.

In: run configurations, a dataset, states to continue from. Out: the final states; every epoch is reported on the way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jaxvae.config import RunConfig
from jaxvae.data import Dataset, checked, held_out, split_off
from jaxvae.errors import ConfigError
from jaxvae.jax_settings import local_devices, own_settings, platform
from jaxvae.system import interrupts, machine
from jaxvae.training import engine
from jaxvae.training.checks import check, vmaps
from jaxvae.training.conditions import Probes
from jaxvae.training.devices import DeviceWorker, Epoch, TooMany, on_host
from jaxvae.training.engine import TrainState
from jaxvae.training.groups import Group, LaneRuns, grouped
from jaxvae.training.mesh import run_mesh
from jaxvae.training.processes import ProcessWorker, process_workers
from jaxvae.values import Whole, plain

POLL_SECONDS = 0.01

Place = DeviceWorker | ProcessWorker


@own_settings()
def sweep(
    runs: Sequence[RunConfig],
    dataset: Dataset,
    *,
    states: Mapping[str, TrainState] | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    **how: Any,
) -> dict[str, TrainState]:
    """Trains `runs` and returns their final states by name, as host arrays.

    Args:
        states: for a run to be continued, its state after a whole number of epochs.
        on_epoch: see `train`.
        how: the other arguments of `train`.

    Raises:
        ConfigError: see `check`.
        FaultError: see `train`.
    """
    final = dict(states or {})

    def kept(report: Epoch) -> None:
        if report.state is not None and (report.diverged is None or report.epoch == 0):
            final[report.run.name] = report.state
        on_epoch(report)

    continued = [run for run in runs if isinstance(run, RunConfig) and run.name in final]
    images = len(checked(dataset).train_images)
    epochs = {
        run.name: int(final[run.name].step)
        // engine.steps_per_epoch(run.batch_size, images - held_out(images, run.validation))
        for run in continued
    }
    ended = [run.name for run in continued if run.stopping and bool(run.stopping.stops(final[run.name].watch))]
    how["ended"] = [*how.get("ended", ()), *ended]
    train(runs, dataset, epochs=epochs, state=dict(final).__getitem__, on_epoch=kept, **how)
    return {run.name: on_host(final[run.name]) for run in runs if run.name in final}


@own_settings()
def train(
    runs: Sequence[RunConfig],
    dataset: Dataset,
    *,
    strategy: str = "auto",
    workers: Whole = 1,
    mesh: Mesh | None = None,
    epochs: Mapping[str, int] | None = None,
    state: Callable[[str], TrainState] | None = None,
    lane_runs: LaneRuns | None = None,
    ended: Collection[str] = (),
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    probes: Probes | None = None,
) -> None:
    """Trains `runs`, however many: a state stays here only while its run is trained.

    Args:
        strategy: `loop` trains each run by itself, as many at a time as there are workers or devices; `vmap` trains
            runs of one architecture, precision and batch size as one program, latent sizes padded to the largest, its
            lanes shared among the devices of the mesh, in several waves where memory asks for it; `auto` vmaps on a
            mesh that is given, and on accelerators, which no GPU has confirmed yet; else, on CPU, it loops: a
            prototype's step of five conv models took 57 ms looped and 82 ms vmapped. Data that stay on disk are
            streamed to each run by itself, so that `auto` loops.
        workers: processes to compute in, on CPU only, each with an equal share of the cores; 1 computes in this
            process. The bits of the results depend on the threads that a share has. A script that asks for more than
            one and itself defines parts of the runs, such as a network, must guard what it does by
            `if __name__ == "__main__":`, as the processes import it.
        mesh: devices, see `jaxvae.training.make_mesh`; default, all of this process along the runs. If they are of
            several processes, each of these must give the same call.
        epochs: by run to be continued, how many it has behind it.
        state: by name, that run's state after them; asked for when it is needed.
        lane_runs: for a vmapped run to be continued, the lanes of its program, as `Epoch.lane_runs` had them: with it,
            it goes on to the same bits.
        ended: names of runs that were reported to have diverged or stopped, and are not trained.
        on_epoch: called in the calling thread, in the order in which epochs end, while training goes on, under the
            settings of JAX in `jaxvae.jax_settings`. Runs of one group are reported back to back; signals are deferred
            until the last. A run whose loss or state is no longer finite is reported so once and stops there, with its
            last finite state; the others go on. So does one that stops early.
        probes: images whose reconstructions each epoch reports, [n, *shape]; or a dataset of them, of which these are
            the train and then the test split, as runs with a condition ask for; or none.

    Raises:
        ConfigError: see `check`.
        WorkerError: a worker process was ended from outside.
        PeerError: a process that shares the mesh was lost.
        DataError: data that stay on disk cannot be read, or have been changed.
    """
    workers = plain(workers)
    check(runs, dataset, strategy, workers, mesh)
    if isinstance(probes, np.ndarray) and (conditional := [run.name for run in runs if run.vae.condition is not None]):
        raise ConfigError(f"{conditional[0]} has a condition; give its probes as a dataset")
    if not runs:
        return
    dataset, validation = checked(dataset), None
    if share := runs[0].validation:
        dataset, validation = split_off(dataset, share)
        validation = runs[0].dataset_as_trained(validation)
    dataset = runs[0].dataset_to_train_on(dataset)
    vmapped, before = vmaps(strategy, mesh, dataset.on_disk), state or {}.__getitem__
    groups = grouped(runs, before, epochs or {}, vmapped, workers, lane_runs or {}, ended)
    some = sum(not group.done for group in groups)
    places = _places(workers, mesh, vmapped, some, dataset, validation, probes, runs)
    try:
        _train(groups, places, on_epoch)
    finally:
        for place in places:
            place.close()


def automatic_workers(runs: int, mesh: Mesh | None = None) -> int:
    """How many processes suit a sweep: on CPU one for each core, as long as there are runs for them, else one.

    Two single-threaded processes side by side took 0.69 to 0.90 of the time of one process with two threads for conv
    models, and 0.77 to 0.84 for linear ones (bfloat16 and float32, two cores of an AMD EPYC: Zen 5, Zen 4).
    """
    return max(1, min(len(machine.cores()), runs)) if platform() == "cpu" and mesh is None else 1


def _places(
    workers: int,
    mesh: Mesh | None,
    vmapped: bool,
    groups: int,
    dataset: Dataset,
    validation: Dataset | None,
    probes: Probes | None,
    runs: Sequence[RunConfig],
) -> list[Place]:
    if not groups:
        return []
    if workers > 1:
        return [*process_workers(workers, dataset, probes, runs, validation)]
    mesh = mesh or run_mesh(local_devices())
    meshes = [mesh] if vmapped else [run_mesh([device]) for device in mesh.devices.flat][:groups]
    return [DeviceWorker(one, dataset, probes, held_out=validation) for one in meshes]


# ── who trains what, and when ────────────────────────────────────────────────────────────────────────────────────────


def _train(groups: list[Group], places: list[Place], on_epoch: Callable[[Epoch], None]) -> None:
    """Deals the groups' epochs over the places until all are done; waves replace a group that is too large."""
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
        with interrupts.defer_signals():
            for report in reports:
                on_epoch(report)
        if not running:
            return
        place = _first_ready(running)
        group, result = running.pop(place), place.reports()
        if isinstance(result, TooMany):
            reports = []
            waiting.extend(wave for wave in group.waves(result.fit) if not wave.done)
            continue
        reports = result
        group.advance(reports)
        if reports[0].train is not None:
            pace[reports[0].run.architecture] = reports[0].seconds / len(reports)
        if not group.done:
            waiting.append(group)


def _next(
    waiting: list[Group], running: list[Group], own: Group | None, pace: Mapping[str, float], places: int
) -> Group:
    """The group to train next on a place whose last was `own`.

    A place stays with its group, as another means another program to load – unless a group that waits has as much
    before it as each place has on average: put off any longer, it would still be trained when all else has ended.
    """

    if places == 1:  # also in each of several processes, whose clocks differ and who must choose alike
        return own if own in waiting else waiting[0]

    def left(group: Group) -> float:
        run = group.runs[0]
        return (run.epochs - group.epoch) * group.working * pace.get(run.architecture, 1.0)

    longest = max(waiting, key=left)
    if left(longest) >= sum(map(left, [*waiting, *running])) / places:
        return longest
    return own if own in waiting else waiting[0]


def _first_ready(running: Mapping[Place, Group]) -> Place:
    while not (ready := [place for place in running if place.ready()]):
        time.sleep(POLL_SECONDS)
    return ready[0]
