"""What the commands share: JAX is set up for them, and what goes wrong is one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from jaxvae.config import InputError
from jaxvae.machine import WorkerError, own_cache_dir


def guarded(work: Callable[[], int], stopped: str, again: str = "") -> int:
    """Runs `work` and returns its exit code: 2 on bad input, 1 if a worker was ended, 130 if it was interrupted.

    Args:
        stopped: what is said after an interrupt; `again`: how to go on after a worker was ended.
    """
    try:
        return work()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
    except WorkerError as error:
        print(f"error: {error}; {again}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{stopped}", file=sys.stderr)
        return 130
    return 2


def start_jax(cpu_devices: int | None = None) -> None:
    """Imports JAX and finds its devices; compiled programs are kept for the next time, small ones too.

    Args:
        cpu_devices: how many devices a CPU is made of, where the environment does not say.

    Raises:
        InputError: JAX finds no device.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(own_cache_dir() / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    if cpu_devices:
        os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(cpu_devices))

    import jax

    try:
        jax.local_devices()
    except (RuntimeError, AssertionError) as error:  # JAX asserts when the one platform asked for is not there
        platforms = os.environ.get("JAX_PLATFORMS", "not set")
        why = (str(error).splitlines() or ["no such device"])[0]
        raise InputError(f"JAX cannot start ({why}); JAX_PLATFORMS is {platforms}") from None
