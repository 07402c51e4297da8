"""A variational auto-encoder as an estimator of scikit-learn: a transformer to codes, and a density.

In: tables [n, columns]. Out: codes, tables, log-densities; for pipelines, grid searches and cross-validation.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from jaxvae.data import from_arrays
from jaxvae.study import Run, fit, model_for

MAX_SEED = 2**31 - 1


class VAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A variational auto-encoder (Kingma & Welling 2014), with what suits the data wherever nothing is said.

    `fit` trains on all rows; hold rows out by cross-validation, or fit with `jaxvae.fit`, which does. As a transformer
    it gives posterior means, as a density estimator the importance-weighted bound on log p(x) (Burda et al. 2016).

    Args:
        latent_dim: columns of the codes; default, 10, or as many as there are columns if they are fewer.
        network: from `jaxvae.models`, or your own; default, `MLP()`.
        likelihood: default, `Bernoulli()` for bytes, which stand for [0, 1], and for zeros and ones, `Poisson()` for
            other whole numbers of at least 0, else `Gaussian()`. Scores under different likelihoods do not compare.
        objective: from `jaxvae.objectives`; default, `ELBO()`. `optimiser`: from `jaxvae.optimisers`, default `Adam()`.
        epochs, batch_size: see `jaxvae.fit`.
        standardize: whether columns are standardised before the model sees them, under a likelihood of any real
            numbers. What the estimator takes, returns and scores stays in the numbers as given.
        samples: codes for each row in `score_samples`.
        random_state: of parameters, noise and the order of rows.
        verbose: whether training prints its progress.

    Attributes:
        run_: the trained `jaxvae.Run`, whose `metrics` have the losses of all rows after each epoch as `test`.
        n_features_in_, feature_names_in_: of the rows it was fitted on; names where they had some.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(200, 5))
        >>> VAE(latent_dim=2, epochs=3, random_state=0).fit_transform(X).shape
        (200, 2)
    """

    def __init__(
        self,
        latent_dim: Any = None,
        *,
        network: Any = None,
        likelihood: Any = None,
        objective: Any = None,
        optimiser: Any = None,
        epochs: Any = None,
        batch_size: Any = None,
        standardize: Any = True,
        samples: Any = 500,
        random_state: Any = None,
        verbose: Any = False,
    ):
        self.latent_dim = latent_dim
        self.network = network
        self.likelihood = likelihood
        self.objective = objective
        self.optimiser = optimiser
        self.epochs = epochs
        self.batch_size = batch_size
        self.standardize = standardize
        self.samples = samples
        self.random_state = random_state
        self.verbose = verbose

    run_: Run

    def fit(self, X: Any, y: Any = None) -> VAE:
        """Trains on the rows of X; y is ignored."""
        X = validate_data(self, X)
        vae = model_for(from_arrays(X, test=X), self.latent_dim, encoder=self.network, likelihood=self.likelihood)
        run = fit(
            X, vae, test=X, objective=self.objective, optimiser=self.optimiser, epochs=self.epochs,
            batch_size=self.batch_size, seed=_seed(self.random_state), standardize=self.standardize,
            quiet=not self.verbose,
        )  # fmt: skip
        self.run_ = dataclasses.replace(run, data=None)  # rows are no part of a model that is pickled
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Means of q(z|x), [n, latent_dim]."""
        X = self._rows(X)
        return np.asarray(self.run_.codes(X).mean, _dtype(X))

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Means of p(x|z), [n, columns], of the codes in X."""
        check_is_fitted(self)
        X = check_array(X)
        return np.asarray(self.run_.decode(X), _dtype(X))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Rows drawn from p(x), [n_samples, columns]."""
        check_is_fitted(self)
        return np.asarray(self.run_.sample(jax.random.key(_seed(random_state)), n_samples, noise=True), np.float64)

    def score_samples(self, X: Any) -> np.ndarray:
        """log p(x) of each row, nats, by the bound that `jaxvae.Run.log_likelihood` computes."""
        return self.run_.log_likelihood(self._rows(X), self.samples)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`: higher is better; y is ignored."""
        return float(self.score_samples(X).mean())

    def _rows(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, reset=False))

    @property
    def _n_features_out(self) -> int:
        return self.run_.config.latent_dim

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "density_estimator"
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _seed(random_state: Any) -> int:
    """A whole number is the seed itself, as of `jaxvae.fit`."""
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(MAX_SEED))


def _dtype(X: np.ndarray) -> Any:
    return np.float32 if X.dtype == np.float32 else np.float64
