"""The processes that train one sweep together, on one host or several: who they are, and what they must agree on.

In: a coordinator's address, their number, this one's place among them. Out: values that all of them have, and one line
when one of them is lost. A process that is alone asks nobody.
"""

from __future__ import annotations

import contextlib
import json
import threading
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from jaxvae.errors import FaultError, InputError, PeerError, Remedy, reason

TURN_MS = 500
SIGNS = ("Gloo", "NCCL", "UNAVAILABLE", "Socket closed", "CoordinationService", "heartbeat")  # that a process is lost
_times: Counter[str] = Counter()  # by name, how often a question was asked: as often in all processes


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
        why = "it is not known which processes there are" if isinstance(error, ValueError) else reason(error)
        raise InputError(f"{why}; {Remedy.NAME_PROCESSES}, or start them by srun or mpirun") from None


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


def all_gather(name: str, value: Any) -> list[Any]:
    """What each process gives here, in their order, in all of them. It goes as JSON.

    Args:
        name: of the question, the same in all processes.

    Raises:
        PeerError: another process was lost meanwhile.
    """
    if not several():
        return [value]
    _give(key := _question(name), value)
    return [_asked(f"{key}/{index}") for index in range(jax.process_count())]


def broadcast_from_first(name: str, work: Callable[[], Any]) -> Any:
    """What `work` returns in the first process, in all of them; only the first does it. It goes as JSON.

    Raises:
        InputError: the first process could not; all say so with its words.
        FaultError: likewise; or it was lost meanwhile.
    """
    if not several():
        return work()
    key = _question(name)
    if not first():
        answer = _asked(f"{key}/0")
        if "error" in answer:
            raise _as_error(answer)
        return answer["value"]
    try:
        value = work()
    except BaseException as error:
        _give(key, _as_json(error))
        raise
    _give(key, {"value": value})
    return value


def all_or_none(name: str, work: Callable[[], Any]) -> Any:
    """What `work`, which each process does, returns in this one; if it fails in any of them, all raise.

    Raises:
        InputError: of this process, else of the first one that had any.
        FaultError: likewise.
    """
    if not several():
        return work()
    try:
        value, own = work(), None
    except Exception as error:
        value, own = None, error
    errors = all_gather(name, own and _as_json(own))
    if own:
        raise own
    if others := [one for one in errors if one]:
        raise _as_error(others[0])
    return value


def check_equal(name: str, given: dict[str, Any]) -> None:
    """All processes were given the same.

    Raises:
        InputError: they were not; says which and in what.
    """
    first_given, *others = all_gather(name, given)
    for index, theirs in enumerate(others, 1):
        if differing := [what for what, value in first_given.items() if theirs[what] != value]:
            raise InputError(
                f"process {index} was given other {' and '.join(differing)} than the first; {Remedy.SAME_FOR_ALL}"
            )


def barrier(name: str) -> None:
    """Until all processes have come here."""
    all_gather(name, None)


def all_gather_arrays(tree: Any) -> Any:
    """Host arrays of all processes, stacked along a new first axis; sent as devices send theirs."""
    with raise_on_lost_peer():
        return multihost_utils.process_allgather(tree)


@contextlib.contextmanager
def raise_on_lost_peer():
    """What JAX reports within the block when another process is lost is a `PeerError`."""
    try:
        yield
    except (RuntimeError, ValueError) as error:  # JAX raises both
        if several() and any(sign in str(error) for sign in SIGNS):
            raise PeerError("another process of this sweep was lost") from error
        raise


def _question(name: str) -> str:
    """A key for it, and for the time that it is asked."""
    _times[name] += 1
    return f"jaxvae/{name}/{_times[name]}"


def _give(key: str, value: Any) -> None:
    with raise_on_lost_peer():
        client = multihost.get_jax_distributed_client()
        client.key_value_set(f"{key}/{jax.process_index()}", json.dumps(value))


def _asked(key: str) -> Any:
    """What a process gives there, in short turns, between which a signal to stop takes effect."""
    client = multihost.get_jax_distributed_client()
    with raise_on_lost_peer():
        while True:
            try:
                return json.loads(client.blocking_key_value_get(key, TURN_MS))
            except jax.errors.JaxRuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise


def _as_json(error: BaseException) -> dict[str, str]:
    if isinstance(error, OSError):
        return {"error": f"{error.filename or 'the system'}: {error.strerror or error}", "kind": "input"}
    kind = "input" if isinstance(error, InputError) else "fault"
    return {"error": str(error) if isinstance(error, InputError | FaultError) else reason(error), "kind": kind}


def _as_error(answer: dict[str, str]) -> InputError | FaultError:
    return {"input": InputError, "fault": FaultError}[answer["kind"]](answer["error"])
