import os
import signal

import jax
import jax.monitoring
import numpy as np
import pytest

from jaxvae.errors import ConfigError
from jaxvae.training import run_mesh
from jaxvae.training.sweep import sweep
from tests.classic import classic


def config(architecture="linear", latent_dim=2, **changes):
    return classic(architecture, latent_dim, **{"batch_size": 10, "epochs": 2} | changes)


def same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, *(jax.tree.map(np.asarray, s.params) for s in (a, b)))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["linear", pytest.param("conv", marks=pytest.mark.slow)])
def test_a_vmapped_lane_is_the_solo_run(architecture, small):
    """Latent sizes and seeds in one padded program against each run by itself."""
    one = run_mesh(jax.local_devices()[:1])  # on two, each would have a lane
    runs = [config(architecture, 2, epochs=1), config(architecture, 5, epochs=1, seed=3, beta=2.0)]
    reports = {"loop": {}, "vmap": {}}
    states = {
        strategy: sweep(
            runs,
            small,
            strategy=strategy,
            mesh=one,
            on_epoch=lambda e, s=strategy: reports[s].update({(e.run.name, e.epoch): e}),
        )
        for strategy in reports
    }
    assert reports["loop"].keys() == reports["vmap"].keys()
    for key, solo in reports["loop"].items():
        lane = reports["vmap"][key]
        np.testing.assert_allclose(lane.test[:3], solo.test[:3], rtol=1e-4)
        if solo.train is not None:
            np.testing.assert_allclose(lane.train[:3], solo.train[:3], rtol=1e-4)
    for run in runs:
        solo, lane = (jax.tree.leaves(states[s][run.name].params) for s in ("loop", "vmap"))
        # Adam's first steps have the size of the rate: where a gradient is mere rounding, the step's sign is too
        for a, b in zip(solo, lane, strict=True):
            difference = np.abs(np.asarray(a) - np.asarray(b))
            assert difference.max() < 2e-3
            assert np.quantile(difference, 0.99) < 1e-5


@pytest.mark.slow
def test_same_seed_same_bits_wherever_it_runs(small):
    """Alone, beside other runs, and on another device."""
    run = config()
    alone = sweep([run], small)[run.name]
    beside = sweep([config(latent_dim=3), config(seed=1), run], small)[run.name]
    elsewhere = sweep([run], small, mesh=run_mesh(jax.local_devices()[1:]), strategy="loop")[run.name]
    same_bits(alone, beside)
    same_bits(alone, elsewhere)
    other = sweep([config(seed=1)], small)[config(seed=1).name]
    with pytest.raises(AssertionError):
        same_bits(alone, other)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_a_run_taken_up_again_ends_as_if_never_interrupted(strategy, small):
    runs = [config(epochs=3), config(epochs=3, seed=1)]
    whole = sweep(runs, small, strategy=strategy)
    reports = []
    kept = {}
    sweep(
        [config(epochs=1), config(epochs=1, seed=1)],
        small,
        strategy=strategy,
        on_epoch=lambda e: kept.update({e.run.name: e.state}),
    )
    resumed = sweep(
        runs, small, strategy=strategy, states=kept, on_epoch=lambda e: reports.append((e.run.name, e.epoch))
    )
    for name, state in whole.items():
        same_bits(state, resumed[name])
    assert sorted(reports) == [(name, epoch) for name in sorted(whole) for epoch in (2, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_nothing_is_compiled_after_the_first_epoch_of_a_group(strategy, small):
    compiled, before_first, after_first = [], [], []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration, **_: compiled.append(event) if "backend_compile" in event else None
    )

    def on_epoch(report):
        if report.epoch == 1:
            before_first.extend(compiled)
            compiled.clear()
        elif report.epoch > 1:
            after_first.append(list(compiled))

    try:
        run = config(latent_dim=4, epochs=4)  # a size no other test compiles
        sweep([run], small, strategy=strategy, on_epoch=on_epoch)
        assert after_first == [[], [], []]
        assert before_first  # the listener does hear compilations
    finally:
        jax.monitoring.clear_event_listeners()


def test_epochs_are_reported_in_order_with_epoch_zero_before_training(small):
    reports = []
    sweep([config()], small, on_epoch=reports.append)
    assert [r.epoch for r in reports] == [0, 1, 2]
    assert reports[0].train is None
    assert [int(r.state.step) for r in reports] == [0, 6, 12]


def test_a_finished_run_is_returned_as_it_is(small):
    run = config(epochs=1)
    done = sweep([run], small)
    again = sweep([run], small, states=done, on_epoch=lambda e: pytest.fail("nothing was left to do"))
    same_bits(done[run.name], again[run.name])


@pytest.mark.parametrize(
    ("runs", "strategy", "says"),
    [
        ([config()], "pmap", "strategy"),
        ([classic(), classic(epochs=3)], "auto", "two runs are named linear-2"),
        ([classic(), classic(precision="auto:bfloat16")], "auto", "two runs are named linear-2"),
        ([config(batch_size=61)], "auto", "batch_size 61"),
        (
            [config(), config(binarize="static")],
            "auto",
            "must see the same images, not binarize none and",
        ),
    ],
)
def test_impossible_sweeps_are_refused(runs, strategy, says, small):
    with pytest.raises(ConfigError, match=says):
        sweep(runs, small, strategy=strategy)


@pytest.mark.slow
def test_runs_that_differ_in_any_setting_are_trained_side_by_side(small):
    """They were refused while their names were the same; what is compiled apart is trained apart."""
    runs = [config(hidden=(8,)), config(hidden=(6,)), config(hidden=(8,), batch_size=20), config(hidden=(8,), beta=2.0)]
    seen = []
    states = sweep(runs, small, strategy="vmap", on_epoch=lambda report: seen.append((report.run, report.lane_runs)))
    assert states.keys() == {run.name for run in runs}
    together = (runs[0].name, runs[3].name)
    lanes = {run.name: lane_runs for run, lane_runs in seen}
    assert set(lanes[runs[0].name]) == set(lanes[runs[3].name]) == set(together)
    assert set(lanes[runs[1].name]) == {runs[1].name}
    assert [int(states[run.name].step) for run in runs] == [12, 12, 6, 12]


def test_a_signal_to_stop_is_heard_when_all_epochs_that_ended_together_are_reported(small):
    """Else one run of a vmapped group would be saved and the other not."""
    before, seen = signal.signal(signal.SIGINT, signal.default_int_handler), []

    def stopping(report):
        seen.append((report.run.latent_dim, report.epoch))
        os.kill(os.getpid(), signal.SIGINT)

    runs = [config(latent_dim=d) for d in (2, 3)]
    try:
        with pytest.raises(KeyboardInterrupt):
            sweep(runs, small, strategy="vmap", mesh=run_mesh(jax.local_devices()[:1]), on_epoch=stopping)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [(2, 0), (3, 0)]
