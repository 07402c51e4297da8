"""A trained model with its configuration and its history, as a folder holds it.

In: a run's folder. Out: a `Run`, which encodes, decodes and samples.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae.config import RunConfig
from jaxvae.data import Rows, Scaling, held_out
from jaxvae.errors import MAX_FLOAT32, CheckpointError, InputError, Remedy, is_whole, quoted
from jaxvae.jax_settings import own_settings
from jaxvae.models import VAE, Normal, Params, parameter_count
from jaxvae.parts import handed_in
from jaxvae.runs import batches
from jaxvae.runs.checkpoint import epochs, read
from jaxvae.runs.given import as_array, as_images, as_key
from jaxvae.runs.history import Divergence, best
from jaxvae.runs.run_folder import read_config, shape_of
from jaxvae.schedules import after_last_step, at_epoch, has_schedule
from jaxvae.system import as_path
from jaxvae.training import compiled, engine, evaluation_params, final_params
from jaxvae.values import Text, Whole, plain

SPLITS = ("train", "test", "validation")  # the last one of runs that hold examples out
PARTS = ("reconstruction", "kl", "loss")  # of losses; an objective's own terms follow
MAX_SAMPLES = 10**7  # images drawn at a time: 29 GiB of MNIST's


class Outcome(NamedTuple):
    """What tables need of a run: those of 10,000 fit into memory where their models do not."""

    config: RunConfig
    parameters: int
    losses: np.ndarray  # float64 [epoch, split, part], nats per image; not a number: not measured
    seconds: float  # of training and testing
    diverged: Divergence | None = None  # what the epoch after the last one came to, if it was not finite
    parts: tuple[str, ...] = PARTS  # names of the last axis of `losses`
    best: int | None = None  # the epoch whose parameters it ends with, of a run that may stop early

    @property
    def epochs(self) -> int:
        """The last one of which there are losses; 0 is before training."""
        return len(self.losses) - 1

    @property
    def final(self) -> np.ndarray:
        """Test losses of the parameters that it ends with, [part]."""
        return self.losses[-1 if self.best is None else self.best, SPLITS.index("test")]

    def rows(self) -> list[tuple[int, int]]:
        """Epochs and splits that were measured, in order: all but the train split before training."""
        epochs, splits, _ = self.losses.shape
        return [(epoch, s) for epoch in range(epochs) for s in range(splits) if epoch or s]


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained model with its configuration and its history."""

    folder: Path  # of a run that was trained without one, its name
    config: RunConfig
    about: dict[str, Any]  # dataset and its fingerprint, versions, device
    params: Params
    metrics: list[dict[str, Any]]  # {"epoch", "train", "test", "seconds"} and more; losses in nats per image
    reconstructions: np.ndarray  # [epoch, split (train, test), image, *shape], stored as images are
    diverged: Divergence | None = None  # what the epoch after the last one came to, if it was not finite

    @cached_property
    def parameters(self) -> int:
        return parameter_count(self.params)

    @cached_property
    def vae(self) -> VAE:
        """The model, bound to the shape of the examples that it was trained on; where it has schedules, with the
        numbers that it was evaluated with after the epoch whose parameters it has."""
        vae = self.config.vae.bind(shape_of(self.about))
        if has_schedule(vae):
            images, last = self.trained_on["train_images"], self.metrics[-1]
            left = images - held_out(images, self.config.validation)
            steps = engine.steps_per_epoch(self.config.batch_size, left)
            vae = after_last_step(at_epoch(vae, last.get("best", last["epoch"]), steps))
        return dataclasses.replace(vae, precision=self.config.precision)

    @cached_property
    def outcome(self) -> Outcome:
        """What tables say of it, without the model."""
        splits = SPLITS if "validation" in self.metrics[0] else SPLITS[:2]
        entries = [entry[split] for entry in self.metrics for split in splits]
        parts = tuple(dict.fromkeys([*PARTS, *(name for losses in entries if losses for name in losses)]))
        values = [[(losses or {}).get(part, np.nan) for part in parts] for losses in entries]
        losses = np.array(values, np.float64).reshape(len(self.metrics), len(splits), len(parts))
        seconds = sum(entry["seconds"] for entry in self.metrics)
        return Outcome(
            self.config, self.parameters, losses, seconds, self.diverged, parts, self.metrics[-1].get("best")
        )

    @property
    def dataset(self) -> str:
        """The name of the data that it was trained on, `auto` where its folder does not say."""
        return self.about.get("dataset", {}).get("name", "auto")

    @property
    def trained_on(self) -> dict[str, Any]:
        """What is said of the data that it was trained on: name, fingerprint, how many examples, and more.

        Raises:
            InputError: its folder does not say this.
        """
        data = self.about.get("dataset")
        if not data:
            raise InputError(f"{self.folder / 'config.json'} does not say which data the run was trained on")
        sizes = [data.get("train_images"), data.get("test_images")]
        if not (all(is_whole(n, 1) for n in sizes) and isinstance(data.get("fingerprint"), str)):
            path = self.folder / "config.json"
            raise InputError(f"{path} does not say how many images the run was trained on, and which")
        return data

    @cached_property
    def scaling(self) -> Scaling | None:
        """What the numbers that it was trained on were standardised by. It is applied to what is encoded, and undone in
        what is decoded."""
        scaling = self.about.get("dataset", {}).get("scaling")
        return scaling and Scaling(**{name: np.asarray(values, np.float32) for name, values in scaling.items()})

    @property
    def log_scale(self) -> float:
        """Σ log scale over the numbers of an example, in nats: the log-density of the numbers as given is that of the
        standardised ones less this. 0 where nothing was standardised."""
        if self.scaling is None:
            return 0.0
        return float(np.broadcast_to(np.log(self.scaling.scale.astype(np.float64)), self.vae.shape).sum())

    def in_trained_numbers(self) -> Run:
        """The run that encodes and decodes a dataset's own, standardised numbers."""
        data = {key: value for key, value in self.about.get("dataset", {}).items() if key != "scaling"}
        return dataclasses.replace(self, about=self.about | {"dataset": data}) if self.scaling else self

    @property
    def in_bytes(self) -> bool:
        """Whether it was trained on bytes, which stand for numbers in [0, 1]."""
        return self.about.get("dataset", {}).get("dtype", "uint8") == "uint8"

    @own_settings()
    def encode(self, images: Any, condition: Any = None) -> Any:
        """q(z|x); of a diagonal normal posterior, mean and log-std, [n, d].

        Args:
            images: [n, *shape]; bytes or floats in [0, 1] if it was trained on bytes, else numbers like those.
            condition: of a model that has one, that of each image, or one for all: see `conditions`.
        """
        if isinstance(images, Rows | np.memmap) and len(images):
            given = batches.blocks_given(images, self.conditions(condition, len(images)))
            parts = [self.encode(*block_and_condition) for block_and_condition in given]
            return jax.tree.map(lambda *each: jnp.concatenate(each), *parts)
        images = self.as_trained(images)
        return batches.encode(self.vae, self.params, images, self.conditions(condition, len(images)))

    def conditions(self, given: Any, n: int) -> Any:
        """Conditions of n examples, as the model is given them; None if it has no condition.

        Args:
            given: of `Labels` whole numbers [n] or one for all, or what the classes are called; of `Side` numbers
                [n, size], or [size] for all.

        Raises:
            InputError: the model has a condition and none is given, or the other way round; or it is of another kind.
        """
        part = self.config.vae.condition
        if part is None and given is None:
            return None
        if part is None:
            raise InputError(f"{self.config.name} has no condition; give none")
        if given is None:
            raise InputError(f"{self.config.name} needs a condition of each example, or one for all: condition=…")
        names = self.about.get("dataset", {}).get("class_names", [])
        if names and (words := as_array("condition", given)).dtype.kind == "U":
            if unknown := sorted(set(words.ravel().tolist()).difference(names)):
                raise InputError(f"condition {quoted(unknown[0])} is no class; there are {', '.join(names)}")
            given = np.vectorize(names.index, otypes=[int])(words) if words.size else words.astype(np.int32)
        return part.from_user(given, n)

    def as_trained(self, images: Any) -> jax.Array:
        """Images as the model sees them, float32 [n, *shape]: bytes as numbers in [0, 1], numbers standardised as those
        were that it was trained on.

        Raises:
            InputError: they are of another shape or kind.
        """
        images = as_images(images, self.vae.shape, self.in_bytes)
        if self.scaling is None:
            return images
        own = np.asarray(images)  # NumPy divides any number of rows alike, and as the training data were
        return jnp.asarray((own - self.scaling.mean) / self.scaling.scale)

    @own_settings()
    def classify(self, images: Any) -> jax.Array:
        """q(y|x) of a model that reads classes: the probability of each class, [n, classes].

        Args:
            images: as `encode` takes them.

        Raises:
            InputError: the model reads no classes.
        """
        if getattr(self.config.vae.condition, "network", None) is None:
            how = "condition=Labels(classes, network), objective=M2()"
            raise InputError(f"{self.config.name} reads no classes; train a model that does: {how}")
        return batches.classify(self.vae, self.params, self.as_trained(images))

    @own_settings()
    def codes(self, images: Any, condition: Any = None) -> Normal:
        """Mean and log-std of each latent dimension of q(z|x), [n, d], whatever the posterior."""
        return self.vae.posterior.marginals(self.encode(images, condition))

    @own_settings()
    def decode(self, z: Any, condition: Any = None) -> jax.Array:
        """The means of p(x|z), [n, *shape], for codes [n, d], given the condition of each if the model has one."""
        z, d = as_array("codes", z), self.config.latent_dim
        if z.ndim != 2 or z.shape[1] != d:
            raise InputError(f"codes of {self.config.name} must have shape [n, {d}], not {list(z.shape)}")
        if not (jnp.issubdtype(z.dtype, jnp.floating) or jnp.issubdtype(z.dtype, jnp.integer)):
            raise InputError(f"codes must be numbers, not {z.dtype}")
        if not (np.abs(z.astype(np.float64)) < MAX_FLOAT32).all():
            raise InputError(f"codes must be finite and below {MAX_FLOAT32:g}")
        return self._decoded(jnp.asarray(z, jnp.float32), condition)

    def _decoded(self, z: jax.Array, condition: Any) -> jax.Array:
        return self._in_given_numbers(batches.decode(self.vae, self.params, z, self.conditions(condition, len(z))))

    def _in_given_numbers(self, x: jax.Array) -> jax.Array:
        return x if self.scaling is None else x * self.scaling.scale + self.scaling.mean

    @own_settings()
    def reconstruct(self, images: Any, condition: Any = None) -> jax.Array:
        """Images decoded from their posterior means, [n, *shape]; with a condition, as `encode` takes it."""
        return self._decoded(self.codes(images, condition).mean, condition)

    @own_settings()
    def sample(self, key: Any, n: Whole, *, condition: Any = None, noise: bool = False) -> jax.Array:
        """Means of p(x|z) for n codes drawn from the prior, [n, *shape].

        Args:
            key: such as `jax.random.key(0)`.
            condition: of a model that has one, that of each image, or one for all: see `conditions`.
            noise: draws from p(x|z) in place of its means, so that examples are drawn from the model's p(x).
        """
        key = as_key(key)
        if not is_whole(n := plain(n), at_least=0, below=MAX_SAMPLES):
            raise InputError(f"n must be a whole number of at least 0 and below {MAX_SAMPLES:,}, not {quoted(n)}")
        stored = self.conditions(condition, n)
        z = self.vae.given(stored).sample_prior(self.params, key, n)
        if not noise:
            return self.decode(z, condition)
        own, out = self.vae.own_params(self.params, "likelihood"), batches.outputs(self.vae, self.params, z, stored)
        own = jax.device_put(own)
        return self._in_given_numbers(self.vae.likelihood.sample(own, jax.random.fold_in(key, 1), out))


