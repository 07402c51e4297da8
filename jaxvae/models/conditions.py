"""Conditions: what a model is given of each example beside the example itself (Sohn, Lee & Yan 2015).

In: a dataset's labels, or numbers that it has beside its examples. Out: float32 [b, size], which encoder, decoder and
prior are given; and how the encoder is given them together with an example.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Integer, Key

from jaxvae.errors import MAX_FLOAT32, MAX_WIDTH, ConfigError, DataError, InputError, quoted
from jaxvae.models import class_reader
from jaxvae.models.base import Params, Shape
from jaxvae.parts import nested, part, require_kind, require_whole, static
from jaxvae.values import Whole

MAX_CLASSES = 1000  # that a dataset may have

Stored = Integer[Array, "b"] | Integer[np.ndarray, "b"]


@part("condition/labels")
class Labels:
    """The class of each example, one number for each class: 1 for the example's own, 0 for the others.

    With a network the model has q(y|x), which reads the class in an example: see `jaxvae.models.class_reader` and the
    objective `jaxvae.objectives.M2`, which trains it and takes examples whose class is not known, all zeros.
    """

    classes: Whole = static(name="", symbol="classes", title="classes of the condition")
    network: Any = nested(default=None, module=True)  # of q(y|x): an encoder's, see `base.Network`

    def check(self) -> None:
        require_whole(self, "classes", 1, MAX_CLASSES + 1)
        if self.network is not None:
            require_kind(self, "network", "network")

    @property
    def size(self) -> int:
        """How many numbers the networks are given."""
        return self.classes

    def to_float(self, stored: Integer[Array, "b"]) -> Float[Array, "b size"]:
        """What the networks are given."""
        return jax.nn.one_hot(stored, self.classes)

    def from_dataset(self, dataset: Any) -> tuple[np.ndarray, np.ndarray]:
        """The classes of both splits, int32 [n], −1 where one is not known.

        Raises:
            DataError: the dataset has no classes, or more than the condition.
        """
        if dataset.labels is None:
            raise DataError(f"{dataset.name} has no classes, which the condition of the model is; give labels")
        if dataset.classes > self.classes:
            raise DataError(f"{dataset.name} has {dataset.classes} classes, the condition of the model {self.classes}")
        train, test = (labels.astype(np.int32) for labels in dataset.labels)
        return train, test

    def known(self, stored: Stored) -> Bool[Array, "b"] | Bool[np.ndarray, "b"]:
        """Of which examples the class is known."""
        return stored >= 0

    def from_user(self, given: Any, n: int) -> np.ndarray:
        """Classes that a user gives, one for each of n examples or one for all, int32 [n].

        Raises:
            InputError: they are no such classes.
        """
        labels = _array(given)
        if labels.dtype.kind not in "iu" or labels.shape not in ((), (n,)):
            raise InputError(f"condition must be {n} whole numbers, or one for all, not {quoted(given)}")
        if labels.size and not 0 <= labels.min() <= labels.max() < self.classes:
            ends = f"{labels.min()} to {labels.max()}"
            raise InputError(f"condition must be classes from 0 to {self.classes - 1}, not {ends}")
        return np.broadcast_to(labels, n).astype(np.int32)


@part("condition/side")
class Side:
    """Real numbers that a dataset has beside each example; the networks are given them as they are."""

    size: Whole = static(name="", symbol="numbers", title="numbers of the condition")

    def check(self) -> None:
        require_whole(self, "size", 1, MAX_WIDTH)

    def to_float(self, stored: Float[Array, "b size"]) -> Float[Array, "b size"]:
        """What the networks are given."""
        return jnp.asarray(stored)

    def from_dataset(self, dataset: Any) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of both splits, float32 [n, size].

        Raises:
            DataError: the dataset has none, or another number for each example.
        """
        if dataset.conditions is None:
            raise DataError(f"{dataset.name} has no numbers beside its examples, which are the model's condition")
        if (own := dataset.conditions[0].shape[1]) != self.size:
            raise DataError(f"{dataset.name} has conditions of {own} numbers, the condition of the model {self.size}")
        return dataset.conditions

    def from_user(self, given: Any, n: int) -> np.ndarray:
        """Numbers that a user gives for each of n examples, or for all of them, float32 [n, size].

        Raises:
            InputError: they are of another shape, or not finite.
        """
        numbers = _array(given)
        numbers = numbers[:, None] if self.size == 1 and numbers.shape == (n,) else numbers
        one_for_all = numbers.shape == (self.size,) or (self.size == 1 and numbers.ndim == 0)
        if numbers.dtype.kind not in "buif" or not (one_for_all or numbers.shape == (n, self.size)):
            shapes = f"[{n}, {self.size}], or [{self.size}] for all"
            raise InputError(f"condition must be numbers of shape {shapes}, not {quoted(given)}")
        if not (np.abs(numbers.astype(np.float64)) < MAX_FLOAT32).all():
            raise InputError(f"condition must be finite numbers below {MAX_FLOAT32:g}")
        return np.broadcast_to(numbers, (n, self.size)).astype(np.float32)


def conditions_of(condition: Any, dataset: Any) -> tuple[Any, Any]:
    """Of the train and the test split, as they are stored; None of a model without a condition."""
    return (None, None) if condition is None else condition.from_dataset(dataset)


def _array(given: Any) -> np.ndarray:
    try:
        return np.asarray(given)
    except (TypeError, ValueError) as error:  # rows of different lengths, keys
        raise InputError(f"condition must be one array of numbers ({error})") from None


# ── how the networks are given them ──────────────────────────────────────────────────────────────────────────────────


def init(key: Key[Array, ""], condition: Any, shape: Shape, precision: str) -> Params:
    """Parameters of the condition: of the plane that `beside` makes, and under `reader` those of its network."""
    if condition is None:
        return {}
    params, network = init_plane(key, condition.size, shape), getattr(condition, "network", None)
    if network is None:
        return params
    return params | {"reader": class_reader.init(jax.random.fold_in(key, 1), network, condition.size, shape, precision)}


def init_plane(key: Key[Array, ""], size: int, shape: Shape) -> Params:
    """Parameters of the plane that `beside` makes; none for vectors."""
    if len(shape) == 1:
        return {}
    pixels = math.prod(shape[:2] if len(shape) == 2 else shape[:-1])
    return {"kernel": nn.initializers.lecun_normal()(key, (size, pixels)), "bias": jnp.zeros(pixels)}


def beside(params: Params, x: Float[Array, "b ..."], c: Float[Array, "b size"]) -> Float[Array, "b ..."]:
    """Examples with their conditions: vectors have them behind their own numbers; pictures [b, h, w] and
    [b, h, w, channels] get one more channel, a plane that is an affine function of the condition."""
    if x.ndim == 2:
        return jnp.concatenate([x, c], -1)
    x = x[..., None] if x.ndim == 3 else x
    plane = (c @ params["kernel"] + params["bias"]).reshape(*x.shape[:-1], 1)
    return jnp.concatenate([x, plane], -1)


def before(c: Float[Array, "b size"], z: Float[Array, "n z"]) -> Float[Array, "n size+z"]:
    """Codes behind their conditions, as the decoder takes them; of several codes for each example, [k · b, z], one
    after the other. A latent size is padded at the end, so codes come last.

    Raises:
        ConfigError: there are not as many conditions as codes.
    """
    if len(z) % len(c):
        raise ConfigError(f"{len(c)} conditions were given for {len(z)} codes; one for each is needed")
    tiled = jnp.broadcast_to(c, (len(z) // len(c), *c.shape)).reshape(len(z), -1)
    return jnp.concatenate([tiled, z], -1)
