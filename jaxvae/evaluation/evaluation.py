"""What a trained run is worth: likelihoods and codes, as records that say how each number came about.

In: a loaded run, the dataset that it was trained on, a plan. Out: a `Report`: records, and what does not fit in one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae.config import LONGEST, RunConfig, is_whole
from jaxvae.data import Dataset, binarized
from jaxvae.errors import InputError, Remedy, shown
from jaxvae.evaluation import classifier, codes, likelihood
from jaxvae.evaluation.records import Record
from jaxvae.nn import automatic
from jaxvae.runs import Run

KS = (1, 5, 50, 500, 5000)
COLLAPSED = 0.5  # share of inactive dimensions from which a model is said to have collapsed

Advance = Callable[[str, int, int], None]  # what is computed, images done since the last call, images in all


class Plan(NamedTuple):
    """What is computed, and how thoroughly."""

    samples: tuple[int, ...] = KS  # of the importance-weighted bound; none if empty
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
            raise InputError(f"samples must be a tuple of whole numbers, not {shown(self.samples)}")
        for name, limit, value in [*given, *(("samples", 1, k) for k in self.samples)]:
            below = 2**32 if name == "seed" else LONGEST
            if not is_whole(value, limit, below) and (name, value) != ("images", None):
                limits = f"a whole number of at least {limit} and below {below}"
                raise InputError(f"{name.replace('_', ' ')} must be {limits}, not {shown(value)}")
        if self.seed + self.repeats > 2**32:
            raise InputError(f"seed plus repeats must be at most {2**32}, not {self.seed} + {self.repeats}")
        if self.split not in ("train", "test"):
            raise InputError(f"split must be train or test, not {shown(self.split)}")


class Report(NamedTuple):
    """An evaluated run."""

    records: list[Record]
    kl_per_dimension: list[float]  # nats, over the split
    digits: dict[str, Any]  # separation and confusion by digit; empty without codes
    remarks: list[str]  # what the numbers say, in words


def data_of(run: Run, dataset: Dataset) -> Dataset:
    """The part of `dataset` that the run was trained and tested on.

    Raises:
        InputError: it is not that dataset.
    """
    about = run.about.get("dataset")
    if not about:
        raise InputError(f"{run.folder / 'config.json'} does not say which data the run was trained on")
    n, m = about.get("train_images"), about.get("test_images")
    if not (is_whole(n, 1) and is_whole(m, 1) and isinstance(about.get("fingerprint"), str)):
        raise InputError(f"{run.folder / 'config.json'} does not say how many images the run was trained on, and which")
    part = dataset._replace(
        train_images=dataset.train_images[:n],
        train_labels=dataset.train_labels[:n],
        test_images=dataset.test_images[:m],
        test_labels=dataset.test_labels[:m],
    )
    if part.fingerprint != about["fingerprint"]:
        raise InputError(
            f"{run.folder} was trained on other data: {about['name']} {about['fingerprint'][:12]}, "
            f"not {part.name} {part.fingerprint[:12]}; {Remedy.CHECK_DATA}"
        )
    return part


def as_seen(dataset: Dataset, config: RunConfig) -> Dataset:
    """Both splits with pixels of the kind that the run was trained on, drawn once if they are drawn at all."""
    return binarized(dataset, "none" if config.train.binarize == "none" else "static")


def in_float32(run: Run) -> Run:
    """The run with its products in float32, as all runs are evaluated, whatever precision they were trained in."""
    return replace(run, config=replace(run.config, model=likelihood.in_float32(run.config.model)))


def reader(seen: Dataset) -> Any:
    """Parameters of a classifier trained on the images that runs were trained on."""
    arrays = jnp.asarray(seen.train_images), jnp.asarray(seen.train_labels)
    return classifier.train(*arrays, precision=automatic("conv"))


def digits(run: Run, reader: Any, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """How the codes of each digit lie apart, and what a classifier reads in their reconstructions.

    Args:
        reader: the classifier's parameters.

    Returns:
        `classes`, and for each `purity`, `silhouette`, `radius` (empty lists where images are too few or codes not
        finite);
        `confusion`, how often a reconstruction of digit i was read as j.
    """
    run = in_float32(run)
    mean = np.asarray(run.encode(images).mean)
    drawn = jnp.rint(255 * run.reconstruct(images)).astype(jnp.uint8)
    confusion = codes.confusion(labels, np.asarray(classifier.read(reader, drawn)))
    enough = 1 < len(np.unique(labels)) < len(labels) and np.isfinite(mean).all()  # a diverged run has none
    apart = codes.separation(mean, labels) if enough else codes.Separation(*[np.array([])] * 4)
    return {name: value.tolist() for name, value in apart._asdict().items()} | {"confusion": confusion.tolist()}


class Evaluation:
    """Evaluates runs on one dataset after another; a classifier that reads digits is trained once for each."""

    def __init__(self, plan: Plan, advance: Advance = lambda what, done, total: None):
        plan.check()
        self.plan, self.advance = plan, advance
        self._readers: dict[str, Any] = {}

    def evaluate(self, run: Run, dataset: Dataset) -> Report:
        """`dataset` is the whole one, grey, that the run's folder names."""
        run = in_float32(run)
        plan, given = self.plan, data_of(run, dataset)
        seen = as_seen(given, run.config)
        images, labels = getattr(seen, f"{plan.split}_images"), getattr(seen, f"{plan.split}_labels")
        images, labels = images[: plan.images], labels[: plan.images]
        new = _Records(run, given.fingerprint, plan.split)
        mean, log_std = (np.asarray(leaf) for leaf in run.encode(images))
        if not (np.isfinite(mean).all() and np.isfinite(log_std).all()):
            raise InputError(f"{run.folder} has codes that are not finite: its training diverged")
        per_image = codes.kl_per_image(mean, log_std)
        new.add("rate", "exact", per_image)
        tightest = self._importance(run, images, per_image, new) if plan.samples else None
        if plan.ais_images:
            self._annealed(run, images[: plan.ais_images], tightest, new)
        per_dimension = codes.kl_per_dimension(mean, log_std)
        active = codes.active(mean)
        several = len(images) > 1  # the variance of one image says nothing
        remarks = [collapse] if several and (collapse := _collapse(active, per_dimension)) else []
        told: dict[str, Any] = {}
        if several:
            new.add_count("active units", "variance of posterior means above 0.01", float(active.sum()), len(images))
            new.add_count("collapsed units", "the dimensions that are not active", float((~active).sum()), len(images))
        if plan.codes and several:
            self.reader(seen)
            self.advance("codes", 0, len(images))
            told = self._codes(run, seen, images, labels, mean, log_std, new)
            self.advance("codes", len(images), len(images))
        return Report(new.records, per_dimension.tolist(), told, remarks)

    def _importance(self, run: Run, images: np.ndarray, rate: np.ndarray, new: _Records) -> np.ndarray:
        """The bound of the largest K, [n], mean over repeats."""
        ks, n = tuple(sorted(set(self.plan.samples))), len(images)
        what = f"importance sampling, K = {max(ks):,}"
        total = n * self.plan.repeats
        self.advance(what, 0, total)
        found = [
            likelihood.bounds(
                run.config.model, run.params, images, ks, self.plan.seed + repeat,
                advance=lambda done: self.advance(what, done, total),
            )
            for repeat in range(self.plan.repeats)
        ]  # fmt: skip
        distortion = np.stack([-one.log_likelihood for one in found])
        drawn = f"mean over {max(ks):,} codes from q(z|x)"
        new.add("distortion", drawn, distortion, samples=max(ks))
        new.add("ELBO", f"−rate − distortion, {drawn}", -(distortion + rate), samples=max(ks))
        for i, k in enumerate(ks):
            new.add("L_K", "importance weighting by q(z|x)", np.stack([one.bound[i] for one in found]), samples=k)
            ess = np.stack([one.ess[i] for one in found])
            new.add("effective sample size", "(Σw)²/Σw²", ess, samples=k, unit="codes")
        return np.mean([one.bound[-1] for one in found], axis=0)

    def _annealed(self, run: Run, images: np.ndarray, tightest: np.ndarray | None, new: _Records) -> None:
        plan, config = self.plan, run.config.model
        how = f"annealing from the prior, {plan.ais_steps:,} steps of 10 leapfrog steps"

        def estimate(what, images, given):
            self.advance(what, 0, len(images))
            return likelihood.annealed(
                config, run.params, images, plan.ais_steps, plan.ais_chains, plan.seed, codes=given,
                advance=lambda done: self.advance(what, done, len(images)),
            )  # fmt: skip

        found = estimate("annealed importance sampling", images, None)
        new.add("AIS", how, found.lower, samples=plan.ais_chains)
        if tightest is not None:
            new.add("AIS above L_K", f"K = {max(plan.samples):,}; {how}", found.lower - tightest[: len(images)])
        new.add("AIS acceptance", how, found.acceptance, samples=plan.ais_chains, unit="share")
        drawn, given = likelihood.simulated(config, run.params, len(images), plan.seed)
        bracket = estimate("annealing on simulated images, both ways", drawn, given)
        assert bracket.upper is not None
        for metric, values in (
            ("simulated, AIS", bracket.lower),
            ("simulated, reverse AIS", bracket.upper),
            ("bracket", bracket.upper - bracket.lower),
        ):
            new.add(metric, how, values, samples=plan.ais_chains, split="simulated", binarization="simulated")

    def _codes(self, run, seen: Dataset, images, labels, mean, log_std, new: _Records) -> dict[str, Any]:
        told = codes.information(mean, log_std, self.plan.seed)
        pairs = "one code an image against the mixture of all posteriors"
        new.add("mutual information", pairs, told.mutual_information)
        new.add("marginal KL", pairs, told.marginal_kl)
        new.add_count("Fréchet distance", "first two moments", codes.frechet_distance(mean, log_std), len(images), "")
        if self.plan.split == "test":  # on the split they are fitted on they would say less than they seem to
            train, train_labels = np.asarray(run.encode(seen.train_images).mean), seen.train_labels
            for metric, classify in (
                ("nearest neighbours", codes.nearest_neighbours),
                ("linear probe", codes.linear_probe),
            ):
                right = classify(train, train_labels, mean) == labels
                new.add(metric, "posterior means, fitted on the training split", right, unit="share")
        told = digits(run, self.reader(seen), images, labels)
        if told["classes"]:
            weights = np.bincount(labels)[told["classes"]] / len(labels)
            for metric, unit in (("purity", "share"), ("silhouette", "")):
                new.add_count(metric, "posterior means", float(np.dot(told[metric], weights)), len(images), unit)
        right = np.repeat([1, 0], [n := np.trace(told["confusion"]), len(images) - n])
        new.add("reading", "conv classifier, reconstructions from posterior means", right, unit="share")
        own = np.asarray(classifier.read(self.reader(seen), jnp.asarray(images))) == labels
        new.add("reading of originals", "conv classifier", own, unit="share")
        return told

    def reader(self, seen: Dataset) -> Any:
        """`reader`, trained once."""
        key = seen.fingerprint
        if key not in self._readers:
            self.advance("training a classifier that reads digits", 0, 1)
            self._readers[key] = jax.block_until_ready(reader(seen))
            self.advance("training a classifier that reads digits", 1, 1)
        return self._readers[key]


