"""Lanes shared among devices along one axis, a run's batch along the other."""

import dataclasses
from collections import Counter
from typing import ClassVar

import jax
import jax.monitoring
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from jaxvae import parts
from jaxvae.errors import ConfigError
from jaxvae.objectives import ELBO
from jaxvae.training import compiled, engine
from jaxvae.training.mesh import DATA, layout_of, make_mesh, run_mesh
from jaxvae.training.sweep import check, sweep, vmaps
from tests.classic import classic

SHAPE = (28, 28)
ONE, TWO = run_mesh(jax.local_devices()[:1]), run_mesh(jax.local_devices()[:2])
SHARED = make_mesh("data=2")


def runs(count, **changes):
    return [classic("linear", 2, **{"hidden": (8,), "batch_size": 10, "epochs": 2, "seed": s} | changes)
            for s in range(count)]  # fmt: skip


@parts.part("objective/of-tests-mesh-coupled")
class Coupled(ELBO):
    """The ELBO, said to depend on the batch."""

    coupled: ClassVar[bool] = True


def trained(configs, dataset, mesh):
    reports = []
    states = sweep(configs, dataset, mesh=mesh, on_epoch=reports.append)
    return states, {(report.run.name, report.epoch): report for report in reports}


@pytest.mark.parametrize(
    ("layout", "runs", "data"),
    [
        ("auto", 6, 1),
        ("runs=4", 4, 1),
        ("runs=3,data=2", 3, 2),
        ("data=2,runs=3", 3, 2),
        ("data=6", 1, 6),
        ("data=1", 1, 1),
    ],
)
def test_a_layout_is_what_it_says(layout, runs, data):
    devices = jax.local_devices()[:1] * 6
    mesh = make_mesh(layout, devices)
    assert mesh.devices.shape == (runs, data)
    assert make_mesh(layout_of(mesh), devices) == mesh


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        ("runs=7", "needs 7 devices, and there are 6 cpu devices; JAX_NUM_CPU_DEVICES"),
        ("runs=4,data=2", "needs 8 devices"),
        *((wrong, "mesh must be auto or such as") for wrong in
          ("", "runs", "runs=0", "runs=-1", "runs=2,runs=3", "runs=2,", ",data=2", "runs=2data=2", "lanes=2", "8",
           "runs=1e3", "runs=٣", "runs=99999999")),
    ],
)  # fmt: skip
def test_other_layouts_are_refused(layout, says):
    with pytest.raises(ConfigError, match=says):
        make_mesh(layout, jax.local_devices()[:1] * 6)


def test_no_process_is_left_without_a_device():
    class Device:
        platform = "cpu"

        def __init__(self, process):
            self.process_index = process

    devices = [Device(0), Device(0), Device(1), Device(1)]
    with pytest.raises(ConfigError, match="leaves process 1 without a device; there are 4"):
        make_mesh("runs=2", devices)
    assert make_mesh("runs=3", devices).size == 3


@pytest.mark.parametrize(
    ("configs", "strategy", "workers", "mesh", "says"),
    [
        (runs(1, batch_size=15), "auto", 1, SHARED, "batch_size 15 cannot be shared equally along data=2"),
        ([dataclasses.replace(runs(1)[0], objective=Coupled())], "auto", 1, SHARED, "couples a batch, which cannot be"),
        (runs(1), "loop", 1, SHARED, "strategy loop gives each run a device"),
        (runs(1), "auto", 2, TWO, "workers must be 1 on a mesh"),
        (runs(1), "auto", 1, Mesh(np.array(jax.local_devices()[:1]), ("x",)), "must have the axes runs and data"),
    ],
)
def test_a_mesh_that_does_not_suit_is_refused(configs, strategy, workers, mesh, says, small):
    with pytest.raises(ConfigError, match=says):
        check(configs, small, strategy, workers, mesh)


def test_a_mesh_that_is_asked_for_is_used():
    assert vmaps("auto", TWO)
    assert not vmaps("auto")  # on CPU
    assert not vmaps("loop", TWO)


