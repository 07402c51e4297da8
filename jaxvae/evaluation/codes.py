"""What latent codes are worth: how many dimensions carry something, what they tell, how digits lie apart in them.

In: means and log-stds of q(z|x), [n, d], and labels. Out: numbers; float64 throughout.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

ACTIVE = 0.01  # variance of a posterior mean over the data above which its dimension is active (Burda et al. 2016)
NEIGHBOURS = 10
CHUNK = 500  # rows of a matrix of pairs that are held at once


def _kl(mean: np.ndarray, log_std: np.ndarray) -> np.ndarray:
    """KL(q(z_j|x) ‖ p(z_j)) of each image and dimension, in nats (Kingma & Welling 2014, appendix B)."""
    mean, log_std = mean.astype(np.float64), log_std.astype(np.float64)
    return np.maximum(0.5 * (mean**2 + np.exp(2 * log_std) - 1 - 2 * log_std), 0)  # rounded below it near the prior


def kl_per_dimension(
    mean: np.ndarray, log_std: np.ndarray, prior: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """KL(q(z_j|x) ‖ p(z_j)) of each dimension j, mean over images, in nats: they add up to the rate. [d]

    Args:
        prior: mean and log-std of p(z|c), of each image [n, d]; default, of N(0, I).
    """
    if prior is not None:  # the same divergence, in units in which the prior is standard normal
        mean, log_std = (mean - prior[0]) * np.exp(-prior[1]), log_std - prior[1]
    return _kl(mean, log_std).mean(0)


def kl_per_image(mean: np.ndarray, log_std: np.ndarray) -> np.ndarray:
    """KL(q(z|x) ‖ p(z)) of each image, in nats: their mean is the rate. [n]"""
    return _kl(mean, log_std).sum(1)


def active(mean: np.ndarray) -> np.ndarray:
    """Which dimensions are active: Cov_x(E[z_j|x]) > 0.01 (Burda, Grosse & Salakhutdinov 2016, section 5.2). [d]"""
    return mean.astype(np.float64).var(0) > ACTIVE


class Information(NamedTuple):
    """One value for each image, in nats; rate = mutual_information + marginal_kl in expectation."""

    mutual_information: np.ndarray  # log q(z|x) − log q(z)
    marginal_kl: np.ndarray  # log q(z) − log p(z)


def information(mean: np.ndarray, log_std: np.ndarray, seed: int = 0) -> Information:
    """Mutual information of image and code, and KL of the aggregate posterior from the prior, one code an image.

    q(z) is the mixture of the n posteriors given, so that the mutual information cannot exceed log n, and every code is
    compared with all of them (Hoffman & Johnson 2016, equations 5 to 7). A rate well above log n is then nearly all
    marginal KL, whatever the codes are like.

    Args:
        mean, log_std: of q(z|x) for each image, [n, d].

    Returns:
        Both for each image, nats, [n].
    """
    mean, log_std = mean.astype(np.float64), log_std.astype(np.float64)
    n = len(mean)
    noise = np.random.default_rng(seed).standard_normal(mean.shape)
    z = mean + np.exp(log_std) * noise
    log_conditional = _constant(z) - (0.5 * noise**2 + log_std).sum(1)
    log_prior = _constant(z) - 0.5 * (z**2).sum(1)
    in_pairs = _by_products if _loses_nothing(z, mean, log_std) else _by_differences
    log_marginal = np.empty(n)
    for start in range(0, n, CHUNK):
        rows = slice(start, start + CHUNK)
        pairs = in_pairs(z[rows], mean, log_std)
        if in_pairs is _by_differences:  # a code may be its own mean but for what a float cannot tell apart
            pairs[range(len(pairs)), range(n)[rows]] = log_conditional[rows]
        log_marginal[rows] = logsumexp(pairs, axis=1) - np.log(n)
    return Information(log_conditional - log_marginal, log_marginal - log_prior)


def _constant(z: np.ndarray) -> float:
    """Of the logarithm of a normal density in as many dimensions as a code has."""
    return -0.5 * np.log(2 * np.pi) * z.shape[1]


def _loses_nothing(z: np.ndarray, mean: np.ndarray, log_std: np.ndarray) -> bool:
    """Whether the terms that `_by_products` subtracts from each other are small enough for a millionth of a nat."""
    squares = np.square(z).max(0) + np.square(mean).max(0)
    return bool(squares @ np.exp(-2 * log_std.min(0)) * np.finfo(np.float64).eps < 1e-6)


def _by_products(z: np.ndarray, mean: np.ndarray, log_std: np.ndarray) -> np.ndarray:
    """log N(z; mean, std²) of each code under each posterior, [codes, n].

    It is −½ z²/std² + z·mean/std² + a term of the posterior alone.
    """
    precision = np.exp(-2 * log_std)
    own = _constant(z) - (0.5 * mean**2 * precision + log_std).sum(1)
    return z @ (mean * precision).T - 0.5 * z**2 @ precision.T + own


def _by_differences(z: np.ndarray, mean: np.ndarray, log_std: np.ndarray) -> np.ndarray:
    """The same where posteriors are far from zero for how narrow they are: slow."""
    found = np.repeat(_constant(z) - log_std.sum(1)[None], len(z), axis=0)
    for own, center, width in zip(z.T, mean.T, log_std.T, strict=True):
        difference = own[:, None] - center
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.where(difference == 0, 0.0, difference * np.exp(-width))
            found -= 0.5 * np.square(scaled)
    return found


def frechet_distance(mean: np.ndarray, log_std: np.ndarray) -> float:
    """2-Wasserstein distance between two normals: one with the aggregate posterior's moments, and the prior.

    √(|μ|² + tr(Σ + I − 2 Σ^½)) (Dowson & Landau 1982); 0 if they agree.
    """
    mean = mean.astype(np.float64)
    covariance = np.cov(mean.T, bias=True).reshape(mean.shape[1], -1) + np.diag(np.exp(2.0 * log_std).mean(0))
    spread = np.sqrt(np.clip(np.linalg.eigvalsh(covariance), 0, None))
    return float(np.sqrt((mean.mean(0) ** 2).sum() + ((spread - 1) ** 2).sum()))


def nearest_neighbours(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The digit that most of the 10 nearest training codes show, for each test code."""
    from sklearn.neighbors import KNeighborsClassifier

    with _as_they_are():
        return KNeighborsClassifier(min(NEIGHBOURS, len(train))).fit(train, train_labels).predict(test)


