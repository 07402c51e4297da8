"""A run under evaluation: what metrics are computed from, each part computed once and only if it is asked for.

In: a loaded run, the images that it sees, a plan. Out: codes, importance weights, annealed chains, readings.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxvae.data import Dataset, first_examples
from jaxvae.errors import MAX_INT32, InputError, is_whole, quoted
from jaxvae.evaluation import codes, likelihood
from jaxvae.evaluation.readings import by_class, read_classes, reader
from jaxvae.models import (
    GIVEN_TOTALS,
    DiagonalNormal,
    StandardNormal,
    Support,
    conditions_of,
)
from jaxvae.runs import Run

Advance = Callable[[str, int, int], None]  # what is computed, images done since the last call, images in all


class Plan(NamedTuple):
    """What is computed, and how thoroughly."""

    samples: tuple[int, ...] = (1, 5, 50, 500, 5000)  # of the importance-weighted bound; none if empty
    split: str = "test"
    images: int | None = None  # of the split, the first; all if None
    repeats: int = 1  # of the importance-weighted bound, with fresh draws
    ais_images: int = 0  # annealed importance sampling on the first so many, and on as many simulated ones
    ais_steps: int = 1000
    ais_chains: int = 16
    codes: bool = True
    seed: int = 0

    def check(self) -> None:
        """Raises: InputError."""
        least = {"images": 1, "repeats": 1, "ais_images": 0, "ais_steps": 1, "ais_chains": 1, "seed": 0}
        given = [(name, limit, getattr(self, name)) for name, limit in least.items()]
        if not isinstance(self.samples, tuple):
            raise InputError(f"samples must be a tuple of whole numbers, not {quoted(self.samples)}")
        for name, limit, value in [*given, *(("samples", 1, k) for k in self.samples)]:
            below = 2**32 if name == "seed" else MAX_INT32
            if not is_whole(value, limit, below) and (name, value) != ("images", None):
                limits = f"a whole number of at least {limit} and below {below}"
                raise InputError(f"{name.replace('_', ' ')} must be {limits}, not {quoted(value)}")
        if self.seed + self.repeats > 2**32:
            raise InputError(f"seed plus repeats must be at most {2**32}, not {self.seed} + {self.repeats}")
        if self.split not in ("train", "test"):
            raise InputError(f"split must be train or test, not {quoted(self.split)}")

    @property
    def ks(self) -> tuple[int, ...]:
        """The numbers of samples, ascending."""
        return tuple(sorted(set(self.samples)))


class Arrays(NamedTuple):
    """Independent normals, as NumPy's arrays."""

    mean: np.ndarray
    log_std: np.ndarray


