"""What is drawn for a run: keys by what they are for, and the noise of codes.

In: a state with the run's root key, which is never advanced. Out: keys, and normal numbers, the same on all devices.
"""

from __future__ import annotations

import enum
from typing import Any

import jax
from jaxtyping import Array, Float, Int, Key

from jaxvae.config import Program
from jaxvae.models import standard_noise
from jaxvae.training.mesh import own_rows


class Purpose(enum.IntEnum):
    """What a key is for. A run's root key is never advanced, only folded with one of these and then with a count."""

    INIT = 0
    ORDER = 1  # then the epoch
    TRAIN_NOISE = 2  # then the step
    TEST_NOISE = 3  # then the epoch
    BINARIZE = 4  # then the step
    DEQUANTIZE = 5  # then the step


def key_for(state: Any, purpose: Purpose, count: int | Int[Array, ""]) -> Key[Array, ""]:
    return jax.random.fold_in(jax.random.fold_in(state.key, purpose), count)


def codes_noise(program: Program, key_z: Key[Array, ""], batch: int, shards: int = 1) -> Float[Array, "k b z"]:
    """The noise that the objective is given: the own rows of the batch's. In latent dimensions that are not in use it
    is zero, unless the objective masks its codes itself."""
    vae, codes = program.vae, program.objective.codes
    # an axis of length one would make XLA lay out the codes otherwise, and move last bits
    shape = (batch * shards,) if codes == 1 else (codes, batch * shards)
    noise = own_rows(standard_noise(key_z, shape, vae.latent_dim), shards, axis=len(shape) - 1)
    noise = noise[None] if codes == 1 else noise
    return noise if getattr(program.objective, "masks_codes", False) else vae.mask_codes(noise)
