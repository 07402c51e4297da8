"""Everything that a user may bring, defined here alone: no file of the package names any of it.

A coupled objective, a likelihood, a prior with parameters, a posterior without closed-form KL, networks for images of
12×9×2, an optimiser and a metric; trained looped and vmapped, continued, loaded, evaluated, drawn.
"""

import re
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.scipy.linalg import solve_triangular

import jaxvae
from jaxvae import parts
from jaxvae.config import RunConfig
from jaxvae.data import Dataset
from jaxvae.errors import ConfigError, InputError
from jaxvae.evaluation import METRICS, Column, Evaluation, Measured, Plan, metric
from jaxvae.models import VAE, Normal, StandardNormal
from jaxvae.objectives import Context, Losses
from jaxvae.page.run_table import columns, read_evaluations
from jaxvae.parts import part, traced
from jaxvae.results import read_results
from jaxvae.study import Study
from jaxvae.training import check, make_mesh, sweep

SHAPE = (12, 9, 2)
LOG_NORMAL = -0.5 * np.log(2 * np.pi)  # of N(0; 0, 1)


@part("network/flat")
class Flat(nn.Module):
    """One hidden layer on all numbers of an image."""

    width: int = 12

    @nn.compact
    def __call__(self, x):
        return nn.tanh(nn.Dense(self.width)(x.reshape(len(x), -1)))


@part("decoder/flat")
class FlatDecoder(nn.Module):
    features: int = 12

    @nn.compact
    def __call__(self, h):
        return nn.Dense(int(np.prod(SHAPE)))(nn.tanh(h)).reshape(-1, *SHAPE)


@part("likelihood/fixed-gaussian")
class FixedGaussian:
    scale: float = traced(default=0.5, name="scale", symbol="σ", title="scale")

    measure = "density"

    def outputs(self, shape):
        return shape

    def log_prob(self, params, out, x):
        terms = -0.5 * ((x - out) / self.scale) ** 2 - jnp.log(self.scale) + LOG_NORMAL
        return terms.reshape(len(terms), -1).sum(-1)

    def mean(self, params, out):
        return out

    def sample(self, params, key, out):
        return out + self.scale * jax.random.normal(key, out.shape)


@part("prior/mixture")
class Mixture:
    """Equally likely normals whose means and deviations are learned."""

    components: int = 3

    def init(self, key, latent_dim):
        shape = self.components, latent_dim
        return {"mean": jax.random.normal(key, shape), "log_std": jnp.zeros(shape)}

    def log_prob(self, params, z):
        noise = (z[..., None, :] - params["mean"]) * jnp.exp(-params["log_std"])
        each = (-0.5 * noise**2 - params["log_std"] + LOG_NORMAL).sum(-1)
        return jax.nn.logsumexp(each, axis=-1) - jnp.log(self.components)

    def sample(self, params, key, n, latent_dim):
        key_component, key_noise = jax.random.split(key)
        chosen = jax.random.randint(key_component, (n,), 0, self.components)
        noise = jax.random.normal(key_noise, (n, latent_dim))
        return params["mean"][chosen] + jnp.exp(params["log_std"][chosen]) * noise


class Heads(NamedTuple):
    mean: jax.Array
    factor: jax.Array


@part("posterior/full")
class FullCovariance:
    """N(mean, L Lᵀ), L lower triangular with a positive diagonal."""

    heads = Heads(mean=1, factor=2)  # type: ignore[arg-type]

    def cholesky(self, q):
        diagonal = jnp.exp(jnp.diagonal(q.factor, axis1=-2, axis2=-1))
        return jnp.tril(q.factor, -1) + diagonal[..., None] * jnp.eye(diagonal.shape[-1])

    def _log_prob_of_noise(self, q, noise):
        return (-0.5 * noise**2 + LOG_NORMAL).sum(-1) - jnp.trace(q.factor, axis1=-2, axis2=-1)

    def sample_and_log_prob(self, q, noise):
        z = q.mean + jnp.einsum("bij,kbj->kbi", self.cholesky(q), noise)
        return z, self._log_prob_of_noise(q, noise)

    def log_prob(self, q, z):
        lower = jnp.broadcast_to(self.cholesky(q), (*z.shape, z.shape[-1]))
        noise = solve_triangular(lower, (z - q.mean)[..., None], lower=True)[..., 0]
        return self._log_prob_of_noise(q, noise)

    def kl(self, q, prior):
        if not isinstance(prior, StandardNormal):
            return None
        squares = (self.cholesky(q) ** 2).sum((-1, -2)) + (q.mean**2).sum(-1)
        return 0.5 * (squares - q.mean.shape[-1]) - jnp.trace(q.factor, axis1=-2, axis2=-1)

    def marginals(self, q):
        return Normal(q.mean, 0.5 * jnp.log((self.cholesky(q) ** 2).sum(-1)))