@own_settings()
def load(folder: str | os.PathLike, epoch: Whole | Text = "latest", *, parts: Iterable[Any] = ()) -> Run:
    """The run in `folder`; see `jaxvae.load`, whose runs can do more."""
    compiled.make_room()  # of many that are loaded each compiles its own functions
    folder, epoch, parts = as_path(folder), plain(epoch), handed_in(parts)
    config, about = read_config(folder, parts)
    if not (kept := epochs(folder)):
        raise CheckpointError(f"{folder} holds no checkpoint yet; {Remedy.STUDY} trains it")
    named = isinstance(epoch, str) and epoch in ("latest", "best")
    if not named and (not is_whole(epoch, at_least=0) or epoch not in kept):
        there = ", ".join(map(str, kept))
        raise CheckpointError(
            f"{folder} has no checkpoint of epoch {quoted(epoch)}; there are: {there}; latest and best are among them"
        )
    try:
        progress = read(folder, kept[-1] if named else epoch, parts)  # type: ignore[arg-type]
        if epoch == "best":
            progress = read(folder, best(progress.history), parts)
    except CheckpointError as error:
        others = f"; or load another epoch of it, there are {', '.join(map(str, kept))}" if kept[1:] else ""
        raise CheckpointError(f"{error}; {Remedy.TRAIN_AGAIN} to repair it{others}") from None
    about = {key: value for key, value in about.items() if key not in ("format", "config")}
    state, named = progress.state, epoch in ("latest", "best")
    params = final_params(config.optimiser, state) if named else evaluation_params(config.optimiser, state)
    return Run(folder, config, about, params, progress.history, progress.reconstructions, progress.diverged)
