"""What a user gives a run: arrays and keys of any library, checked.

In: examples, codes, a key. Out: the same as the run's functions take them, or an error of one line.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae.errors import MAX_FLOAT32, InputError, quoted
from jaxvae.training import to_float


def as_key(key: Any) -> jax.Array:
    """The key that it is, or that `jax.random.PRNGKey` has made it from."""
    if isinstance(key, jax.Array | np.ndarray):
        if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and not key.ndim:
            return jnp.asarray(key)
        if key.dtype == np.uint32 and key.shape == (2,):
            return jax.random.wrap_key_data(jnp.asarray(key))
    raise InputError(f"key must be one key, such as jax.random.key(0), not {quoted(key)}")


def as_array(what: str, given: Any) -> np.ndarray:
    try:
        return np.asarray(given)
    except (TypeError, ValueError) as error:  # rows of different lengths, keys
        raise InputError(f"{what} must be one array of numbers ({error})") from None


def as_images(images: Any, shape: tuple[int, ...], in_bytes: bool) -> jax.Array:
    images = as_array("images", images)
    if images.shape[1:] != shape or not images.ndim:
        raise InputError(f"images must have shape [n, {', '.join(map(str, shape))}], not {list(images.shape)}")
    real = any(jnp.issubdtype(images.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_))
    if in_bytes:
        if images.dtype == np.uint8:
            return to_float(jnp.asarray(images))
        if not jnp.issubdtype(images.dtype, jnp.floating) or not ((images >= 0) & (images <= 1)).all():
            raise InputError("images must be bytes (uint8) or floats in [0, 1]")
    elif images.dtype == np.uint8:
        raise InputError("the model was trained on numbers as they are, not on bytes (uint8); give floats or int32")
    elif not real or not (np.abs(images.astype(np.float64)) < MAX_FLOAT32).all():
        raise InputError(f"examples must be finite numbers below {MAX_FLOAT32:g}")
    return jnp.asarray(images, jnp.float32)