@part("objective/total-correlation")
class TotalCorrelation:
    """β-TC-VAE (Chen et al. 2018, equation 4), with q(z) from the minibatch (equation S3)."""

    gamma: float = traced(default=1.0, name="gamma", symbol="γ", title="γ")

    codes = 1
    coupled = True

    def __call__(self, vae, params, x, noise, context: Context):
        q = vae.encode(params, x)
        z, log_q = vae.posterior.sample_and_log_prob(q, noise)
        pairs = jnp.broadcast_to(z[0][:, None], (len(x), len(x), z.shape[-1]))  # code of i, posterior of j
        log_count = jnp.log(context.examples * len(x))
        joint = jax.nn.logsumexp(vae.posterior.log_prob(q, pairs), axis=1) - log_count
        mean, log_std = vae.posterior.marginals(q)
        by_dimension = -0.5 * ((pairs - mean) * jnp.exp(-log_std)) ** 2 - log_std + LOG_NORMAL
        marginals = jax.nn.logsumexp(by_dimension, axis=1) - log_count
        product = jnp.where(vae.in_use, marginals, LOG_NORMAL).sum(-1)
        information, correlation, rest = log_q[0] - joint, joint - product, product - vae.log_prior(params, z[0])
        reconstruction = -vae.log_likelihood(params, z, x)[0]
        loss = reconstruction + information + self.gamma * correlation + rest
        terms = {"information": information, "total correlation": correlation, "dimension-wise KL": rest}
        return Losses(reconstruction, information + correlation + rest, loss, terms)


@part("optimiser/momentum")
class Momentum:
    learning_rate: float = traced(default=1e-5, name="lr", symbol="lr", title="learning rate")
    decay: float = 0.9

    def init(self, params):
        return jax.tree.map(jnp.zeros_like, params)

    def update(self, gradients, state, params):
        state = jax.tree.map(lambda v, g: self.decay * v + g, state, gradients)
        return jax.tree.map(lambda p, v: p - self.learning_rate * v, params, state), state


OWN = [Flat, FlatDecoder, FixedGaussian, Mixture, FullCovariance, TotalCorrelation, Momentum]


@pytest.fixture(scope="module", autouse=True)
def own_metric():
    @metric("code length", "", "mean norm of the posterior means", "codes", column=Column("code length", "norm"))
    def _length(subject):
        yield Measured(np.linalg.norm(subject.codes.mean, axis=1), "posterior means")

    yield
    del METRICS["code length"]


def run(latent_dim: int, gamma: float = 1.0, epochs: int = 2, **more) -> RunConfig:
    vae = VAE(latent_dim, Flat(), FlatDecoder(), FullCovariance(), Mixture(3), FixedGaussian(0.5))
    return RunConfig(vae, TotalCorrelation(gamma), Momentum(1e-4), batch_size=16, epochs=epochs, **more)


