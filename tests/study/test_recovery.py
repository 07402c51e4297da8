"""Models of counts and of classes, trained on data whose truth is known: they find it, and claim no more than it."""

from itertools import product

import numpy as np
import pytest
from scipy.special import logsumexp

import jaxvae
from jaxvae.data import Dataset, counts
from jaxvae.evaluation import likelihood
from jaxvae.models import MLP, VAE, Categorical, MLPDecoder, NegativeBinomial, Poisson
from jaxvae.optimisers import Adam

pytestmark = pytest.mark.slow
HIDDEN = (64,)


def fitted(dataset, of_counts):
    model = VAE(2, MLP(HIDDEN), MLPDecoder(HIDDEN, output_bias="data"), likelihood=of_counts)
    return jaxvae.fit(dataset, model, epochs=60, optimiser=Adam(5e-3), quiet=True)


def relative_errors(run, dataset, truth):
    """Of mean decoded shares of the cells of each group, [group, gene]."""
    shares = np.asarray(run.reconstruct(dataset.train_images), float) / float(run.params["likelihood"]["library"])
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-4)
    found = [shares[dataset.train_labels == group].mean(0) for group in range(counts.GROUPS)]
    return np.array(found) / truth.proportions - 1


def test_a_negative_binomial_model_finds_proportions_and_dispersions():
    """The counts themselves, averaged by groups that the model is not told of, are off by 1.7 % (root mean square)."""
    truth, dataset = counts.truth(), Dataset("counts", **counts.make())
    run = fitted(dataset, NegativeBinomial("observed"))
    assert np.sqrt((relative_errors(run, dataset, truth) ** 2).mean()) < 0.08
    ratio = np.exp(np.asarray(run.params["likelihood"]["log_theta"], float)) / truth.theta
    assert np.exp(np.log(ratio).mean()) == pytest.approx(1, abs=0.07)
    assert np.log(ratio).std() < 0.12


def test_a_poisson_model_finds_proportions():
    truth = counts.truth()._replace(theta=np.full(counts.GENES, np.inf))
    train, test = (counts.draw(truth, n, np.random.default_rng(n)) for n in (5_000, 1_000))
    dataset = Dataset("counts", train.counts, train.groups, test.counts, test.groups)
    run = fitted(dataset, Poisson("observed"))
    assert np.sqrt((relative_errors(run, dataset, truth) ** 2).mean()) < 0.05


def test_a_categorical_model_beats_no_entropy():
    """Six numbers of three classes from a mixture of three patterns: all 729 examples have a known probability."""
    rng = np.random.default_rng(0)
    patterns = rng.dirichlet(np.full(3, 0.4), (3, 6))  # [pattern, number, class]
    every = np.array([*product(range(3), repeat=6)])
    log_p = np.log(patterns)[:, np.arange(6), every].sum(-1)  # [pattern, example]
    log_p = logsumexp(log_p, axis=0) - np.log(3)
    p = np.exp(log_p)
    assert p.sum() == pytest.approx(1)
    train, test = (rng.choice(len(every), n, p=p) for n in (20_000, 10_000))
    dataset = Dataset("patterns", every[train], None, every[test], None)
    model = VAE(2, MLP(HIDDEN), likelihood=Categorical(3))
    run = jaxvae.fit(dataset, model, epochs=20, optimiser=Adam(3e-3), quiet=True)
    bound = likelihood.bounds(run.vae, run.params, dataset.test_images.astype(np.float32), (100,)).bound[0]
    excess = log_p[test] - bound  # its expectation is the divergence of the model from the source, and the bound's gap
    error = excess.std() / np.sqrt(len(test))
    assert excess.mean() > -3 * error
    by_itself = np.log(patterns.mean(0))[np.arange(6), every].sum(-1)  # what a model of independent numbers can say
    assert excess.mean() < p @ (log_p - by_itself) / 4  # 0.44 nats
    assert -bound.mean() > -(p @ log_p) - 4 * log_p[test].std() / np.sqrt(len(test))
    assert set(np.unique(run.reconstruct(dataset.test_images[:100]))) <= {0, 1, 2}
