"""JAX's settings under which jaxvae loads, trains and evaluates, whatever the user's own are.

In: what a user has set by JAX's variables or `jax.config`. Out: the same numbers for everybody, on the devices that the
user has chosen. The pure functions that all is made of – a model's, a loss, a step – follow the caller's settings.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import flax
import jax
import numpy as np

from jaxvae.errors import InputError

# JAX's name of each, and the value under which numbers are the published ones and nothing sound is refused
SETTINGS = {
    "enable_x64": False,
    "default_matmul_precision": None,
    "default_prng_impl": "threefry2x32",
    "threefry_partitionable": True,
    "enable_custom_prng": False,
    "legacy_prng_key": "allow",
    "numpy_rank_promotion": "allow",
    "numpy_dtype_promotion": "standard",
    "disable_jit": False,
    "debug_nans": False,  # a run that diverges is found, told and stopped, and the others go on
    "debug_infs": False,
    "debug_key_reuse": False,
    "check_tracer_leaks": False,
    "thread_guard": False,
    "transfer_guard_host_to_device": "allow",
    "transfer_guard_device_to_device": "allow",
    "transfer_guard_device_to_host": "allow",
}
OF_FLAX = {"flax_fix_rng_separator": False, "flax_preserve_adopted_names": False, "flax_return_frozendict": False}
OF_NUMPY: dict[str, Any] = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """What is computed within the block, or in the function that this decorates, is computed under our settings.

    Raises:
        InputError: JAX has a setting that changes numbers and cannot be set for a block.
    """
    if offset := getattr(jax.config, "jax_random_seed_offset", 0):
        raise InputError(f"JAX_RANDOM_SEED_OFFSET is {offset}, so that each seed would be another one; set it to 0")
    with contextlib.ExitStack() as stack:
        for name, value in SETTINGS.items():  # not all versions have all
            if getattr(jax.config, f"jax_{name}", value) not in (None, value):
                stack.enter_context(getattr(jax, name)(value))
        for name, value in OF_FLAX.items():
            if getattr(flax.config, name, value) != value:
                stack.enter_context(flax.config.temp_flip_flag(name.removeprefix("flax_"), value))
        stack.enter_context(np.errstate(**OF_NUMPY))
        yield


def local_devices() -> list[Any]:
    """The devices that this process computes on: JAX's default device if the user has set one, else all."""
    default = getattr(jax.config, "jax_default_device")  # noqa: B009 – which JAX's types lack
    if default is None:
        return jax.local_devices()
    return jax.local_devices(backend=default) if isinstance(default, str) else [default]


def platform() -> str:
    """Of the devices that this process computes on: cpu, gpu or tpu."""
    return local_devices()[0].platform