def _collapse(active: np.ndarray, kl: np.ndarray) -> str:
    inactive = int((~active).sum())
    if not inactive:
        return ""
    named = "posterior collapse" if inactive >= COLLAPSED * len(active) else "unused dimensions"
    left = f"{kl[~active].sum():.2f} of {kl.sum():.2f} nats"
    return f"{named}: {inactive} of {len(active)} dimensions are inactive; they hold {left} of the rate"


class _Records:
    """Makes records that share a run, a dataset and a split."""

    def __init__(self, run: Run, fingerprint: str, split: str):
        self.records: list[Record] = []
        self._split = split
        self._shared: dict[str, Any] = {
            "binarization": run.config.train.binarize,
            "dataset": run.about["dataset"]["name"],
            "fingerprint": fingerprint,
            "run": run.folder.as_posix(),
        }

    def add(
        self, metric: str, estimator: str, values: np.ndarray, *,
        samples: int | None = None, unit: str = "nats", split: str | None = None, binarization: str | None = None,
    ) -> None:  # fmt: skip
        """`values` are one for each image, [n], or a row for each repeat, [r, n]."""
        rows = np.atleast_2d(np.asarray(values, np.float64))
        repeats, n = rows.shape
        over_images = float(rows.mean(0).std(ddof=1) / np.sqrt(n)) if n > 1 else None
        over_repeats = float(rows.mean(1).std(ddof=1) / np.sqrt(repeats)) if repeats > 1 else None
        self._new(
            metric, float(rows.mean()), over_images, over_repeats, unit, estimator, samples, n, split, binarization
        )

    def add_count(self, metric: str, estimator: str, value: float, n: int, unit: str = "dimensions") -> None:
        """A number that belongs to all images together: it has no standard error over them."""
        self._new(metric, float(value), None, None, unit, estimator, None, n)

    def _new(self, metric, value, error, repeated, unit, estimator, samples, n, split=None, binarization=None) -> None:
        about = self._shared | ({"binarization": binarization} if binarization else {})
        split = split or self._split
        self.records.append(Record(metric, value, error, repeated, unit, estimator, samples, split, n, **about))
