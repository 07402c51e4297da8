"""The processes that train one sweep together, on one host or several: who they are, and what they must agree on.

In: a coordinator's address, their number, this one's place among them. Out: values that all of them have, and one line
when one of them is lost. A process that is alone asks nobody.
"""

from __future__ import annotations

import contextlib
import json
import threading
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from jaxvae.config import InputError, reason
from jaxvae.machine import FaultError

PATIENCE_MS = (
    7 * 24 * 3600 * 1000
)  # for others that work; one that is lost is found out much sooner, by JAX's heartbeats
_asked = 0  # questions so far, the same in all processes as they ask the same ones


class PeerError(FaultError):
    """Another process, with which this one trains, was lost."""


def connect(coordinator: str | None, processes: int | None, index: int | None, timeout: int) -> None:
    """Joins the others, before anything is computed.

    What is None is taken from the environment that Slurm, Open MPI or Kubernetes set, see `jax.distributed.initialize`.
    A process whose others do not come within the timeout, or that has lost one for that long, is aborted by JAX's
    runtime, which no Python code can catch.

    Args:
        coordinator: HOST:PORT of the first process.
        timeout: seconds.

    Raises:
        InputError: it is not known who takes part, or the coordinator's port cannot be used.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Kubernetes cannot be asked, which need not be where all is given
            jax.distributed.initialize(
                coordinator, processes, index, initialization_timeout=timeout, heartbeat_timeout_seconds=timeout,
                shutdown_timeout_seconds=timeout,
            )  # fmt: skip
    except (ValueError, TypeError, RuntimeError, OSError, KeyError) as error:
        told = "it is not known which processes there are" if isinstance(error, ValueError) else reason(error)
        raise InputError(
            f"{told}; give --coordinator HOST:PORT --processes N --process I to each, or start them by srun or mpirun"
        ) from None


def leave(seconds: float | None = None) -> None:
    """Ends the connection when all have come to their end, but waits for them no longer than this.

    The first process holds the connection: the others would be aborted if it went before them.
    """

    def shut() -> None:
        with contextlib.suppress(Exception):  # another may be gone already
            jax.distributed.shutdown()

    shutting = threading.Thread(target=shut, daemon=True)
    shutting.start()
    shutting.join(seconds)


def several() -> bool:
    return jax.process_count() > 1


def first() -> bool:
    """Whether this is the process that speaks for all."""
    return jax.process_index() == 0


def from_first(work: Callable[[], Any]) -> Any:
    """What `work` returns in the first process, in all of them; only the first does it. It goes as JSON.

    Raises:
        InputError: the first process could not; all say so with its words.
        FaultError: likewise.
    """
    if not several():
        return work()
    key, client = _question(), multihost.get_jax_distributed_client()
    if not first():
        told = json.loads(client.blocking_key_value_get(key, PATIENCE_MS))
        if "error" in told:
            raise {"input": InputError, "fault": FaultError}[told["kind"]](told["error"])
        return told["value"]
    try:
        value = work()
        client.key_value_set(key, json.dumps({"value": value}))
        return value
    except BaseException as error:
        kind = "input" if isinstance(error, InputError) else "fault"
        client.key_value_set(key, json.dumps({"error": str(error) or type(error).__name__, "kind": kind}))
        raise


def wait() -> None:
    """Until all processes have come here."""
    if several():
        multihost.get_jax_distributed_client().wait_at_barrier(_question(), PATIENCE_MS)


def gathered(tree: Any) -> Any:
    """Host arrays of all processes, stacked along a new first axis."""
    if not several():
        return jax.tree.map(lambda leaf: np.asarray(leaf)[None], tree)
    return multihost_utils.process_allgather(tree)


def smallest(number: int) -> int:
    """Of the numbers that the processes have."""
    if not several():
        return number
    low, high = divmod(number, 2**31)  # JAX's integers have 32 bits
    return min(int(a) * 2**31 + int(b) for a, b in gathered(np.array([low, high], np.int32)))


@contextlib.contextmanager
def watched():
    """What JAX reports within the block when another process is lost is a `PeerError`."""
    try:
        yield
    except (RuntimeError, ValueError) as error:  # JAX raises both
        if several() and any(sign in str(error) for sign in ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED")):
            raise PeerError("another process of this sweep was lost") from error
        raise


def _question() -> str:
    global _asked
    _asked += 1
    return f"jaxvae/{_asked}"
