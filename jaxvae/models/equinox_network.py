"""Networks of Equinox.

In: a function that makes a module. Out: a part.
"""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import jax
from jax.tree_util import Partial

from jaxvae.errors import ConfigError
from jaxvae.models.functional import network
from jaxvae.values import Whole


def equinox_network(name: str, make: Callable, *, features: Whole | None = None) -> Any:
    """Makes and registers a network of an Equinox module, whose floating-point arrays are the parameters.

    Args:
        name, features: see `network`.
        make: takes a key and the shape of an example, of a decoder that of its output; returns a module that takes one
            example or one vector of features, as Equinox's layers do. Noise and state, such as dropout's and a batch
            norm's, are no part of it.

    Raises:
        ConfigError: see `network`; Equinox is not installed.

    Example:
        >>> import equinox as eqx, jax.numpy as jnp
        >>> Mine = equinox_network("network/of-equinox", lambda key, shape: eqx.nn.Linear(shape[0], 5, key=key))
        >>> Mine().init_with_output(jax.random.key(0), jnp.zeros((3, 7)))[0].shape
        (3, 5)
    """
    try:
        import equinox as eqx
    except ImportError:
        raise ConfigError(f"{name} needs Equinox: pip install 'jaxvae[equinox]'") from None

    @wraps(make)
    def init(key: Any, shape: Any) -> Any:
        params, rest = eqx.partition(make(key, shape), eqx.is_inexact_array)
        if arrays := [leaf for leaf in jax.tree.leaves(rest) if eqx.is_array(leaf)]:
            raise ConfigError(f"{name}: the module has an array of {arrays[0].dtype}, which cannot be trained")
        return Partial(partial(_called, eqx.combine, rest), params)  # a tree with what is no parameter in its structure

    return network(name, init, lambda module, x: jax.vmap(module)(x), features=features)


def _called(combine: Callable, rest: Any, params: Any, x: Any) -> Any:
    return combine(params, rest)(x)
