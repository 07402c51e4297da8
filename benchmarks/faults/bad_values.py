"""Values that functions cannot take: arrays, keys, numbers, names, configurations and datasets.

In: nothing. Out: a case for each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn

import jaxvae
from benchmarks.faults.ground import RUN, Case, known
from jaxvae import data
from jaxvae.config import RunConfig
from jaxvae.evaluation import Plan
from jaxvae.models import MLP, StandardNormal
from jaxvae.objectives import ELBO, IWAE
from jaxvae.optimisers import Adam, Stages
from jaxvae.study.study import Study
from jaxvae.training.sweep import sweep

MODEL = RUN.vae
IMAGE = np.zeros((1, 28, 28))
STAGES: Any = Stages(1.0)


def _call(what: str, call: Callable[[], Any], says: str) -> Case:
    return Case(what, lambda folder: call, says)


def _run(what: str, call: Callable[[Any], Any], says: str) -> Case:
    """What is asked of a loaded run."""
    return Case(what, lambda folder: partial(call, jaxvae.load(folder / "sweep" / RUN.name)), says)


def _encode(what: str, images: Any, says: str) -> Case:
    return _run(f"encode: {what}", lambda run: run.encode(images), says)


def _decode(what: str, codes: Any, says: str) -> Case:
    return _run(f"decode: {what}", lambda run: run.decode(codes), says)


def _sample(what: str, key: Any, n: Any, says: str) -> Case:
    return _run(f"sample: {what}", lambda run: run.sample(key() if callable(key) else key, n), says)


ARRAYS = [
    _encode("a single image", IMAGE[0], r"images must have shape \[n, 28, 28\], not \[28, 28\]"),
    _encode("images of another size", np.zeros((1, 8, 8)), r"not \[1, 8, 8\]"),
    _encode("whole numbers", IMAGE.astype(int), r"bytes \(uint8\) or floats in \[0, 1\]"),
    _encode("floats up to 255", IMAGE + 255, r"floats in \[0, 1\]"),
    _encode("floats below zero", IMAGE - 1, r"floats in \[0, 1\]"),
    _encode("no numbers", IMAGE * np.nan, r"floats in \[0, 1\]"),
    _encode("infinity", IMAGE + np.inf, r"floats in \[0, 1\]"),
    _encode("complex numbers", IMAGE * 1j, r"floats in \[0, 1\]"),
    _encode("truth values", IMAGE.astype(bool), r"floats in \[0, 1\]"),
    _encode("strings", IMAGE.astype(str), r"floats in \[0, 1\]"),
    _encode("objects", IMAGE.astype(object), r"floats in \[0, 1\]"),
    _encode("rows of different lengths", [[[0.0, 1.0], [0.0]]], "images must be one array of numbers"),
    _encode("nothing", None, r"not \[\]"),
    _encode("a dictionary", {"images": IMAGE}, r"not \[\]"),
    _run("reconstruct: floats up to 255", lambda run: run.reconstruct(IMAGE + 255), r"floats in \[0, 1\]"),
    _decode("a single code", [0.0, 1.0], r"codes of linear-2\S* must have shape \[n, 2\], not \[2\]"),
    _decode("codes of another width", np.zeros((3, 5)), r"\[n, 2\], not \[3, 5\]"),
    _decode("no numbers", [[0.0, np.nan]], "codes must be finite"),
    _decode("infinity", [[0.0, np.inf]], "codes must be finite"),
    _decode("numbers beyond float32", [[0.0, 1e300]], "codes must be finite and below 3.4e[+]38"),
    _decode("complex numbers", [[0.0, 1j]], "codes must be numbers, not complex128"),
    _decode("truth values", [[True, False]], "codes must be numbers, not bool"),
    _decode("strings", [["0", "1"]], "codes must be numbers, not <U1"),
    _decode("objects", [[None, 0.0]], "codes must be numbers, not object"),
    _decode("rows of different lengths", [[0.0], [0.0, 1.0]], "codes must be one array of numbers"),
    _sample("fewer than none", lambda: jax.random.key(0), -1, "n must be a whole number of at least 0"),
    _sample("half an image", lambda: jax.random.key(0), 2.5, "n must be a whole number .* not 2.5"),
    _sample("more than memory", lambda: jax.random.key(0), 10**30, "below 10,000,000"),
    _sample("truth", lambda: jax.random.key(0), True, "n must be a whole number"),
    _sample("a seed for a key", 0, 1, "key must be one key, such as jax.random.key"),
    _sample("several keys", lambda: jax.random.split(jax.random.key(0), 2), 1, "key must be one key"),
    _sample("no key", None, 1, "key must be one key, such as jax.random.key.0., not None"),
]
NAMES = [
    _call("load: nothing", lambda: jaxvae.load(None), "None is no path"),  # type: ignore[arg-type]
    _call("load: a number", lambda: jaxvae.load(3), "3 is no path"),  # type: ignore[arg-type]
    _call("load: a NUL", lambda: jaxvae.load("a\0b"), r"'a\\x00b' is no path"),
    _call("load: a name that breaks the line", lambda: jaxvae.load("a\nb"), r"a\\nb is no run"),
    _call("data: a limit in words", lambda: data.load("digits", limit="6"), "limit must be .* not '6'"),  # type: ignore[arg-type]
    _call("data: a limit that is true", lambda: data.load("digits", limit=True), "limit must be .* not True"),
    _call("data: half a limit", lambda: data.load("digits", limit=7.5), "limit must be .* not 7.5"),  # type: ignore[arg-type]
    _call("data: a limit below zero", lambda: data.load("digits", limit=-60), "limit must be at least 6"),
    _call("data: no name", lambda: data.load(None), "unknown dataset None"),  # type: ignore[arg-type]
    _call("data: a number for a name", lambda: data.load(7), "unknown dataset 7"),  # type: ignore[arg-type]
    _call("data: names", lambda: data.load(["mnist"]), "unknown dataset .'mnist'."),  # type: ignore[arg-type]
    _call("data: a name out of its folder", lambda: data.load("../mnist"), "mnist does not exist; give a folder"),
    _call("data: a number for a folder", lambda: data.load("mnist", 3), "3 is no path"),  # type: ignore[arg-type]
]


def _dataset(what: str, says: str, **arrays: Any) -> Case:
    """A study of a dataset with these arrays in place of sound ones."""

    def prepare(folder: Path) -> Callable[[], Any]:
        return lambda: Study(folder / "study", [RUN], known()._replace(**arrays)).train("loop", quiet=True)

    return Case(f"dataset: {what}", prepare, says)


def _study(what: str, runs: Any, says: str, *how: Any) -> Case:
    def prepare(folder: Path) -> Callable[[], Any]:
        return lambda: Study(folder / "study", runs, known()).train(*how, quiet=True)

    return Case(f"study: {what}", prepare, says)


BYTES = np.zeros((60, 28, 28), np.uint8)
DATASETS = [
    _dataset("floats and bytes", "train and test images of float32 and uint8; only", train_images=BYTES / 1.0),
    _dataset("a list for images", "train images of list; they must be", train_images=BYTES.tolist()),
    _dataset("images with channels", r"of shapes \(28, 28, 1\) and \(28, 28\)", train_images=BYTES[..., None]),
    _dataset("images of another size", r"of shapes \(8, 8\) and \(28, 28\)", train_images=BYTES[:, :8, :8]),
    _dataset("numbers for images", r"train images of shape \(60,\)", train_images=BYTES[:, 0, 0]),
    _dataset("images without pixels", r"train images of shape \(60, 0, 28\)", train_images=BYTES[:, :0]),
    _dataset("no test images", r"test images of shape \(0, 28, 28\)", test_images=BYTES[:0]),
    _dataset("fewer labels than images", "60 train examples but 59 labels", train_labels=np.zeros(59, np.uint8)),
    _dataset("labels of floats", "train labels that are not finite", train_labels=np.full(60, np.nan)),
    _dataset("labels below zero", "train labels -2 to -2; classes must be 0 to", train_labels=np.full(60, -2, np.int8)),
    _dataset("a label that is no class", "train labels 1000 to 1000; classes must", train_labels=np.full(60, 1000)),
    _dataset("labels one-hot", r"train labels of shape \(60, 10\)", train_labels=np.zeros((60, 10), np.uint8)),
    _call("sweep: images of text", lambda: sweep([RUN], known()._replace(train_images=BYTES.astype(str))), "of <U"),
    _call("sweep: arrays for a dataset", lambda: sweep([RUN], (BYTES,)), "a dataset must be a jaxvae.data.Dataset"),  # type: ignore[arg-type]
    _study("no runs", [], "a study needs a list of at least one RunConfig"),
    _study("a name for a run", ["linear-2"], "a study needs a list of at least one RunConfig"),
    _study("two runs of one name", [RUN, replace(RUN, epochs=2)], f"two runs are named {RUN.name}"),
    _study("runs that see different images", [RUN, replace(RUN, seed=1, binarize="static")],
           "must see the same images, not binarize none and binarize static"),
    _study("half a worker", [RUN], "workers must be a whole number of at least 1, not 1.5", "loop", 1.5),
    _study("workers in words", [RUN], "workers must be a whole number of at least 1, not '2'", "loop", "2"),
    _study("no strategy", [RUN], "strategy must be one of auto, vmap, loop, not None", None),
]  # fmt: skip
OLD = {"model": {"architecture": "linear", "latent_dim": 2}}  # a configuration of formats 1 and 2


def _run_of(**changes: Any) -> RunConfig:
    """A run of a model that has other values."""
    return replace(RUN, vae=replace(MODEL, **changes))


CONFIGURATIONS = [
    _call(
        "model: an array for an encoder", lambda: _run_of(encoder=np.zeros((3, 3))), "encoder must be a Linen module"
    ),
    _call("model: a name for an encoder", lambda: _run_of(encoder="linear"), "must be a Linen module, not 'linear'"),
    _call("model: a network that is no part", lambda: _run_of(encoder=nn.Dense(2)), "encoder must be a part; write"),
    _call("model: a name for a prior", lambda: _run_of(prior="normal"), "prior must be a part"),
    _call("model: an objective for a prior", lambda: _run_of(prior=ELBO()), "prior must be a part of the kind prior"),
    _call("model: a class for a prior", lambda: _run_of(prior=StandardNormal), "prior must be a part"),
    _call("model: no precision of that name", lambda: _run_of(precision="float16"), "precision must be one of float32"),
    _call("model: a latent size of floats", lambda: _run_of(latent_dim=2.0), "latent_dim must be .* not 2.0"),
    _call("model: a truth for a latent size", lambda: _run_of(latent_dim=True), "latent_dim must be .* not True"),
    _call("model: a latent size of 5,001 digits", lambda: _run_of(latent_dim=10**5000), "a number of 16,610 bits"),
    _call("model: a width that is no width", lambda: _run_of(encoder=MLP((2, 2.5))), r"hidden must hold whole numbers"),  # type: ignore[arg-type]
    _call("model: no width", lambda: _run_of(encoder=MLP((0,))), "hidden must hold whole numbers of at least 1"),
    _call("train: half a batch", lambda: replace(RUN, batch_size=0.5), "batch_size must be a whole number"),
    _call("train: β₁ of one", lambda: replace(RUN, optimiser=Adam(b1=1.0)), "b1 must be .* below 1"),
    _call(
        "train: an ε that is no number", lambda: replace(RUN, optimiser=Adam(epsilon=float("nan"))), "epsilon must be"
    ),
    _call("train: an objective of bytes", lambda: replace(RUN, objective=b"elbo"), "objective must be a part"),
    _call("run: a name for a model", lambda: RunConfig("linear"), "vae must be a VAE, not 'linear'"),  # type: ignore[arg-type]
    _call(
        "run: nothing for training",
        lambda: replace(RUN, optimiser=None),
        "optimiser must be a part of the kind optimiser, not None",
    ),
    _call("run: a learning rate in words", lambda: replace(RUN, optimiser=Adam("1e-3")), "learning_rate must be"),
    _call("run: a schedule of no number", lambda: replace(RUN, optimiser=Adam(Stages("1e-3"))), "initial must be"),  # type: ignore[arg-type]
    _call("run: another part for a number", lambda: replace(RUN, optimiser=Adam(ELBO())), "learning_rate must be"),
    _call("run: a schedule for what is compiled", lambda: replace(RUN, objective=IWAE(STAGES)), "samples must be"),
    _call(
        "run: an old schedule of no name",
        lambda: RunConfig.from_json(OLD | {"schedule": "cosine"}),
        "schedule must be one of",
    ),
    _call(
        "run: an old network of no name",
        lambda: RunConfig.from_json({"model": {"architecture": [], "latent_dim": 2}}),
        "architecture must be one of linear, conv",
    ),
    _call("run: JSON that is a list", lambda: RunConfig.from_json([]), "must be a JSON object, not list"),
    _call("plan: a number for samples", lambda: Plan(samples=5).check(), "samples must be a tuple"),  # type: ignore[arg-type]
    _call("plan: images in words", lambda: Plan(images="all").check(), "images must be .* not 'all'"),  # type: ignore[arg-type]
    _call("plan: half a seed", lambda: Plan(seed=0.5).check(), "seed must be a whole number .* not 0.5"),  # type: ignore[arg-type]
    _call("plan: no passes", lambda: Plan(repeats=None).check(), "repeats must be .* not None"),  # type: ignore[arg-type]
]
CASES = [*ARRAYS, *NAMES, *DATASETS, *CONFIGURATIONS]
