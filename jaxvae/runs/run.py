"""A trained model with its configuration and its history, as a folder holds it.

In: a run's folder. Out: a `Run`, which encodes, decodes and samples.
"""

from __future__ import annotations

import dataclasses
import os
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae.config import LARGEST, RunConfig, is_whole
from jaxvae.errors import CheckpointError, InputError, shown
from jaxvae.models import Normal, model
from jaxvae.objectives import Losses
from jaxvae.runs.checkpoint import epochs, read, read_config
from jaxvae.runs.history import Divergence, best
from jaxvae.system import as_path
from jaxvae.training import engine

SPLITS = ("train", "test")
BATCH = 500
MOST = 10**7  # images drawn at a time: 29 GiB


class Outcome(NamedTuple):
    """What tables need of a run: those of 10,000 fit into memory where their models do not."""

    config: RunConfig
    parameters: int
    losses: np.ndarray  # float64 [epoch, split, part], nats per image; not a number: not measured
    seconds: float  # of training and testing
    diverged: Divergence | None = None  # what the epoch after the last one came to, if it was not finite
    parts: tuple[str, ...] = ("reconstruction", "kl", "loss")  # these first, then what an objective adds to them

    @property
    def epochs(self) -> int:
        """The last one of which there are losses; 0 is before training."""
        return len(self.losses) - 1

    def rows(self) -> list[tuple[int, int]]:
        """Epochs and splits that were measured, in order: all but the train split before training."""
        return [(epoch, s) for epoch in range(len(self.losses)) for s in range(len(SPLITS)) if epoch or s]


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained model with its configuration and its history."""

    folder: Path
    config: RunConfig
    about: dict[str, Any]  # dataset and its fingerprint, versions, device
    params: model.Params
    metrics: list[dict[str, Any]]  # {"epoch", "train", "test", "seconds"}; losses in nats per image
    reconstructions: np.ndarray  # uint8 [epoch, split (train, test), digit, 28, 28]
    diverged: Divergence | None = None  # what the epoch after the last one came to, if it was not finite

    @cached_property
    def parameters(self) -> int:
        return model.parameter_count(self.params)

    @property
    def outcome(self) -> Outcome:
        """What tables say of it, without the model."""
        absent = dict.fromkeys(Losses._fields, np.nan)
        splits = [[entry[split] or absent for split in SPLITS] for entry in self.metrics]
        losses = np.array([[[told[part] for part in Losses._fields] for told in epoch] for epoch in splits], np.float64)
        seconds = sum(entry["seconds"] for entry in self.metrics)
        return Outcome(self.config, self.parameters, losses, seconds, self.diverged)

    @property
    def dataset(self) -> str:
        """The name of the data that it was trained on, `auto` where its folder does not say."""
        return self.about.get("dataset", {}).get("name", "auto")

    def encode(self, images: Any) -> Normal:
        """q(z|x): mean and log-std, [n, d]. Images are [n, 28, 28], bytes or floats in [0, 1]."""
        return _encode(self.config.model, self.params, _images(images))

    def decode(self, z: Any) -> jax.Array:
        """The Bernoulli means of p(x|z), [n, 28, 28], for codes [n, d]."""
        z, d = _array("codes", z), self.config.model.latent_dim
        if z.ndim != 2 or z.shape[1] != d:
            raise InputError(f"codes of {self.config.name} must have shape [n, {d}], not {list(z.shape)}")
        if not (np.issubdtype(z.dtype, np.floating) or np.issubdtype(z.dtype, np.integer)):
            raise InputError(f"codes must be numbers, not {z.dtype}")
        if not (np.abs(z) < LARGEST).all():
            raise InputError(f"codes must be finite and below {LARGEST:g}")
        return _decode(self.config.model, self.params, jnp.asarray(z, jnp.float32))

    def reconstruct(self, images: Any) -> jax.Array:
        """Images decoded from their posterior means, [n, 28, 28]."""
        return _decode(self.config.model, self.params, self.encode(images).mean)

    def sample(self, key: Any, n: int) -> jax.Array:
        """Bernoulli means decoded from n draws of the prior, [n, 28, 28]."""
        if not _is_key(key):
            raise InputError(f"key must be one key, such as jax.random.key(0), not {shown(key)}")
        if not is_whole(n, at_least=0, below=MOST):
            raise InputError(f"n must be a whole number of at least 0 and below {MOST:,}, not {shown(n)}")
        return self.decode(jax.random.normal(key, (n, self.config.model.latent_dim)))


def load(folder: str | os.PathLike, epoch: int | str = "latest") -> Run:
    """The run in `folder`, as one of its checkpoints holds it.

    Args:
        epoch: `latest`; `best`, the one with the lowest test loss; or a number, of those that are kept.

    Raises:
        CheckpointError: the folder is missing or damaged, or holds no such checkpoint.
    """
    folder = as_path(folder)
    config, about = read_config(folder)
    if not (kept := epochs(folder)):
        raise CheckpointError(f"{folder} holds no checkpoint yet; `python -m experiments.sweep` trains it")
    named = isinstance(epoch, str) and epoch in ("latest", "best")
    if not named and (not is_whole(epoch, at_least=0) or epoch not in kept):
        there = ", ".join(map(str, kept))
        raise CheckpointError(
            f"{folder} has no checkpoint of epoch {shown(epoch)}; there are: {there}; latest and best are among them"
        )
    try:
        progress = read(folder, kept[-1] if named else epoch)  # type: ignore[arg-type]
        if epoch == "best":
            progress = read(folder, best(progress.history))
    except CheckpointError as error:
        others = f"; or load another epoch of it, there are {', '.join(map(str, kept))}" if kept[1:] else ""
        raise CheckpointError(f"{error}; give the sweep's command again to repair it{others}") from None
    about = {key: value for key, value in about.items() if key not in ("format", "config")}
    return Run(
        folder, config, about, progress.state.params, progress.history, progress.reconstructions, progress.diverged
    )


def _is_key(key: Any) -> bool:
    if not isinstance(key, jax.Array | np.ndarray):
        return False
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key.ndim == 0
    return key.dtype == np.uint32 and key.shape == (2,)  # as jax.random.PRNGKey makes them


def _array(what: str, given: Any) -> np.ndarray:
    try:
        return np.asarray(given)
    except (TypeError, ValueError) as error:  # rows of different lengths, keys
        raise InputError(f"{what} must be one array of numbers ({error})") from None


def _images(images: Any) -> jax.Array:
    images = _array("images", images)
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise InputError(f"images must have shape [n, 28, 28], not {list(images.shape)}")
    if images.dtype == np.uint8:
        return engine.pixels(jnp.asarray(images))
    if not np.issubdtype(images.dtype, np.floating) or not ((images >= 0) & (images <= 1)).all():
        raise InputError("images must be bytes (uint8) or floats in [0, 1]")
    return jnp.asarray(images, jnp.float32)


def _batched(function):
    """Compiles `function(config, params, x)` and maps it over batches of x, so that memory does not grow with x."""

    @partial(jax.jit, static_argnums=0)
    def mapped(config, params, x):
        n = len(x)
        if n <= BATCH:
            return function(config, params, x)
        batches = jnp.pad(x, [(0, -n % BATCH)] + [(0, 0)] * (x.ndim - 1)).reshape(-1, BATCH, *x.shape[1:])
        out = jax.lax.map(partial(function, config, params), batches)
        return jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:])[:n], out)

    return mapped


_encode = _batched(model.encode)
_decode = _batched(lambda config, params, z: jax.nn.sigmoid(model.decode(config, params, z)))
