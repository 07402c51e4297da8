"""Values of NumPy, JAX and others that are the same as Python's, and must be taken as the same.

In: a run's folder. Out: a check for each.
"""

from __future__ import annotations

import decimal
import fractions
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

import jaxvae
from benchmarks.faults import ground
from benchmarks.faults.checks import Check, refusal
from benchmarks.faults.ground import RUN
from jaxvae import data
from jaxvae.config import RunConfig
from jaxvae.data import Dataset
from jaxvae.evaluation import Evaluation, Plan
from jaxvae.models import MLP, VAE
from jaxvae.objectives import ELBO
from jaxvae.optimisers import Adam, Stages
from jaxvae.training import sweep

WHAT = "values of other libraries taken / tried"

PLAIN = RunConfig(VAE(3, MLP((6, 4))), ELBO(0.5), Adam(1e-4), batch_size=20, epochs=2, seed=7)


def checks(sweep: Path) -> list[Check]:
    return [*_configurations(), *_of_a_run(sweep / RUN.name), *_of_data()]


def _configurations() -> list[Check]:
    def same(what: str, make: Callable[[], RunConfig], plain: RunConfig = PLAIN) -> Check:
        def failure(folder: Path) -> str | None:
            other = make()
            if (other, other.name, hash(other)) != (plain, plain.name, hash(plain)):
                return f"{other.name} is not {plain.name}"
            if json.dumps(other.to_json()) != json.dumps(plain.to_json()):
                return "its JSON differs"
            return None

        return Check(f"configuration: {what}", failure)

    def optimised(rate: Any) -> RunConfig:
        return replace(PLAIN, optimiser=Adam(rate))

    return [
        same("a seed of uint64", lambda: replace(PLAIN, seed=np.uint64(7))),
        same("a seed that a generator drew", lambda: replace(PLAIN, seed=np.random.default_rng(0).integers(7, 8))),
        same("epochs of int4", lambda: replace(PLAIN, epochs=ml_dtypes.int4(2))),
        same("a batch size in an array of JAX", lambda: replace(PLAIN, batch_size=jnp.uint8(20))),
        same("widths in a list of NumPy's", lambda: replace(PLAIN, vae=VAE(3, MLP([np.int16(6), np.uint8(4)])))),  # type: ignore[arg-type]
        same("widths in an array of JAX", lambda: replace(PLAIN, vae=VAE(3, MLP(jnp.array([6, 4]))))),  # type: ignore[arg-type]
        same("a latent size from a shape", lambda: replace(PLAIN, vae=VAE(np.zeros((3, 1)).shape[0], MLP((6, 4))))),
        same("β of float8", lambda: replace(PLAIN, objective=ELBO(ml_dtypes.float8_e4m3fn(0.5)))),
        same("β of an array with one number", lambda: replace(PLAIN, objective=ELBO(np.array(0.5)))),
        same("a rate from logspace", lambda: optimised(np.logspace(-4, -3, 2)[0])),
        same("a rate of float32", lambda: optimised(np.float32(1e-4))),
        same("a rate of JAX", lambda: optimised(jnp.float32(1e-4))),
        same("a schedule from a rate of NumPy", lambda: optimised(Stages(np.float16(0.5))),  # type: ignore[arg-type]
             replace(PLAIN, optimiser=Adam(Stages(0.5)))),
        same("read from its own JSON", lambda: RunConfig.from_json(json.loads(json.dumps(PLAIN.to_json())))),
        *(Check(f"configuration: a rate that is a {type(rate).__name__}",
                lambda folder, rate=rate: refusal(lambda: optimised(rate), "learning_rate must be"))
          for rate in (fractions.Fraction(1, 8), decimal.Decimal("0.1"))),
    ]  # fmt: skip


