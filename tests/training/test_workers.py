import dataclasses
import importlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxvae.errors import ConfigError, WorkerError
from jaxvae.training import checks, compiled, devices, processes, run_mesh
from jaxvae.training.devices import DeviceWorker, Work
from jaxvae.training.groups import grouped
from jaxvae.training.processes import ProcessWorker
from jaxvae.training.sweep import automatic_workers, sweep
from tests.classic import classic
from tests.command_line import ROOT

SHAPE = (28, 28)
sweep_module = importlib.import_module("jaxvae.training.sweep")  # the package offers the function of that name


def config(architecture="linear", latent_dim=2, **changes):
    return classic(architecture, latent_dim, **{"batch_size": 10, "epochs": 2} | changes)


def compiled_epoch(run, latent_dim, lanes, small):
    program = compiled.abstract(run.program(SHAPE, latent_dim=latent_dim))
    return compiled.train_epoch(program, lanes, small.train_images.shape, np.uint8, ONE)


def arrays(state):
    return jax.tree.map(np.array, state._replace(key=jax.random.key_data(state.key)))


def same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, arrays(a), arrays(b))


ONE = run_mesh(jax.local_devices()[:1])
RUNS = [config(latent_dim=d, seed=seed) for d in (2, 3) for seed in (0, 1)]


@pytest.fixture(scope="module")
def by_two(small):
    """What two worker processes make of `RUNS`, and what they report."""
    reports = {}
    probes = small.test_images[:4]
    states = sweep(
        RUNS, small, workers=2, probes=probes, on_epoch=lambda e: reports.setdefault((e.run.name, e.epoch), e)
    )
    return states, reports


@pytest.mark.slow
def test_worker_processes_train_the_models_that_one_process_trains(small, by_two):
    states, reports = by_two
    alone = {}
    one = sweep(
        RUNS, small, probes=small.test_images[:4], on_epoch=lambda e: alone.setdefault((e.run.name, e.epoch), e)
    )
    assert reports.keys() == alone.keys() == {(run.name, e) for run in RUNS for e in range(3)}
    for key, report in reports.items():
        np.testing.assert_allclose(report.test[:3], alone[key].test[:3], rtol=1e-4)
        assert report.reconstructions.shape == (4, 28, 28)
        assert np.abs(report.reconstructions.astype(int) - alone[key].reconstructions).max() <= 1
    for name, state in states.items():
        assert int(state.step) == int(one[name].step) == 12
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3),
            arrays(state).params, arrays(one[name]).params,
        )  # fmt: skip


@pytest.mark.slow
def test_the_same_number_of_processes_gives_the_same_bits_also_after_a_stop(small, by_two):
    half = {}
    sweep([dataclasses.replace(run, epochs=1) for run in RUNS[:2]], small, workers=2,
          on_epoch=lambda e: half.update({e.run.name: e.state}))  # fmt: skip
    again = sweep(RUNS, small, workers=2, states=half)
    for name, state in by_two[0].items():
        same_bits(state, again[name])


@pytest.mark.slow
def test_reported_states_stay_as_they_were_while_training_goes_on(small):
    """Their memory must not be that which the next epoch's program takes for its own."""
    for strategy in ("loop", "vmap"):
        kept = []
        sweep([config(epochs=3)], small, strategy=strategy,
              on_epoch=lambda e, kept=kept: kept.append((e.state, arrays(e.state))))  # fmt: skip
        given = {config().name: kept[1][0]}
        sweep([config(epochs=3)], small, strategy=strategy, states=given)
        for state, then in [*kept, (given[config().name], kept[1][1])]:
            jax.tree.map(np.testing.assert_array_equal, arrays(state), then)


def on_first_device(small):
    return DeviceWorker(ONE, small, small.test_images[:2])


def test_an_epoch_is_one_program_without_a_transfer_that_takes_over_the_states_memory(small):
    worker, run = on_first_device(small), config()
    worker.begin(Work((run,), {}.__getitem__, 0, None))
    worker.begin(Work((run,), {run.name: worker.reports()[0].state}.__getitem__, 1, None))
    numbers, state = worker._on_devices(compiled.abstract(run.program(SHAPE)))
    program = compiled_epoch(run, 2, None, small)
    with jax.transfer_guard("disallow_explicit"):
        state, *_ = program(numbers, state, worker._train_images, None)
        with pytest.raises(Exception, match=r"[Dd]isallowed"):
            jax.device_put(np.ones(3))
    bytes_of_state = sum(leaf.nbytes for leaf in jax.tree.leaves((state.params, state.opt_state)))
    assert program.memory_analysis().alias_size_in_bytes >= bytes_of_state


