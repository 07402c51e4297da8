"""Metrics of codes: how many dimensions carry something, what they tell, how classes lie apart, what is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jaxvae.evaluation.metrics import Column, Measured, metric

if TYPE_CHECKING:  # it imports JAX, which a command's --help does without
    from jaxvae.evaluation.subject import Subject

PAIRS = "one code an image against the mixture of all posteriors"
ON_TRAINING = "posterior means, fitted on the training split"
LOOKED_AT = ("codes", "several images")
FITTED = (*LOOKED_AT, "labels", "test split")


@metric(
    "active units", "dimensions", "latent dimensions whose posterior mean varies by more than 0.01 (Burda et al. 2016)",
    "several images", column=Column("active units", places=0),
)  # fmt: skip
def _active(subject: Subject) -> Iterator[Measured]:
    yield Measured(float(subject.active.sum()), "variance of posterior means above 0.01")


@metric(
    "collapsed units", "dimensions",
    "the other dimensions: q(z|x) says nothing about x there, which is posterior collapse", "several images",
)  # fmt: skip
def _collapsed(subject: Subject) -> Iterator[Measured]:
    yield Measured(float((~subject.active).sum()), "the dimensions that are not active")


@metric(
    "mutual information", "nats",
    "of image and code, I(n; z) over the split; at most log of its size (Hoffman & Johnson 2016)",
    *LOOKED_AT, "independent codes",
)  # fmt: skip
def _mutual_information(subject: Subject) -> Iterator[Measured]:
    yield Measured(subject.information.mutual_information, PAIRS)


@metric(
    "marginal KL", "nats",
    "KL(q(z) ‖ p(z)) of the aggregate posterior: rate minus mutual information (Hoffman & Johnson 2016)",
    *LOOKED_AT, "independent codes",
)  # fmt: skip
def _marginal_kl(subject: Subject) -> Iterator[Measured]:
    yield Measured(subject.information.marginal_kl, PAIRS)


@metric(
    "Fréchet distance", "", "2-Wasserstein distance between normals with the moments of q(z) and of the prior",
    *LOOKED_AT, "independent codes",
)  # fmt: skip
def _frechet(subject: Subject) -> Iterator[Measured]:
    yield Measured(subject.frechet_distance, "first two moments")


@metric(
    "nearest neighbours", "share", "accuracy of the 10 nearest training codes' vote on a test image's digit", *FITTED,
    column=Column("nearest neighbours", "%", scale=100, places=1),
)  # fmt: skip
def _neighbours(subject: Subject) -> Iterator[Measured]:
    yield Measured(subject.nearest_neighbours == subject.labels, ON_TRAINING)


@metric(
    "linear probe", "share", "accuracy of logistic regression from codes to digits, fitted on the training split",
    *FITTED,
)  # fmt: skip
def _probe(subject: Subject) -> Iterator[Measured]:
    yield Measured(subject.linear_probe == subject.labels, ON_TRAINING)


@metric(
    "classification", "share", "accuracy of the model's own q(y|x) (Kingma et al. 2014)",
    "labels", "class reader", column=Column("classified rightly", "%", scale=100, places=1),
)  # fmt: skip
def _classification(subject: Subject) -> Iterator[Measured]:
    yield Measured(subject.classified == subject.labels, "the most probable class")


def _weighted(subject: Subject, quantity: str) -> Iterator[Measured]:
    """The mean over images of what is known by class."""
    if subject.classes["classes"]:
        yield Measured(subject.mean_over_classes(quantity), "posterior means")


@metric(
    "purity", "share", "share of a code's 10 nearest neighbours, within the split, that show the same digit",
    *LOOKED_AT, "labels",
)  # fmt: skip
def _purity(subject: Subject) -> Iterator[Measured]:
    yield from _weighted(subject, "purity")


@metric(
    "silhouette", "", "mean silhouette of codes grouped by digit, from −1 to 1 (Rousseeuw 1987)",
    *LOOKED_AT, "labels",
)  # fmt: skip
def _silhouette(subject: Subject) -> Iterator[Measured]:
    yield from _weighted(subject, "silhouette")


@metric(
    "reading", "share", "share of reconstructions that a classifier trained on originals reads as the image's digit",
    *LOOKED_AT, "labels",
)  # fmt: skip
def _reading(subject: Subject) -> Iterator[Measured]:
    yield Measured(subject.read_rightly, "conv classifier, reconstructions from posterior means")


@metric("reading of originals", "share", "the same classifier's accuracy on the original images", *LOOKED_AT, "labels")
def _originals(subject: Subject) -> Iterator[Measured]:
    yield Measured(subject.read_originals == subject.labels, "conv classifier")