def _of_a_run(place: Path) -> list[Check]:
    def equal(what: str, call: Callable[[jaxvae.Run], Any], expected: Callable[[jaxvae.Run], Any]) -> Check:
        def failure(folder: Path) -> str | None:
            run = jaxvae.load(place)
            pairs = zip(jax.tree.leaves(call(run)), jax.tree.leaves(expected(run)), strict=True)
            return None if all(np.array_equal(a, b) for a, b in pairs) else "the numbers differ"

        return Check(f"run: {what}", failure)

    def loaded(what: str, load: Callable[[], jaxvae.Run]) -> Check:
        return equal(what, lambda run: load().params, lambda run: run.params)

    def encoded(what: str, given: Any, as_given: Any) -> Check:
        return equal(f"images {what}", lambda run: run.encode(given), lambda run: run.encode(as_given))

    def decoded(what: str, given: Any, as_given: Any) -> Check:
        return equal(f"codes {what}", lambda run: run.decode(given), lambda run: run.decode(as_given))

    def sampled(what: str, key: Any, n: Any) -> Check:
        return equal(f"a key {what}", lambda run: run.sample(key, n), lambda run: run.sample(jax.random.key(3), 2))

    images = np.asarray(ground.known().test_images)
    grey = np.full((2, 28, 28), 0.5)
    z = [[0.5, -1.0], [2.0, 0.0]]

    class Folder(os.PathLike):
        def __fspath__(self) -> str:
            return str(place)

    return [
        loaded("a folder that only says its path", lambda: jaxvae.load(Folder())),
        loaded("a folder named by NumPy", lambda: jaxvae.load(np.str_(place))),
        loaded("an epoch of NumPy", lambda: jaxvae.load(place, np.int8(1))),  # type: ignore[arg-type]
        loaded("the latest epoch, by NumPy's name", lambda: jaxvae.load(place, np.str_("latest"))),
        decoded("of int4", np.ones((2, 2), ml_dtypes.int4), np.ones((2, 2))),
        decoded("in columns", np.asfortranarray(z), z),
        decoded("of another byte order", np.array(z, ">f8"), z),
        encoded("that are every second one", images[::2], images[::2].copy()),
        encoded("that must not be written", _frozen(images), images),
        encoded("of float8", grey.astype(ml_dtypes.float8_e5m2), grey),
        encoded("in lists", grey.tolist(), grey),
        equal("no images", lambda run: run.encode(images[:0]).mean, lambda run: np.zeros((0, 2))),
        sampled("of raw numbers", np.array([0, 3], np.uint32), np.int16(2)),
        sampled("made the old way", jax.random.PRNGKey(3), jnp.int32(2)),
    ]


def _of_data() -> list[Check]:
    def trained(what: str, make: Callable[[Dataset], Dataset]) -> Check:
        def failure(folder: Path) -> str | None:
            ours = ground.known()
            theirs = make(ours)
            if data.checked(theirs).fingerprint != ours.fingerprint:
                return "the fingerprint differs"
            a, b = (jax.tree.leaves(sweep([RUN], dataset)[RUN.name].params) for dataset in (ours, theirs))
            return None if all(map(np.array_equal, a, b)) else "it was trained otherwise"

        return Check(f"data: {what}", failure)

    def changed(change: Callable[[np.ndarray], Any]) -> Callable[[Dataset], Dataset]:
        return lambda dataset: Dataset(dataset.name, *(change(array) for array in dataset[1:5]))  # type: ignore[arg-type]

    def limited(folder: Path) -> str | None:
        ours, theirs = (data.load("digits", limit=limit) for limit in (30, np.uint16(30)))  # type: ignore[arg-type]
        return None if ours.fingerprint == theirs.fingerprint else "another part"

    def planned(folder: Path) -> str | None:
        plan = Evaluation(Plan(jnp.array([1, 5]), images=np.int64(7), repeats=np.array(2), seed=np.uint32(1))).plan  # type: ignore[arg-type]
        return None if plan == Plan((1, 5), images=7, repeats=2, seed=1) else f"planned {plan}"

    return [
        trained("arrays of JAX", changed(jnp.asarray)),
        trained("arrays in columns", changed(np.asfortranarray)),
        trained("arrays that must not be written", changed(_frozen)),
        Check("data: a limit of NumPy", limited),
        Check("data: a plan of NumPy and JAX", planned),
    ]


def _frozen(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array