RUNS = [run(2), run(3), run(3, gamma=4.0)]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Two kinds of images: a bright upper or a bright lower half, in two channels; 58 and 26 of them."""
    rng = np.random.default_rng(0)

    def split(n):
        labels = rng.integers(0, 2, n).astype(np.uint8)
        images = rng.integers(0, 60, (n, *SHAPE))
        images[labels == 0, :6] += 150
        images[labels == 1, 6:] += 150
        return images.astype(np.uint8), labels

    (train, train_labels), (test, test_labels) = split(58), split(26)
    return Dataset("halves", train, train_labels, test, test_labels)


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory) -> Path:
    """A vmapped study with tables, figures and page."""
    folder = tmp_path_factory.mktemp("own") / "study"
    study = Study(folder, RUNS, dataset)
    study.train("vmap", quiet=True)
    study.write(1.0)
    return folder


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_names_say_what_is_not_the_default():
    assert RUNS[0].name.startswith("flat-2-")
    assert len({one.name for one in RUNS}) == 3
    assert "total-correlationgamma4" in RUNS[2].name
    assert RunConfig.from_json(RUNS[2].to_json()) == RUNS[2]


@pytest.mark.slow
def test_looped_and_vmapped_runs_agree_and_improve(dataset):
    losses = {}
    for strategy in ("loop", "vmap"):
        rows = losses[strategy] = {}
        sweep(
            RUNS, dataset, strategy=strategy, on_epoch=lambda r, rows=rows: rows.update({(r.run.name, r.epoch): r.test})
        )
    for key, looped in losses["loop"].items():
        for a, b in zip(jax.tree.leaves(looped), jax.tree.leaves(losses["vmap"][key]), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-3)
        assert float(looped.kl) == pytest.approx(sum(map(float, looped.terms.values())), rel=1e-5)
    for one in RUNS:
        assert losses["loop"][one.name, 2].loss < losses["loop"][one.name, 0].loss


@pytest.mark.slow
def test_padding_leaves_the_prior_and_the_posterior_alone(dataset):
    """A lane of two dimensions in a program of three: the unused prior and heads stay zero."""
    states = sweep(RUNS, dataset, strategy="vmap")
    small = states[RUNS[0].name].params
    assert small["prior"]["mean"].shape == (3, 2)
    assert small["encoder"]["factor"]["kernel"].shape == (12, 2, 2)
    assert np.abs(small["prior"]["log_std"]).max() > 0  # it is trained


def test_a_continued_study_has_the_same_bits(dataset, finished, tmp_path):
    first = Study(tmp_path / "study", [run(2, epochs=1), run(3, epochs=1), run(3, 4.0, epochs=1)], dataset)
    first.train("vmap", quiet=True)
    Study(tmp_path / "study", RUNS, dataset).train("vmap", quiet=True)
    for one in RUNS:
        whole, continued = jaxvae.load(finished / one.name), jaxvae.load(tmp_path / "study" / one.name)
        assert same(whole.params, continued.params)
        assert [entry["test"] for entry in whole.metrics] == [entry["test"] for entry in continued.metrics]


def test_a_loader_that_does_not_know_the_parts_is_handed_them(finished, monkeypatch):
    for cls in OWN:
        monkeypatch.delitem(parts.REGISTERED, cls.part_name)  # as in a process that has not imported them
    folder = finished / RUNS[0].name
    with pytest.raises(InputError, match=r"there is no part named '.*'; import its module, or hand it in: parts=\[…\]"):
        jaxvae.load(folder)
    loaded = jaxvae.load(folder, parts=OWN)
    assert loaded.config == RUNS[0]
    assert loaded.sample(jax.random.key(0), 4).shape == (4, *SHAPE)
    assert loaded.reconstruct(np.zeros((2, *SHAPE), np.uint8)).shape == (2, *SHAPE)


def test_evaluation_bounds_the_likelihood_and_the_page_has_the_own_column(dataset, finished):
    loaded = jaxvae.load(finished / RUNS[1].name)
    report = Evaluation(Plan(samples=(1, 200))).evaluate(loaded, dataset)
    by_label = {record.label: record for record in report.records}
    one, many = by_label["L_K, K = 1"], by_label["L_K, K = 200"]
    assert one.value < many.value + 3 * many.standard_error
    rate, distortion, elbo = (by_label[name].value for name in ("rate", "distortion", "ELBO"))
    assert elbo == pytest.approx(-rate - distortion)
    assert by_label["rate"].estimator.startswith("mean over")  # a mixture has no closed form
    assert "mutual information" not in by_label  # nor this posterior independent dimensions
    assert by_label["code length"].value > 0
    records = {one.name: report.records if one is RUNS[1] else [] for one in RUNS}
    assert "code length" in [column.title for column in columns(read_results(finished), records)]
    assert read_evaluations(finished, RUNS, dataset.fingerprint) == {one.name: [] for one in RUNS}


def test_tables_figures_and_page_are_written(finished):
    head = (finished / "metrics.csv").read_text().splitlines()[0]
    assert head.endswith("reconstruction,kl,loss,dimension-wise KL,information,total correlation")
    figures = {path.name for path in (finished / "figures").iterdir()}
    assert {"curves.png", "rate-distortion.png", "comparison.png"} <= figures
    assert f"latent-{RUNS[0].name}.png" in figures
    page = (finished / "report.html").read_text()
    assert all(one.name in page for one in RUNS)
    assert "γ" in page


def test_what_couples_a_batch_is_not_shared_among_devices(dataset):
    with pytest.raises(ConfigError, match="couples a batch"):
        check(RUNS[:1], dataset, "vmap", mesh=make_mesh("data=2"))


def test_no_file_of_the_package_names_any_of_it():
    for path in Path(jaxvae.__file__).parent.rglob("*.py"):
        text = path.read_text()
        assert not [cls.__name__ for cls in OWN if re.search(rf"\b{cls.__name__}\b", text)], path