@pytest.mark.slow
def test_a_group_too_large_for_the_memory_is_trained_in_waves_that_share_a_program(small, monkeypatch):
    runs = [*RUNS, config(latent_dim=3, seed=2)]
    whole = sweep(runs, small, strategy="vmap", mesh=ONE)
    expected = compiled.bytes_expected(compiled.abstract(RUNS[0].program(SHAPE, latent_dim=3)))
    seen, lanes = [], []
    begin, train_epoch = DeviceWorker.begin, compiled.train_epoch
    monkeypatch.setattr(DeviceWorker, "begin", lambda self, work: (seen.append(len(work.runs)), begin(self, work)))
    monkeypatch.setattr(compiled, "train_epoch", lambda *a: (lanes.append(a[1]), train_epoch(*a))[1])
    monkeypatch.setattr(devices, "_free_memory", lambda *_: int(3.5 * expected))
    parts = sweep(runs, small, strategy="vmap", mesh=ONE)
    assert seen == [5, 3, 3, 3, 2, 2, 2]
    assert set(lanes) == {3}
    for name, state in whole.items():
        np.testing.assert_allclose(
            state.params["decoder"]["pixels"]["bias"], parts[name].params["decoder"]["pixels"]["bias"], atol=1e-5
        )


@pytest.mark.slow
def test_an_estimate_of_memory_that_was_too_low_is_mended_by_what_the_program_needs(small, monkeypatch):
    monkeypatch.setattr(compiled, "bytes_expected", lambda program: 1)
    program = compiled_epoch(RUNS[2], 3, 4, small)
    monkeypatch.setattr(devices, "_free_memory", lambda *_: int(0.6 * compiled.bytes_needed(program)))
    sizes, begin = [], DeviceWorker.begin
    monkeypatch.setattr(DeviceWorker, "begin", lambda self, work: (sizes.append(len(work.runs)), begin(self, work)))
    sweep(RUNS, small, strategy="vmap", mesh=ONE)
    assert sizes[0] == 4
    assert set(sizes[1:]) == {2}
    monkeypatch.setattr(devices, "_free_memory", lambda *_: 1)
    sizes.clear()
    sweep(RUNS[:2], small, strategy="vmap", mesh=ONE)
    assert sizes[-1] == 1  # a run by itself is tried in any case


@pytest.mark.slow
def test_what_is_expected_of_memory_is_no_less_than_what_a_program_needs(small):
    for architecture in ("linear", "conv"):
        run = config(architecture, 3)
        needed = compiled.bytes_needed(compiled_epoch(run, 3, 2, small)) / 2
        assert needed <= compiled.bytes_expected(compiled.abstract(run.program(SHAPE))) < 5 * needed


def test_vmapped_runs_are_dealt_over_all_worker_processes():
    runs = [config(architecture, d) for architecture in ("linear", "conv") for d in (2, 3, 5)]
    groups = grouped(runs, {}.__getitem__, {}, True, 2, {}, ())
    assert sorted(len(group.runs) for group in groups) == [1, 1, 2, 2]
    assert {run for group in groups for run in group.runs} == set(runs)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_told_from_one_that_goes_wrong(small):
    worker = ProcessWorker([0], small, None, 2**30)
    try:
        worker.begin(Work((config(),), {config().name: np.zeros(1)}.__getitem__, 1, None))
        with pytest.raises(AttributeError) as wrong:
            worker.reports()
        assert "in a worker process:\nTraceback" in "".join(wrong.value.__notes__)
        worker._process.kill()
        worker._process.join()
        with pytest.raises(WorkerError, match=r"signal 9 \(SIGKILL\).*out of memory"):
            worker.begin(Work((config(),), {}.__getitem__, 0, None))
    finally:
        worker.close()


