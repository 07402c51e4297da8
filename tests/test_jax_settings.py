"""The same numbers, whatever a user has set for JAX, Flax, NumPy and Python's warnings."""

import contextlib
import warnings
from dataclasses import replace

import flax
import jax
import numpy as np
import pytest

import jaxvae
from jaxvae.errors import InputError
from jaxvae.evaluation import Evaluation, Plan
from jaxvae.jax_settings import local_devices, own_settings, platform
from jaxvae.objectives import IWAE
from jaxvae.study import Study
from jaxvae.training import sweep
from tests.classic import classic
from tests.command_line import ROOT

RUN = classic(hidden=(2,), batch_size=20, epochs=1)
NUMBERS = {
    "jax_enable_x64": True, "jax_default_matmul_precision": "bfloat16", "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False, "jax_enable_custom_prng": True,
}  # fmt: skip
STRICT = {
    "jax_numpy_rank_promotion": "raise", "jax_numpy_dtype_promotion": "strict", "jax_legacy_prng_key": "error",
    "jax_transfer_guard": "disallow_explicit", "jax_thread_guard": True,
}  # fmt: skip
DEBUGGING = {
    "jax_disable_jit": True, "jax_debug_nans": True, "jax_debug_infs": True, "jax_debug_key_reuse": True,
    "jax_check_tracer_leaks": True,
}  # fmt: skip
KEY = np.array([0, 1], np.uint32)  # as jax.random.PRNGKey makes them


@pytest.fixture
def set_jax():
    """Sets what JAX computes by for the whole process, threads among it, until the test ends."""
    before = {}

    def change(name, value):
        before.setdefault(name, getattr(jax.config, name))
        jax.config.update(name, value)

    yield change
    for name, value in before.items():
        jax.config.update(name, "allow" if name == "jax_transfer_guard" else value)


def numbers(folder, dataset):
    """All that comes of a study, a loaded run and its evaluation."""
    study = Study(folder, [RUN], dataset)
    study.train("loop", quiet=True)
    run = jaxvae.load(folder / RUN.name)
    used = run.encode(dataset.test_images), run.reconstruct(dataset.test_images), run.sample(KEY, 3)
    records = Evaluation(Plan((1, 5), ais_images=2, ais_steps=3, ais_chains=2)).evaluate(run, dataset).records
    values = [record.value for record in records]
    return jax.tree.map(np.asarray, (run.params, used, run.reconstructions, values))


@pytest.fixture(scope="module")
def expected(small, tmp_path_factory):
    return numbers(tmp_path_factory.mktemp("expected"), small)


def assert_same(ours, theirs):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


@pytest.mark.parametrize("settings", [NUMBERS, STRICT, DEBUGGING], ids=["numbers", "strict", "debugging"])
def test_numbers_are_the_same_under_other_settings(settings, small, expected, tmp_path, set_jax):
    for name, value in settings.items():
        set_jax(name, value)
    assert_same(numbers(tmp_path, small), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "runs"),
    [
        ("loop", [classic("conv", epochs=1, batch_size=20)]),
        ("vmap", [RUN, replace(RUN, seed=1), replace(RUN, objective=IWAE(2))]),
    ],
)
def test_conv_models_and_vmapped_runs_are_the_same_in_64_bit_mode(strategy, runs, small, set_jax):
    before = sweep(runs, small, strategy=strategy)
    set_jax("jax_enable_x64", True)
    after = sweep(runs, small, strategy=strategy)
    for name, state in before.items():
        assert_same((state.params, state.opt_state), (after[name].params, after[name].opt_state))


def test_numbers_are_the_same_under_other_settings_of_flax(small, expected, tmp_path):
    with contextlib.ExitStack() as stack:
        for name in ("fix_rng_separator", "preserve_adopted_names", "return_frozendict"):
            stack.enter_context(flax.config.temp_flip_flag(name, True))
        assert_same(numbers(tmp_path, small), expected)


def test_numbers_are_the_same_where_numpy_and_python_raise_what_they_would_say(small, expected, tmp_path):
    with np.errstate(all="raise"), warnings.catch_warnings(action="error"):
        assert_same(numbers(tmp_path, small), expected)


def test_a_run_that_diverges_stops_alone_though_jax_looks_for_nans(small, set_jax):
    set_jax("jax_debug_nans", True)
    reports = []
    wild = classic(hidden=(2,), learning_rate=1e30, batch_size=20, epochs=2)
    states = sweep([wild, RUN], small, on_epoch=reports.append)
    assert {report.run.name for report in reports if report.diverged} == {wild.name}
    assert int(states[RUN.name].step) == 3


def test_a_seed_that_jax_would_change_is_refused(small, set_jax):
    set_jax("jax_random_seed_offset", 5)
    with pytest.raises(InputError, match="JAX_RANDOM_SEED_OFFSET is 5"):
        sweep([RUN], small)


def test_what_the_user_has_set_is_so_again_afterwards(set_jax):
    set_jax("jax_enable_x64", True)
    with np.errstate(all="raise"), flax.config.temp_flip_flag("fix_rng_separator", True):
        with own_settings():
            assert jax.numpy.ones(1).dtype == np.float32
            assert not flax.config.flax_fix_rng_separator
            assert np.exp(np.float64(-1e6)) == 0  # as far codes have it
        assert flax.config.flax_fix_rng_separator
        assert np.geterr()["under"] == "raise"
    assert jax.numpy.ones(1).dtype == np.float64
    with pytest.raises(ZeroDivisionError), own_settings():
        _ = 1 / 0
    assert jax.config.jax_enable_x64


@pytest.mark.slow
def test_runs_are_trained_and_used_on_the_default_device(small, expected):
    second = jax.local_devices()[1]
    with jax.default_device(second):
        assert local_devices() == [second]
        trained = sweep([RUN], small)[RUN.name].params
        kept = jaxvae.load(ROOT / "tests/checkpoints/format-3/linear-2-hidden2-batch20")
        assert {leaf.device for leaf in jax.tree.leaves(kept.params)} == {second}
        assert kept.reconstruct(small.test_images).device == second
    assert_same(trained, expected[0])
    with jax.default_device("cpu"):
        assert local_devices() == jax.local_devices()
        assert platform() == "cpu"