def linear_probe(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """What multinomial logistic regression on standardised training codes says of test codes."""
    if (train_labels == train_labels[0]).all():  # scikit-learn fits at least two
        return np.repeat(train_labels[:1], len(test))
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with _as_they_are():
        return probe.fit(train.astype(np.float64), train_labels).predict(test.astype(np.float64))


@contextlib.contextmanager
def _as_they_are():
    """Without scikit-learn's warnings of classes that have few images."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%")
        yield


class Separation(NamedTuple):
    """How apart the codes of each class lie; a value for each of `classes`."""

    classes: np.ndarray
    purity: np.ndarray  # share of a code's 10 nearest neighbours that are of its class
    silhouette: np.ndarray  # mean silhouette, −1 to 1 (Rousseeuw 1987)
    radius: np.ndarray  # of the class's mean code from the mean of all, by the codes' root mean square; 0 if that is 0


def separation(codes: np.ndarray, labels: np.ndarray) -> Separation:
    """Purity, silhouette and place of the classes among themselves. Euclidean, in the codes' own units."""
    from sklearn.metrics import silhouette_samples
    from sklearn.neighbors import NearestNeighbors

    codes = codes.astype(np.float64)
    classes = np.unique(labels)
    neighbours = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(codes) - 1)).fit(codes).kneighbors()[1]
    pure = (labels[neighbours] == labels[:, None]).mean(1)
    apart = silhouette_samples(codes, labels)
    centred = codes - codes.mean(0)
    scale = np.sqrt((centred**2).sum(1).mean())
    centres = np.stack([centred[labels == c].mean(0) for c in classes])

    def by_class(values):
        return np.array([values[labels == c].mean() for c in classes])

    return Separation(classes, by_class(pure), by_class(apart), np.linalg.norm(centres, axis=1) / (scale or 1.0))


def confusion(labels: np.ndarray, read: np.ndarray, classes: int) -> np.ndarray:
    """How often an image of class i was read as class j: counts, [i, j]."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, read), 1)
    return counts
