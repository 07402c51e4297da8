"""One model for an array: what is chosen, what comes back, and that it is right where the answer is known."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_breast_cancer

import jaxvae
from jaxvae import data
from jaxvae.config import RunConfig
from jaxvae.errors import ConfigError, DataError, InputError
from jaxvae.models import MLP, VAE, Bernoulli, Conv, Gaussian, Poisson
from jaxvae.optimisers import Adam
from jaxvae.study import Run
from jaxvae.training.sweep import sweep
from tests.linear import AsItIs, ToZero, exact

NOT_TRAINED = Run(Path(), RunConfig(VAE(1, MLP())), {}, {}, [{"epoch": 0, "test": {"loss": 0.0}}], np.zeros(0))
fit_module = importlib.import_module("jaxvae.study.fit")  # the package offers the function of that name
EPOCHS = 60  # of twenty copies of the measurements: 6,840 steps
RNG = np.random.default_rng(0)
BLOBS = np.concatenate([RNG.normal(-2, 0.3, (60, 5)), RNG.normal(2, 0.3, (60, 5))]).astype(np.float32)
MANY = np.tile(BLOBS, (10, 1))  # as an epoch takes its time, however few steps it has


def test_a_linear_gaussian_vae_is_probabilistic_pca():
    """Tipping & Bishop 1999: the most likely subspace is that of the largest eigenvalues, σ² the mean of the others; a
    linear VAE has no worse optimum (Lucas et al. 2019)."""
    given = load_breast_cancer().data
    x = (given - given.mean(0)) / given.std(0)
    p, d = x.shape[1], 2
    model, rate = VAE(d, AsItIs(), likelihood=Gaussian()), Adam(ToZero(0.02, EPOCHS))
    run = jaxvae.fit(np.tile(given, (20, 1)), model, test=given, optimiser=rate, epochs=EPOCHS, quiet=True)
    eigenvalues, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    largest, variance = eigenvalues[::-1][:d], eigenvalues[::-1][d:].mean()
    most = -0.5 * (p * np.log(2 * np.pi) + np.log(largest).sum() + (p - d) * np.log(variance) + p)

    layer = run.params["decoder"]["latent"]
    weights, sigma = np.asarray(layer["kernel"], float), np.exp(float(run.params["likelihood"]["log_scale"]))
    density = exact(run).logpdf(x)
    assert most - 0.05 < density.mean() <= most + 1e-3
    assert most - 0.05 < -run.metrics[-1]["test"]["loss"] < most + 0.02  # by sampled codes
    assert sigma**2 == pytest.approx(variance, rel=0.01)
    own = np.linalg.qr(weights.T)[0]
    cosines = np.linalg.svd(own.T @ vectors[:, ::-1][:, :d])[1]
    assert np.rad2deg(np.arccos(cosines.min().clip(max=1))) < 1
    # a density of the numbers as given, though they were standardised: change of variables
    of_given = density - np.log(given.std(0)).sum()
    bound = run.log_likelihood(given, samples=500)
    np.testing.assert_allclose(bound, of_given, atol=0.1)  # ten standard deviations of most, three of the furthest
    assert bound.mean() == pytest.approx(of_given.mean(), abs=2e-3)


@pytest.mark.parametrize(
    ("examples", "network", "likelihood", "latent_dim"),
    [
        (RNG.integers(0, 256, (40, 16, 16)).astype(np.uint8), Conv(), Bernoulli(), 10),
        (RNG.integers(0, 256, (40, 16, 12, 3)).astype(np.uint8), MLP(), Bernoulli(), 10),
        (RNG.normal(size=(40, 20, 20, 2)), Conv(), Gaussian(), 10),
        (RNG.normal(size=(40, 4)), MLP(), Gaussian(), 4),
        (RNG.integers(0, 2, (40, 12)), MLP(), Bernoulli(), 10),
        (RNG.integers(0, 2, (40, 12)).astype(bool), MLP(), Bernoulli(), 10),
        (RNG.poisson(4, (40, 12)), MLP(), Poisson(), 10),
    ],
    ids=["pictures", "oblong", "floats", "few numbers", "zeros and ones", "booleans", "counts"],
)
def test_what_suits_the_data_is_chosen_and_said(examples, network, likelihood, latent_dim, monkeypatch, capsys):
    configs = []
    monkeypatch.setattr(fit_module, "_in_memory", lambda config, dataset, quiet: configs.append(config) or NOT_TRAINED)
    assert jaxvae.fit(examples) is NOT_TRAINED
    vae, printed = configs[0].vae, capsys.readouterr().out
    assert (vae.encoder, vae.likelihood, vae.latent_dim) == (network, likelihood, latent_dim)
    assert f"network: {network.part_label}, for " in printed
    assert f"likelihood: {likelihood.part_label}, for " in printed
    assert "100 epochs of 12 steps, each on 3 examples" in printed  # ten batches and more of the 36 trained on
    assert ("numbers are standardised" in printed) == (likelihood == Gaussian())


@pytest.mark.slow
@pytest.mark.parametrize(
    "examples", [RNG.normal(5, 9, (40, 16, 16, 2)), RNG.poisson(4, (40, 12))], ids=["conv", "counts"]
)
def test_reconstructions_are_kept_in_the_numbers_of_the_data(examples):
    run = jaxvae.fit(examples, epochs=0, quiet=True)
    assert run.metrics[0]["test"]["loss"] > 0
    assert (run.reconstructions.shape, run.reconstructions.dtype) == ((1, 2, 4, *examples.shape[1:]), np.float32)
    assert run.sample(jax.random.key(0), 3).shape == (3, *examples.shape[1:])


@pytest.mark.parametrize(
    ("losses", "best"), [([9, 4, 3, 4], 2), ([9, -4, -3.7], 1), ([9, 4, 4.1], None), ([9, 4, np.inf], None)]
)
def test_a_test_loss_that_has_risen_is_said(losses, best):
    metrics = [{"test": {"loss": float(loss)}} for loss in losses]
    said = fit_module._of_overfitting(metrics)
    assert said == "" if best is None else f"lowest after epoch {best}, {losses[best]:.2f} nats" in said


@pytest.mark.slow
def test_a_run_without_a_folder_is_the_one_with_a_folder_and_that_of_a_sweep(tmp_path):
    how = {"latent_dim": 2, "epochs": 3, "seed": 4, "quiet": True}
    alone, kept = jaxvae.fit(BLOBS, **how), jaxvae.fit(BLOBS, **how, out=tmp_path)
    state = sweep([alone.config], data.standardized(data.from_arrays(BLOBS, seed=4)))[alone.config.name]
    for other in (kept.params, jaxvae.load(tmp_path / kept.config.name).params, state.params):
        jax.tree.map(np.testing.assert_array_equal, alone.params, other)
    assert [entry["test"] for entry in alone.metrics] == [entry["test"] for entry in kept.metrics]
    np.testing.assert_array_equal(alone.reconstructions, kept.reconstructions)
    assert alone.about == {key: kept.about[key] for key in alone.about}
    again = jaxvae.fit(BLOBS, **how | {"epochs": 5}, out=tmp_path)
    jax.tree.map(np.testing.assert_array_equal, again.params, jaxvae.fit(BLOBS, **how | {"epochs": 5}).params)


def test_codes_tell_two_groups_apart_and_decode_to_them():
    run = jaxvae.fit(MANY, latent_dim=1, epochs=15, batch_size=10, optimiser=Adam(3e-3), quiet=True)
    codes = np.asarray(run.codes(BLOBS).mean)[:, 0]
    assert (codes[:60] > 0).all() != (codes[60:] > 0).all()
    np.testing.assert_allclose(run.reconstruct(BLOBS), BLOBS, atol=1.2)  # 4 standard deviations
    assert run.metrics[-1]["test"]["loss"] < run.metrics[0]["test"]["loss"] / 2


def test_how_many_epochs_follow_from_the_number_of_examples(monkeypatch):
    configs = []
    monkeypatch.setattr(fit_module, "_in_memory", lambda config, dataset, quiet: configs.append(config) or NOT_TRAINED)
    for n, batch, epochs in ((2, 1, 100), (120, 10, 100), (8_000, 100, 84), (70_000, 100, 15)):
        jaxvae.fit(np.zeros((n, 2), np.uint8), quiet=True)
        assert (configs[-1].batch_size, configs[-1].epochs) == (batch, epochs), n


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"examples": np.zeros((9, 2)), "vae": VAE(2, MLP()), "latent_dim": 2}, ConfigError, "a model or latent_dim"),
        ({"examples": np.full((9, 2), 0.5), "vae": VAE(2, MLP(), likelihood=Poisson()), "epochs": 1}, DataError,
         r"data has 0.5 at \[0, 0\] of its train images; poisson takes whole numbers of at least 0"),
        ({"examples": np.full((9, 2), -1.0), "vae": VAE(2, MLP()), "epochs": 1}, DataError,
         r"bernoulli takes numbers of at least 0 and at most 1"),
        ({"examples": np.zeros((9, 2), np.uint8), "vae": VAE(2, MLP(), likelihood=Poisson()), "epochs": 1}, DataError,
         "as int32"),
        ({"examples": data.from_arrays(np.zeros((9, 2))), "labels": [0]}, InputError, "a Dataset has its own labels"),
        ({"examples": np.zeros((9, 2)), "latent_dim": 0}, ConfigError, "latent_dim must be a whole"),
        ({"examples": np.zeros((9, 2)), "batch_size": 10}, ConfigError, "batch_size 10 is larger than"),
        ({"examples": np.zeros((9, 2)), "epochs": -1}, ConfigError, "epochs must be"),
        ({"examples": np.zeros((9, 2)), "seed": "a"}, DataError, "seed must be"),
        ({"examples": None}, DataError, "data has train images of NoneType; they must be an array of real numbers"),
    ],
)  # fmt: skip
def test_careless_calls_are_one_line(given, error, says, tmp_path):
    with pytest.raises(error, match=says):
        jaxvae.fit(**given, quiet=True, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(error, match=says):
        jaxvae.fit(**given, quiet=True)


@pytest.mark.slow
def test_runs_take_and_return_the_numbers_that_were_given(tmp_path):
    """Standardised or not, a user sees their own numbers, far from 0 and of different sizes; one is constant."""
    units, at = np.array([1000, 0.01, 5]), np.array([3e4, 7, -2])
    examples = np.concatenate([BLOBS[:, :3] * units + at, np.full((len(BLOBS), 1), 6.5)], 1)
    how = {"latent_dim": 2, "optimiser": Adam(3e-3), "quiet": True}
    run = jaxvae.fit(np.tile(examples, (10, 1)), **how, epochs=15, batch_size=10)
    error = (np.asarray(run.reconstruct(examples)) - examples) / [*units, 1]
    assert np.abs(error).mean() < 0.3
    drawn = np.asarray(run.sample(jax.random.key(0), 500)).mean(0)
    assert (np.abs(drawn - examples.mean(0)) < [*units, 1]).all()
    kept, alone = jaxvae.fit(examples, **how, epochs=2, out=tmp_path), jaxvae.fit(examples, **how, epochs=2)
    for one in (kept, jaxvae.load(tmp_path / kept.config.name)):
        np.testing.assert_array_equal(one.codes(examples).mean, alone.codes(examples).mean)
        np.testing.assert_array_equal(one.reconstruct(examples), alone.reconstruct(examples))
    own = run.in_trained_numbers()
    standard = (examples - examples.mean(0)) / np.where(examples.std(0) > 0, examples.std(0), 1)
    near = np.asarray(own.codes(standard.astype(np.float32)).mean)
    np.testing.assert_allclose(near, run.codes(examples).mean, atol=0.1)  # a tenth of the examples is held out
    assert run.metrics[-1]["test"]["loss"] < 4 * stats.norm.entropy()  # of the standardised numbers by themselves


def test_standardised_numbers_have_mean_zero_and_deviation_one():
    columns = RNG.normal(0, 1, (300, 3)) * [1e3, 1, 1e-3] + [5e5, 0, 1]
    columns[:, 1] = 0.1  # which float32 rounds
    given = data.standardized(data.from_arrays(columns, test=columns[:7]))
    own = data.scaled(given)
    np.testing.assert_allclose(own.train_images.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(own.train_images.std(0), [1, 0, 1], atol=1e-3)
    np.testing.assert_array_equal(own.test_images, own.train_images[:7])
    assert data.scaled(own) is own  # once
    pictures = data.standardized(data.from_arrays(columns.reshape(-1, 10, 9)))
    assert pictures.scaling.mean.shape == pictures.scaling.scale.shape == ()
    assert abs(float(data.scaled(pictures).train_images.std()) - 1) < 1e-4
    unscaled = given._replace(scaling=None)
    assert unscaled.fingerprint != given.fingerprint == data.standardized(unscaled).fingerprint
    with pytest.raises(DataError, match="are not standardised"):
        data.standardized(data.from_arrays(np.zeros((4, 3), np.uint8)))


def test_a_model_of_floats_takes_no_bytes():
    run = jaxvae.fit(BLOBS, latent_dim=1, epochs=0, quiet=True)
    with pytest.raises(InputError, match="not on bytes"):
        run.encode(BLOBS.astype(np.uint8))
    with pytest.raises(InputError, match="must be finite numbers"):
        run.encode(np.full((1, 5), np.nan))
    with pytest.raises(InputError, match="must be finite numbers"):
        run.encode(np.full((1, 5), "a"))
