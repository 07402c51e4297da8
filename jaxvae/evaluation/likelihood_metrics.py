"""Metrics of likelihood: the evidence lower bound and its parts, bounds from many codes, annealing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jaxvae.evaluation.metrics import Column, Measured, metric

if TYPE_CHECKING:  # they take their time, and it imports JAX, which a command's --help does without
    import numpy as np

    from jaxvae.evaluation.subject import Subject

SAMPLED, ANNEALED = "importance sampling", "annealing"


def _over(subject: Subject) -> str:
    return f"mean over {subject.plan.ks[-1]:,} codes from q(z|x)"


@metric(
    "ELBO", "nats", "evidence lower bound, mean over the codes drawn: minus rate minus distortion",
    SAMPLED, of_likelihood=True,
)  # fmt: skip
def _elbo(subject: Subject) -> Iterator[Measured]:
    elbo = -(subject.distortion + subject.rate[0])
    yield Measured(elbo, f"−rate − distortion, {_over(subject)}", subject.plan.ks[-1])


@metric("rate", "nats", "KL(q(z|x) ‖ p(z)): nats that a code costs")
def _rate(subject: Subject) -> Iterator[Measured]:
    yield Measured(*subject.rate)


@metric(
    "distortion", "nats", "−E log p(x|z), mean over the codes drawn: nats that a code leaves to the pixels",
    SAMPLED, of_likelihood=True,
)  # fmt: skip
def _codes_leave(subject: Subject) -> Iterator[Measured]:
    yield Measured(subject.distortion, _over(subject), subject.plan.ks[-1])


@metric(
    "L_K", "nats", "importance-weighted bound on log p(x) from K codes; rises to log p(x) with K (Burda et al. 2016)",
    SAMPLED, column=Column("−log p(x)", "K = {:,}, nats", scale=-1), of_samples=True, of_likelihood=True,
)  # fmt: skip
def _bounds(subject: Subject) -> Iterator[Measured]:
    for i, k in enumerate(subject.plan.ks):
        yield Measured(subject.weighted.bound[:, i], "importance weighting by q(z|x)", k)


@metric(
    "bits per dimension", "bits", "of bytes, an upper bound: −L_K / (dimensions · log 2), of dequantised bytes 8 more",
    SAMPLED, "bytes", column=Column("bits per dimension", "K = {:,}", places=3), of_samples=True, of_likelihood=True,
)  # fmt: skip
def _bits(subject: Subject) -> Iterator[Measured]:
    """A density of (byte + u)/256 bounds the byte's probability, which is 256 times as small (Theis et al. 2016)."""
    dequantised = subject.vae.likelihood.measure == "density"
    how = "importance weighting by q(z|x)" + (", dequantised" if dequantised else "")
    for i, k in enumerate(subject.plan.ks):
        bits = -subject.weighted.bound[:, i] / (math.prod(subject.vae.shape) * math.log(2))
        yield Measured(bits + 8 * dequantised, how, k)


@metric(
    "effective sample size", "codes",
    "of the K weights behind L_K: near K if q is the posterior, near 1 if L_K is loose",
    SAMPLED, of_samples=True,
)  # fmt: skip
def _sample_size(subject: Subject) -> Iterator[Measured]:
    for i, k in enumerate(subject.plan.ks):
        yield Measured(subject.weighted.ess[:, i], "(Σw)²/Σw²", k)


def _annealed(subject: Subject, values: np.ndarray, images: str = "") -> Iterator[Measured]:
    how = f"annealing from the prior, {subject.plan.ais_steps:,} steps of 10 leapfrog steps"
    yield Measured(values, how, subject.plan.ais_chains, split=images, binarization=images)


@metric(
    "AIS", "nats", "log p(x) by annealed importance sampling, a lower bound in expectation (Neal 2001; Wu et al. 2017)",
    ANNEALED, of_likelihood=True,
)  # fmt: skip
def _ais(subject: Subject) -> Iterator[Measured]:
    yield from _annealed(subject, subject.annealed.lower)


@metric(
    "AIS above L_K", "nats", "what annealing finds more than L_K of the largest K, image by image", ANNEALED, SAMPLED
)
def _above(subject: Subject) -> Iterator[Measured]:
    tightest, lower = subject.weighted.bound[:, -1].mean(0), subject.annealed.lower
    for measured in _annealed(subject, lower - tightest[: len(lower)]):
        yield measured._replace(samples=None, estimator=f"K = {subject.plan.ks[-1]:,}; {measured.estimator}")


@metric("AIS acceptance", "share", "share of Hamiltonian proposals accepted; 0.65 is aimed at", ANNEALED)
def _acceptance(subject: Subject) -> Iterator[Measured]:
    yield from _annealed(subject, subject.annealed.acceptance)


OWN = "simulated"  # images, drawn from the model


@metric(
    "simulated, AIS", "nats", "the same for images drawn from the model: the lower end of the bracket",
    ANNEALED, "own images", of_likelihood=True,
)  # fmt: skip
def _lower(subject: Subject) -> Iterator[Measured]:
    yield from _annealed(subject, subject.simulated.lower, OWN)


@metric(
    "simulated, reverse AIS", "nats",
    "chains from the codes those images were drawn with: the upper end (Grosse et al. 2015)",
    ANNEALED, "own images", of_likelihood=True,
)  # fmt: skip
def _upper(subject: Subject) -> Iterator[Measured]:
    yield from _annealed(subject, _reverse(subject), OWN)


@metric(
    "bracket", "nats", "upper minus lower end: what AIS may be wrong by, on images of the model's own",
    ANNEALED, "own images",
)  # fmt: skip
def _bracket(subject: Subject) -> Iterator[Measured]:
    yield from _annealed(subject, _reverse(subject) - subject.simulated.lower, OWN)


def _reverse(subject: Subject) -> np.ndarray:
    upper = subject.simulated.upper
    assert upper is not None
    return upper