@pytest.mark.slow
def test_each_device_draws_the_noise_of_its_own_rows():
    """Two devices' rows, one after the other, are those of one device."""
    key, images = jax.random.key(3), jax.random.uniform(jax.random.key(4), (6, 28, 28))
    program = runs(1, objective="iwae", importance_samples=3)[0].program(SHAPE, latent_dim=4)

    def drawn(images, shards=2):
        return engine.codes_noise(program, key, len(images), shards), engine.binarized(key, images, shards)

    specs = PartitionSpec(None, DATA), PartitionSpec(DATA)
    shared = jax.shard_map(drawn, mesh=SHARED, in_specs=specs[1], out_specs=specs, check_vma=False)(images)
    for two, one in zip(shared, drawn(images, shards=1), strict=True):
        np.testing.assert_array_equal(two, one)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "elbo"},
        {"objective": "iwae", "importance_samples": 3, "binarize": "dynamic"},
        {"objective": "iwae-dreg", "importance_samples": 3},
    ],
    ids=lambda changes: changes["objective"],
)
def test_a_batch_that_two_devices_share_is_the_whole_batch(changes, small):
    """One step's gradient is the mean of the two halves'; so Adam's first moment, which is a tenth of it, is the same.
    Of 25 test images one device evaluates the batch that there is, the other one that is all padding."""
    configs, step = runs(2, epochs=1, learning_rate=0.0, **changes), {}
    for mesh in (ONE, SHARED):
        states, reports = trained(configs, small, mesh)
        step[mesh] = [(states[run.name].opt_state.mu, reports[run.name, 1]) for run in configs]
    for (moment, report), (moment2, report2) in zip(*step.values(), strict=True):
        np.testing.assert_allclose(report2.train[:3], report.train[:3], rtol=1e-5)
        np.testing.assert_allclose(report2.test[:3], report.test[:3], rtol=1e-5)
        for a, b in zip(jax.tree.leaves(moment2), jax.tree.leaves(moment), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6 * np.abs(b).max() + 1e-12)


@pytest.mark.slow
def test_lanes_that_do_not_divide_are_filled_up_and_nothing_of_the_filling_is_told(small):
    configs = runs(3)
    states, reports = trained(configs, small, TWO)
    again, _ = trained(configs, small, TWO)
    solo, alone = trained(configs, small, ONE)
    names = [run.name for run in configs]
    assert sorted(states) == sorted(names)
    assert sorted(reports) == sorted(alone) == [(name, epoch) for name in sorted(names) for epoch in range(3)]
    assert {report.lane_runs for report in reports.values()} == {(*names, names[-1])}
    for key, report in reports.items():
        np.testing.assert_allclose(report.test[:3], alone[key].test[:3], rtol=1e-5)
    for name in names:
        for a, b in zip(*(jax.tree.leaves(s[name].params) for s in (states, again)), strict=True):
            np.testing.assert_array_equal(a, b)
        assert int(states[name].step) == int(solo[name].step)


def test_devices_send_each_other_nothing_but_the_gradients_of_a_shared_batch(small):
    program = compiled.abstract(runs(1)[0].program(SHAPE))
    collectives = ("all-reduce(", "all-gather(", "all-to-all(", "collective-permute(", "reduce-scatter(")
    sent = {}
    for mesh, lanes in ((TWO, 4), (SHARED, 2)):
        text = compiled.train_epoch(program, lanes, small.train_images.shape, np.uint8, mesh).as_text()
        sent[mesh] = {name for name in collectives if name in text}
    assert sent == {TWO: set(), SHARED: {"all-reduce("}}


@pytest.mark.slow
def test_a_whole_grid_is_one_program_for_each_architecture(small):
    """Seeds, latent sizes, β and learning rates are data to it; and its lanes are those of single runs."""
    grid = [
        classic(architecture, d, batch_size=20, epochs=1, seed=seed, beta=beta, learning_rate=rate)
        for architecture in ("linear", "conv")
        for d, seed, beta, rate in ((2, 0, 1.0, 1e-3), (3, 1, 4.0, 1e-3), (3, 0, 0.5, 1e-2))
    ]
    compiled_functions = Counter()
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration, **of: compiled_functions.update(
            [of.get("fun_name")] if "backend_compile" in event else []
        )
    )
    try:
        states, _ = trained(grid, small, ONE)
    finally:
        jax.monitoring.clear_event_listeners()
    assert [compiled_functions[f"jit({name})"] for name in ("_train_epoch", "evaluate")] == [2, 2]
    for run in grid[:3]:
        solo = sweep([run], small, strategy="loop", mesh=ONE)[run.name]
        for a, b in zip(
            jax.tree.leaves(states[run.name].opt_state.mu), jax.tree.leaves(solo.opt_state.mu), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max() + 1e-12)
