"""What models see of examples as they are stored, and the other way round.

In: bytes, or numbers as they are. Out: float32; black and white pixels and dequantised bytes as a key draws them.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Num

from jaxvae.training.mesh import own_rows

Stored = Num[Array, "n ..."]  # uint8, or float32
Examples = Float[Array, "b ..."]


def to_float(images: Stored) -> Examples:
    """What models see: bytes as numbers in [0, 1], other numbers as they are."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images


def binarized(key: Key[Array, ""], images: Examples, shards: int = 1) -> Examples:
    """Each pixel drawn as 1 with its grey level for probability (Salakhutdinov & Murray 2008, section 5)."""
    uniform = jax.random.uniform(key, (len(images) * shards, *images.shape[1:]))
    return (own_rows(uniform, shards) < images).astype(jnp.float32)


def dequantized(key: Key[Array, ""], images: Examples, shards: int = 1) -> Examples:
    """Each byte, given in [0, 1], anywhere between its level and the next: (byte + u) / 256 with u uniform between 0
    and 1 (Theis et al. 2016, section 3.1)."""
    uniform = jax.random.uniform(key, (len(images) * shards, *images.shape[1:]))
    return (255 * images + own_rows(uniform, shards)) / 256


def to_stored(images: Examples, dtype: Any) -> Stored:
    """The inverse of `to_float`, to the nearest byte."""
    return jnp.rint(255 * jnp.clip(images, 0, 1)).astype(jnp.uint8) if dtype == jnp.uint8 else images