PROGRAM = """
import numpy as np
from flax import linen as nn
from jaxvae.models import MLP, StandardNormal
from jaxvae.parts import part
from jaxvae.training import sweep
from tests.blobs import small
from tests.classic import classic

@part("prior/own")
class OwnPrior(StandardNormal):
    pass

import dataclasses
run = classic(hidden=(2,), batch_size=20, epochs=1)
own = dataclasses.replace(run, vae=dataclasses.replace(run.vae, prior=OwnPrior()))

def work(run):
    runs = [run, dataclasses.replace(run, seed=1)]
    print("trained", len(sweep(runs, small(), workers=2)))

"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "from_file", "says"),
    [
        ("work(run)", True, "trained 2"),
        ("work(run)", False, "trained 2"),
        ("work(own)", True, r'.*ConfigError: .* put what it does under `if __name__ == "__main__":`'),
        ("work(own)", False, ".*ConfigError: workers must be 1, as worker processes cannot find .* standard input.*"),
    ],
    ids=["a script", "standard input", "a script with a part", "standard input with a part"],
)  # fmt: skip
def test_programs_of_every_kind_have_workers_or_are_told_why_not(call, from_file, says, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM + call)
    command = [sys.executable, path if from_file else "-"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with path.open() as program:
        ended = subprocess.run(command, stdin=program, capture_output=True, text=True, env=environment, timeout=100)
    said = (ended.stdout or ended.stderr).strip().splitlines()
    assert re.fullmatch(says, said[-1]), ended.stderr
    assert ended.returncode == ("Error" in says)


@pytest.mark.slow
def test_workers_end_whatever_happens_to_the_sweep(small):
    def stop(report):
        raise KeyboardInterrupt

    before = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt):
        sweep([config(), config(seed=1)], small, workers=2, on_epoch=stop)
    assert set(multiprocessing.active_children()) == before


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
def test_each_worker_keeps_to_its_share_of_the_cores_and_hears_no_interrupt(small, monkeypatch):
    monkeypatch.setattr(processes.machine, "cores", lambda: [0, 1])
    places = processes.process_workers(2, small, None)
    try:
        for place, core in zip(places, (0, 1), strict=True):
            os.kill(place._process.pid, signal.SIGINT)
            place.begin(Work((config(),), {}.__getitem__, 0, None))
            assert len(place.reports()) == 1
            assert os.sched_getaffinity(place._process.pid) == {core}
    finally:
        for place in places:
            place.close()


@pytest.mark.parametrize("places", [1, 2, 3])
@pytest.mark.parametrize("costs", [{"conv": 9.0, "linear": 1.0}, {"conv": 1.0, "linear": 1.0}])
def test_places_end_together(places, costs, monkeypatch, small):
    """Played through on a clock: the end comes within two epochs of what the work and its longest run allow."""
    runs = [config(a, d, epochs=15) for a in ("linear", "conv") for d in (2, 3, 5, 10, 50)]
    clock = [0.0]

    class Played(DeviceWorker):
        def __init__(self):
            """Needs no device."""

        def begin(self, work):
            self.work, self.end = work, clock[0] + (costs[work.runs[0].architecture] if work.epoch else 0.0)
            self.seconds = self.end - clock[0]

        def reports(self):
            (run,) = self.work.runs
            clock[0] = self.end
            trained = self.work.epoch or None
            return [devices.Epoch(run, self.work.epoch, None, trained, None, None, self.seconds)]

    monkeypatch.setattr(sweep_module, "_first_ready", lambda running: min(running, key=lambda place: place.end))
    groups = grouped(runs, {}.__getitem__, {}, False, 1, {}, ())
    sweep_module._train(groups, [Played() for _ in range(places)], lambda e: None)
    total = sum(15 * costs[run.architecture] for run in runs)
    assert clock[0] <= max(total / places, 15 * costs["conv"]) + 2 * costs["conv"]


@pytest.mark.parametrize("workers", [0, -1])
def test_impossible_numbers_of_workers_are_refused(workers, small):
    with pytest.raises(ConfigError, match="workers must be"):
        sweep([config()], small, workers=workers)


def test_processes_are_for_cpus(small, monkeypatch):
    for module in (checks, sweep_module):
        monkeypatch.setattr(module, "platform", lambda: "gpu")
    with pytest.raises(ConfigError, match="workers must be 1 on a gpu"):
        sweep([config()], small, workers=2)
    assert automatic_workers(10) == 1


def test_automatic_workers_are_as_many_as_cores_or_runs(monkeypatch):
    monkeypatch.setattr(sweep_module.machine, "cores", lambda: [0, 1, 2, 3])
    assert [automatic_workers(runs) for runs in (1, 3, 10)] == [1, 3, 4]
