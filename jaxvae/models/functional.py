"""A network that is a pair of pure functions, one that makes parameters and one that applies them.

In: the two functions and a name. Out: a part, to be used as an encoder or as a decoder.

The parameters may be any tree: a run keeps its leaves, each under the path that leads to it.
"""

import importlib
import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxvae.errors import MAX_WIDTH, ConfigError, is_whole, quoted
from jaxvae.models.base import Shape
from jaxvae.parts import REGISTERED, bound, part
from jaxvae.values import Whole, plain


class Functions(NamedTuple):
    init: Callable[..., Any]  # key, shape → parameters
    apply: Callable[..., Any]  # parameters, [b, ...] → [b, ...]


def network(name: str, init: Callable, apply: Callable, *, features: Whole | None = None) -> Any:
    """Makes and registers a network of two pure functions.

    A run's config.json holds the name alone: whoever loads it defines the network first, or hands it in with
    `parts=[…]`. Functions with other settings are another network and need another name.

    Args:
        name: such as "network/mine", or "decoder/mine".
        init: takes a key and the shape of an example, of a decoder that of its output for one; returns the parameters,
            any tree of floating-point arrays.
        apply: takes parameters and a batch. An encoder's is of examples [b, *shape], and it returns features [b, f]; a
            decoder's is of features [b, features], and it returns as many numbers for each as an output has.
        features: of a decoder, how many it takes; None makes an encoder.

    Returns:
        A class without fields, as one decorated with `jaxvae.parts.part`: `VAE(2, Mine(), MyDecoder())`.

    Raises:
        ConfigError: the name cannot be one, or is another network's; `features` is no whole number.

    Example:
        >>> def init(key, shape):
        ...     return {"kernel": jax.random.normal(key, (*shape, 16)) / 8}
        >>> def apply(params, x):
        ...     return jnp.tanh(x @ params["kernel"])
        >>> Mine = network("network/of-an-example", init, apply)
        >>> Mine().init(jax.random.key(0), jnp.zeros((1, 64)))["params"]["tree"]["kernel"].shape
        (64, 16)
    """
    features = plain(features)
    if features is not None and not is_whole(features, 1, MAX_WIDTH):
        raise ConfigError(f"{name}: features must be a whole number of at least 1, not {quoted(features)}")
    base = _Encoder if features is None else _Decoder
    own = {"functions": Functions(init, apply), "features": features, "__doc__": apply.__doc__}
    label = str(name).rsplit("/", 1)[-1]
    cls = type(label, (base,), own | {"__module__": getattr(init, "__module__", __name__), "__qualname__": label})
    return part(name)(cls)


class _Encoder(nn.Module):
    functions: ClassVar[Functions]

    @nn.compact
    def __call__(self, x: Float[Array, "b ..."]) -> Float[Array, "b f"]:
        return _applied(self, x, x.shape[1:])

    def __reduce__(self):
        return _found, (type(self).__module__, self.part_name)  # type: ignore[attr-defined]


class _Decoder(nn.Module):
    functions: ClassVar[Functions]
    features: ClassVar[int]
    outputs: Shape = bound(default=())

    @nn.compact
    def __call__(self, h: Float[Array, "b f"]) -> Float[Array, "b ..."]:
        out = _applied(self, h, self.outputs)
        return out.reshape(len(h), *self.outputs) if out.size == len(h) * math.prod(self.outputs) else out

    def __reduce__(self):
        return _found, (type(self).__module__, self.part_name, self.outputs)  # type: ignore[attr-defined]


def _applied(module: Any, x: Array, shape: Shape) -> Array:
    init, apply = module.functions
    tree = jax.eval_shape(lambda: init(jax.random.key(0), shape))
    leaves = module.param("tree", lambda key: _by_path(module.part_name, init(key, shape)))
    values = [leaves[path] for path in _by_path(module.part_name, tree)]
    return apply(jax.tree.unflatten(jax.tree.structure(tree), values), x)


def _by_path(name: str, tree: Any) -> dict[str, Any]:
    """The leaves of a tree of parameters, float32, each under its path.

    Raises:
        ConfigError: a leaf is no array of floating-point numbers, or there are two of a path.
    """
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        where = jax.tree_util.keystr(path, simple=True, separator=".") or "array"
        kind = str(leaf.dtype) if hasattr(leaf, "dtype") else type(leaf).__name__
        if not hasattr(leaf, "dtype") or not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ConfigError(f"{name}: init must return arrays of floating-point numbers alone; {where} is {kind}")
        if where in found:
            raise ConfigError(f"{name}: init must not return two arrays of the path {where}")
        found[where] = leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jnp.asarray(leaf, jnp.float32)
    return found


def _found(module: str, name: str, *outputs: Shape) -> nn.Module:
    """A network in a process that has not defined it yet: its module does so where it is imported."""
    importlib.import_module(module)
    return REGISTERED[name](*outputs)