class Subject:
    """A run and the images that it is evaluated on.

    Args:
        run: with its products in float32.
        dataset: the images as the run sees them.
        readers: classifiers by the fingerprint of their dataset, to be trained once for all runs.
        conditions: of a model that has one, those of the images of either split; default, the dataset's.
    """

    def __init__(
        self, run: Run, dataset: Dataset, plan: Plan, advance: Advance, readers: dict[str, Any], conditions: Any = None
    ):
        self.run, self.vae, self.params = run, run.vae, run.params
        self.dataset, self.plan, self.advance, self._readers = dataset, plan, advance, readers
        labels, given = dataset.labels, (conditions, conditions)
        given = conditions_of(run.config.vae.condition, dataset) if conditions is None else given
        self.train_conditions = given[0]
        self.conditions = jax.tree.map(lambda rows: rows[: plan.images], given[plan.split == "test"])
        known = getattr(run.config.vae.condition, "known", None)
        if known and not known(self.conditions).all():
            which = f"examples of the {plan.split} split lack a class, which is the condition"
            raise InputError(f"{run.folder}: {which}; evaluate the test split")
        self.images = first_examples(getattr(dataset, f"{plan.split}_images"), plan.images)
        self.labels = labels and labels[plan.split == "test"][: plan.images]
        if self.labels is not None and (self.labels < 0).any():
            self.labels = None  # of the training split, where some are not known

    def has(self, need: str) -> bool:
        """Whether it has what a metric needs, a key of `metrics.NEEDS`."""
        measure, support = self.vae.likelihood.measure, getattr(self.vae.likelihood, "support", Support())
        grey_levels = self.run.in_bytes and self.run.config.binarize == "none"
        independent = isinstance(self.vae.posterior, DiagonalNormal) and isinstance(self.vae.prior, StandardNormal)
        return {
            "labels": self.labels is not None,
            "class reader": getattr(self.run.config.vae.condition, "network", None) is not None,
            "several images": len(self.images) > 1,
            "codes": self.plan.codes,
            "importance sampling": bool(self.plan.samples),
            "annealing": bool(self.plan.ais_images),
            "test split": self.plan.split == "test",
            "own images": measure != GIVEN_TOTALS,
            "bytes": grey_levels and (support.bytes or measure == "density"),
            "independent codes": independent,
        }[need]

    # ── codes ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def codes(self) -> Arrays:
        """Mean and log-std of each latent dimension of q(z|x), [n, d].

        Raises:
            InputError: they are not finite.
        """
        mean, log_std = (np.asarray(leaf) for leaf in self.run.codes(self.images, self.conditions))
        if not (np.isfinite(mean).all() and np.isfinite(log_std).all()):
            raise InputError(f"{self.run.folder} has codes that are not finite: its training diverged")
        return Arrays(mean, log_std)

    @cached_property
    def train_codes(self) -> np.ndarray:
        """Posterior means of the training examples that have a class."""
        rows, images = self.dataset.labelled, self.dataset.train_images
        given = jax.tree.map(lambda stored: stored[rows], self.train_conditions)
        if given is None:  # in blocks, where they stay in a file
            return np.asarray(self.run.codes(images).mean)[rows]
        return np.asarray(self.run.codes(images[rows], given).mean)

    @cached_property
    def rate(self) -> tuple[np.ndarray, str]:
        """KL(q(z|x) ‖ p(z)) of each image, and how it was computed."""
        if self.has("independent codes"):
            return codes.kl_per_image(*self.codes), "exact"
        return likelihood.rate(self.vae, self.params, self.images, self.plan.seed, conditions=self.conditions)

    @cached_property
    def kl_per_dimension(self) -> np.ndarray | None:
        """Nats, mean over images; None where dimensions are not independent."""
        return codes.kl_per_dimension(*self.codes) if self.has("independent codes") else None

    @cached_property
    def active(self) -> np.ndarray:
        return codes.active(self.codes.mean)

    @cached_property
    def information(self) -> codes.Information:
        return codes.information(*self.codes, self.plan.seed)

    @cached_property
    def frechet_distance(self) -> float:
        return codes.frechet_distance(*self.codes)

    @cached_property
    def nearest_neighbours(self) -> np.ndarray:
        """The class that the nearest training codes vote for, of each image."""
        return codes.nearest_neighbours(self.train_codes, self._train_labels, self.codes.mean)

    @cached_property
    def linear_probe(self) -> np.ndarray:
        """The class that logistic regression on training codes gives each image."""
        return codes.linear_probe(self.train_codes, self._train_labels, self.codes.mean)

    @property
    def _train_labels(self) -> np.ndarray:
        """Of the examples of `train_codes`."""
        assert self.dataset.labels is not None
        return self.dataset.labels[0][self.dataset.labelled]

    # ── likelihoods ──────────────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def weighted(self) -> likelihood.Weighted:
        """Bounds for each K; before the other axes one of repeats, [r, k, n] and [r, n]."""
        what, total = f"importance sampling, K = {self.plan.ks[-1]:,}", len(self.images) * self.plan.repeats
        self.advance(what, 0, total)
        repeats = [
            likelihood.bounds(
                self.vae, self.params, self.images, self.plan.ks, self.plan.seed + repeat,
                conditions=self.conditions, advance=lambda done: self.advance(what, done, total),
            )
            for repeat in range(self.plan.repeats)
        ]  # fmt: skip
        return likelihood.Weighted(*map(np.stack, zip(*repeats, strict=True)))

    @property
    def distortion(self) -> np.ndarray:
        """−E log p(x|z) over the codes of the largest K, a row for each repeat, [r, n]."""
        return -self.weighted.log_likelihood

    @cached_property
    def annealed(self) -> likelihood.Annealed:
        """Annealed importance sampling on images of the split."""
        return self._annealed("annealed importance sampling", self.images[: self.plan.ais_images])

    @cached_property
    def simulated(self) -> likelihood.Annealed:
        """The same, both ways, on as many images of the model's own."""
        count = min(self.plan.ais_images, len(self.images))
        conditions = self._first_conditions(count)
        own, given = likelihood.simulated(
            self.vae, self.params, count, self.plan.seed, self.images.dtype, conditions=conditions
        )
        return self._annealed("annealing on simulated images, both ways", own, given)

    def _first_conditions(self, count: int) -> Any:
        return jax.tree.map(lambda rows: rows[:count], self.conditions)

    def _annealed(self, what: str, images: np.ndarray, given: np.ndarray | None = None) -> likelihood.Annealed:
        self.advance(what, 0, len(images))
        return likelihood.annealed(
            self.vae, self.params, images, self.plan.ais_steps, self.plan.ais_chains, self.plan.seed,
            conditions=self._first_conditions(len(images)), codes=given,
            advance=lambda done: self.advance(what, done, len(images)),
        )  # fmt: skip

    # ── what is read ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def reader(self) -> Any:
        """Parameters of a classifier trained on the images that the run sees."""
        key = self.dataset.fingerprint
        if key not in self._readers:
            what = "training a classifier that reads digits"
            self.advance(what, 0, 1)
            self._readers[key] = jax.block_until_ready(reader(self.dataset))
            self.advance(what, 1, 1)
        return self._readers[key]

    @cached_property
    def classified(self) -> np.ndarray:
        """The class that the model itself reads in each image."""
        return np.asarray(self.run.classify(self.images)).argmax(1)

    @cached_property
    def read_originals(self) -> np.ndarray:
        """The class that the classifier reads in each original image."""
        return read_classes(self.reader, self.images)

    @cached_property
    def classes(self) -> dict[str, Any]:
        """See `by_class`."""
        return by_class(self.run, self.reader, self.images, self.labels, self.dataset.classes, self.conditions)

    @property
    def read_rightly(self) -> np.ndarray:
        """One for each reconstruction in which its class is read, zero for each other, in no order."""
        right = int(np.trace(self.classes["confusion"]))
        return np.repeat([1, 0], [right, len(self.images) - right])

    def mean_over_classes(self, quantity: str) -> float:
        """What is known by class, weighted by how many images each has."""
        weights = np.bincount(self.labels)[self.classes["classes"]] / len(self.images)  # type: ignore[arg-type]
        return float(np.dot(self.classes[quantity], weights))
