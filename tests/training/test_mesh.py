"""Lanes shared among devices along one axis, a run's batch along the other."""

from collections import Counter

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from jaxvae.config import ModelConfig, RunConfig, TrainConfig
from jaxvae.errors import ConfigError
from jaxvae.models.distributions import Normal, sample
from jaxvae.training import compiled as programs
from jaxvae.training import engine, mesh
from jaxvae.training.mesh import arranged, described
from jaxvae.training.sweep import check, sweep, vmaps

ONE, TWO = mesh.across(jax.local_devices()[:1]), mesh.across(jax.local_devices()[:2])
SHARED = arranged("data=2")
PLAIN = TrainConfig(10)


def runs(count, train=PLAIN, **changes):
    return [RunConfig(ModelConfig("linear", 2, hidden=(8,)), train, **{"epochs": 2, "seed": s, **changes})
            for s in range(count)]  # fmt: skip


def trained(configs, dataset, on):
    reports = []
    states = sweep(configs, dataset, on=on, on_epoch=reports.append)
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
    on = arranged(layout, devices)
    assert on.devices.shape == (runs, data)
    assert arranged(described(on), devices) == on


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
        arranged(layout, jax.local_devices()[:1] * 6)


def test_no_process_is_left_without_a_device():
    class Device:
        platform = "cpu"

        def __init__(self, process):
            self.process_index = process

    devices = [Device(0), Device(0), Device(1), Device(1)]
    with pytest.raises(ConfigError, match="leaves process 1 without a device; there are 4"):
        arranged("runs=2", devices)
    assert arranged("runs=3", devices).size == 3


@pytest.mark.parametrize(
    ("configs", "strategy", "workers", "on", "says"),
    [
        (runs(1, TrainConfig(15)), "auto", 1, SHARED, "batch_size 15 cannot be shared equally along data=2"),
        (runs(1), "loop", 1, SHARED, "strategy loop gives each run a device"),
        (runs(1), "auto", 2, TWO, "workers must be 1 on a mesh"),
        (runs(1), "auto", 1, Mesh(np.array(jax.local_devices()[:1]), ("x",)), "must have the axes runs and data"),
    ],
)
def test_a_mesh_that_does_not_suit_is_refused(configs, strategy, workers, on, says, small):
    with pytest.raises(ConfigError, match=says):
        check(configs, small, strategy, workers, on)


def test_a_mesh_that_is_asked_for_is_used():
    assert vmaps("auto", TWO)
    assert not vmaps("auto")  # on CPU
    assert not vmaps("loop", TWO)


def test_each_device_draws_the_noise_of_its_own_rows():
    """Two devices' rows, one after the other, are those of one device."""
    key, images = jax.random.key(3), jax.random.uniform(jax.random.key(4), (6, 28, 28))
    normal = Normal(jnp.zeros((6, 4)), jnp.zeros((6, 4)))

    def drawn(mean, log_std, images, shards=2):
        return sample(key, Normal(mean, log_std), shards), engine.binarized(key, images, shards)

    rows = PartitionSpec(mesh.DATA)
    shared = jax.shard_map(drawn, mesh=SHARED, in_specs=rows, out_specs=rows, check_vma=False)(*normal, images)
    for two, one in zip(shared, drawn(*normal, images, shards=1), strict=True):
        np.testing.assert_array_equal(two, one)


@pytest.mark.parametrize(
    "train",
    [PLAIN, TrainConfig(10, "iwae", 3, "dynamic"), TrainConfig(10, "iwae-dreg", 3)],
    ids=lambda train: train.objective,
)
def test_a_batch_that_two_devices_share_is_the_whole_batch(train, small):
    """One step's gradient is the mean of the two halves'; so Adam's first moment, which is a tenth of it, is the same.
    Of 25 test images one device evaluates the batch that there is, the other one that is all padding."""
    configs, step = runs(2, train, epochs=1, learning_rate=0.0), {}
    for on in (ONE, SHARED):
        states, reports = trained(configs, small, on)
        step[on] = [(states[run.name].opt_state.mu, reports[run.name, 1]) for run in configs]
    for (moment, report), (moment2, report2) in zip(*step.values(), strict=True):
        np.testing.assert_allclose(report2.train, report.train, rtol=1e-5)
        np.testing.assert_allclose(report2.test, report.test, rtol=1e-5)
        for a, b in zip(jax.tree.leaves(moment2), jax.tree.leaves(moment), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6 * np.abs(b).max() + 1e-12)


def test_lanes_that_do_not_divide_are_filled_up_and_nothing_of_the_filling_is_told(small):
    configs = runs(3)
    states, reports = trained(configs, small, TWO)
    again, _ = trained(configs, small, TWO)
    solo, alone = trained(configs, small, ONE)
    names = [run.name for run in configs]
    assert sorted(states) == sorted(names)
    assert sorted(reports) == sorted(alone) == [(name, epoch) for name in sorted(names) for epoch in range(3)]
    assert {report.together for report in reports.values()} == {(*names, names[-1])}
    for key, report in reports.items():
        np.testing.assert_allclose(report.test, alone[key].test, rtol=1e-5)
    for name in names:
        for a, b in zip(*(jax.tree.leaves(s[name].params) for s in (states, again)), strict=True):
            np.testing.assert_array_equal(a, b)
        assert int(states[name].step) == int(solo[name].step)


def test_devices_send_each_other_nothing_but_the_gradients_of_a_shared_batch(small):
    run, images = runs(1)[0], len(small.train_images)
    collectives = ("all-reduce(", "all-gather(", "all-to-all(", "collective-permute(", "reduce-scatter(")
    sent = {}
    for on, lanes in ((TWO, 4), (SHARED, 2)):
        text = programs.train_epoch(run.model, run.train, lanes, images, on).as_text()
        sent[on] = {name for name in collectives if name in text}
    assert sent == {TWO: set(), SHARED: {"all-reduce("}}


@pytest.mark.slow
def test_a_whole_grid_is_one_program_for_each_architecture(small):
    """Seeds, latent sizes, β and learning rates are data to it; and its lanes are those of single runs."""
    grid = [
        RunConfig(ModelConfig(architecture, d), TrainConfig(20), epochs=1, seed=seed, beta=beta, learning_rate=rate)
        for architecture in ("linear", "conv")
        for d, seed, beta, rate in ((2, 0, 1.0, 1e-3), (3, 1, 4.0, 1e-3), (3, 0, 0.5, 1e-2))
    ]
    compiled = Counter()
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration, **of: compiled.update([of.get("fun_name")] if "backend_compile" in event else [])
    )
    try:
        states, _ = trained(grid, small, ONE)
    finally:
        jax.monitoring.clear_event_listeners()
    assert [compiled[f"jit({name})"] for name in ("_train_epoch", "evaluate")] == [2, 2]
    for run in grid[:3]:
        solo = sweep([run], small, strategy="loop", on=ONE)[run.name]
        for a, b in zip(
            jax.tree.leaves(states[run.name].opt_state.mu), jax.tree.leaves(solo.opt_state.mu), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max() + 1e-12)
