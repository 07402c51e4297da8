"""What a user gives is the same thing, whichever library made it."""

import enum
import os
from decimal import Decimal

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxvae
from jaxvae import data
from jaxvae.config import RunConfig
from jaxvae.data import Dataset
from jaxvae.errors import ConfigError
from jaxvae.evaluation import Evaluation, Plan
from jaxvae.models import MLP, VAE
from jaxvae.objectives import ELBO, IWAE
from jaxvae.optimisers import Adam, Stages
from jaxvae.study import Study
from jaxvae.training import sweep
from jaxvae.values import plain
from tests import blobs
from tests.command_line import ROOT

INTEGERS = [int, np.int8, np.uint8, np.int64, np.uint32, ml_dtypes.int4, np.array, jnp.asarray]
FLOATS = [float, np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.longdouble, np.array, jnp.asarray]


@pytest.fixture(scope="module")
def trained_run():
    return ROOT / "tests" / "checkpoints" / "format-3" / "linear-2-hidden2-batch20"


class Size(enum.IntEnum):
    SMALL = 2


@pytest.mark.parametrize("make", INTEGERS)
def test_whole_numbers_of_every_library_are_pythons(make):
    assert plain(make(3)) == 3
    assert type(plain(make(3))) is int


@pytest.mark.parametrize("make", FLOATS)
def test_real_numbers_of_every_library_are_pythons(make):
    assert plain(make(0.25)) == 0.25
    assert type(plain(make(0.25))) is float


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float32_is_the_shortest_decimal_that_is_read_as_it(x):
    assert np.float32(plain(np.float32(x))) == np.float32(x)
    digits = [len(Decimal(repr(number)).normalize().as_tuple().digits) for number in (plain(np.float32(x)), x)]
    assert digits[0] <= digits[1]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float64_keeps_its_value(x):
    assert plain(np.float64(x)) == x


def test_texts_lists_and_arrays_are_pythons_too_and_what_is_plain_stays_itself():
    assert (plain(np.str_("a")), plain(np.True_), plain(Size.SMALL)) == ("a", True, 2)
    assert plain(np.array([[1, 2], [3, 4]])) == ((1, 2), (3, 4))
    assert plain([np.int8(1), (np.float64(0.5), None)]) == (1, (0.5, None))
    kept = (1, ("a", 2.5), True)
    assert plain(kept) is kept
    key = jax.random.key(0)
    assert plain(key) is key


def test_equal_configurations_have_equal_names_json_and_hashes():
    run = RunConfig(VAE(2, MLP((64, 32))), ELBO(0.5), Adam(1e-4), batch_size=20, epochs=4, seed=3)
    others = [
        RunConfig(
            VAE(np.int64(2), MLP(np.array([64, 32]))), ELBO(np.float32(0.5)), Adam(np.logspace(-4, -3, 2)[0]),
            batch_size=np.array(20), epochs=np.uint8(4), seed=jnp.int32(3),
        ),
        RunConfig(
            VAE(Size.SMALL, MLP([64, np.int16(32)])), ELBO(ml_dtypes.bfloat16(0.5)), Adam(np.float32(1e-4)),
            batch_size=jnp.asarray(20), epochs=ml_dtypes.int4(4), seed=np.uint32(3), binarize=np.str_("none"),
        ),
    ]  # fmt: skip
    for other in others:
        assert other == run
        assert (other.name, other.to_json(), hash(other)) == (run.name, run.to_json(), hash(run))
    assert run.name == "linear-2-hidden64x32-beta0.5-lr0.0001-batch20-seed3"


def test_parts_within_parts_are_looked_into():
    run = RunConfig(VAE(2, MLP()), optimiser=Adam(Stages(np.float64(1e-3))))
    assert run == RunConfig(VAE(2, MLP()), optimiser=Adam(Stages(1e-3)))
    assert "np." not in run.name


@pytest.mark.parametrize(
    "change",
    [{"seed": np.float64(1.5)}, {"seed": np.True_}, {"epochs": np.array([1, 2])}, {"batch_size": np.float32("nan")}],
)
def test_values_that_are_wrong_are_wrong_in_every_library(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        RunConfig(VAE(2, MLP()), **change)


def test_images_and_their_labels_may_be_arrays_of_jax(tmp_path):
    ours = blobs.small()
    theirs = Dataset("blobs", *(jnp.asarray(array) for array in ours[1:5]))
    assert data.checked(theirs).fingerprint == ours.fingerprint
    assert Study(tmp_path, iter([RunConfig(VAE(2, MLP()))]), theirs).dataset.fingerprint == ours.fingerprint


def test_a_limit_and_a_plan_take_numbers_of_numpy(monkeypatch):
    monkeypatch.setitem(data.EMBEDDED, "digits", blobs.small)
    assert len(data.load(np.str_("digits"), limit=np.int64(12)).train_images) == 12
    plan = Plan(samples=np.array([1, 5]), images=np.int64(7), seed=jnp.int32(1))
    assert Evaluation(plan).plan == Plan((1, 5), images=7, seed=1)


@pytest.mark.parametrize("workers", [np.int64(0), np.float64(1.0), np.array([1])])
def test_workers_that_are_none_are_refused_whoever_made_them(workers, small, tmp_path):
    study = Study(tmp_path, [RunConfig(VAE(2, MLP()))], small)
    with pytest.raises(ConfigError, match="workers must be a whole number of at least 1"):
        study.train(workers=workers)


def test_a_study_is_trained_with_numbers_of_numpy(small, tmp_path):
    run = RunConfig(
        VAE(np.int64(2), MLP([np.int64(4)])), IWAE(np.int64(2)), epochs=np.int64(1), batch_size=np.int64(20)
    )
    study = Study(np.str_(tmp_path), [run], small)
    study.train(workers=np.int64(1), quiet=True)
    assert jaxvae.load(tmp_path / run.name).config == run
    assert study.how["workers"] == 1
    assert type(study.how["workers"]) is int  # as it is written into sweep.json


def test_a_sweep_takes_workers_of_numpy(small):
    run = RunConfig(VAE(2, MLP((4,))), epochs=0, batch_size=20)
    assert list(sweep([run], small, workers=np.int64(1))) == [run.name]


def test_codes_images_epochs_and_counts_take_numbers_of_every_library(trained_run):
    run = jaxvae.load(trained_run, epoch=np.int64(1))
    z = [[0.5, -1.0]]
    expected = np.asarray(run.decode(z))
    for codes in (np.array(z, np.float16), jnp.asarray(z, jnp.bfloat16), np.array(z, ml_dtypes.bfloat16), tuple(z)):
        np.testing.assert_array_equal(run.decode(codes), expected)
    grey = np.full((2, 28, 28), 0.5)
    np.testing.assert_array_equal(run.encode(grey.astype(ml_dtypes.bfloat16)).mean, run.encode(jnp.asarray(grey)).mean)
    assert run.sample(jax.random.key(0), np.uint8(3)).shape == (3, 28, 28)


def test_a_tilde_is_the_home_folder(trained_run, monkeypatch):
    monkeypatch.setenv("HOME", str(trained_run.parent))
    assert jaxvae.load(f"~/{trained_run.name}").config.latent_dim == 2
    assert jaxvae.load(os.path.join("~", trained_run.name)).folder == trained_run
