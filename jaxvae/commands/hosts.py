"""A command on several hosts: what it knows of the others, how it joins them, and what it says when one is lost.

In: options, environment variables. Out: a process that computes beside the others', and its exit code.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from typing import NamedTuple

from jaxvae.commands.supervisor import supervised
from jaxvae.errors import ConfigError, InputError, quoted

REFUSED_SECONDS = 5  # that bad input waits for the others, which mostly refuse it as well


class Hosts(NamedTuple):
    """Who takes part; what is None is found out from the scheduler's environment."""

    coordinator: str | None  # HOST:PORT of the first process
    processes: int | None
    process: int | None  # this one's number, from 0
    timeout: int  # seconds


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "several hosts: give the same command on each",
        "The first process writes tables and figures, each its own runs' checkpoints; --out must be a folder that all "
        "share.\nUnder Slurm and Open MPI 4 --distributed is enough; docs/scale.md has examples, also for Kubernetes.",
    )
    group.add_argument("--distributed", action="store_true", help="train together with the other processes")
    group.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0 (default: $JAX_COORDINATOR_ADDRESS)")
    group.add_argument("--processes", type=int, metavar="N", help="how many (default: $JAX_NUM_PROCESSES)")
    group.add_argument("--process", type=int, metavar="I", help="which this is, from 0 (default: $JAX_PROCESS_ID)")
    group.add_argument(
        "--peer-timeout", type=int, default=300, metavar="S",
        help="seconds to wait for the others at the start, and for one that has gone silent (default: 300)",
    )  # fmt: skip


def from_options(options: argparse.Namespace) -> Hosts | None:
    """What the options say, else $JAX_COORDINATOR_ADDRESS, $JAX_NUM_PROCESSES, $JAX_PROCESS_ID; None for one host.

    Raises:
        InputError: they contradict each other, or cannot be.
    """
    if not options.distributed:
        if given := [name for name in ("coordinator", "processes", "process") if getattr(options, name) is not None]:
            raise ConfigError(f"--{given[0]} is for a sweep in several processes; add --distributed, or leave it out")
        return None
    coordinator = options.coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    processes = _number("JAX_NUM_PROCESSES") if options.processes is None else options.processes
    process = _number("JAX_PROCESS_ID") if options.process is None else options.process
    if options.peer_timeout < 1:
        raise ConfigError(f"--peer-timeout must be at least 1 second, not {options.peer_timeout}")
    if coordinator and not re.fullmatch(r".+:[0-9]{1,5}", coordinator):
        raise InputError(f"the coordinator must be HOST:PORT, not {quoted(coordinator)}")
    if processes is not None and (processes < 1 or not 0 <= (process or 0) < processes):
        raise InputError(f"process {process} of {processes} cannot be: they count from 0 to one less than their number")
    return Hosts(coordinator, processes, process, options.peer_timeout)


def _number(variable: str) -> int | None:
    value = os.environ.get(variable)
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise InputError(f"${variable} must be a whole number, not {quoted(value)}")
    return int(value)


def join(hosts: Hosts) -> None:
    """To be called before JAX has looked for devices; see `jaxvae.training.distributed.connect`."""
    from jaxvae.training import distributed

    distributed.connect(hosts.coordinator, hosts.processes, hosts.process, hosts.timeout)


def beside_others(hosts: Hosts, work: Callable[[], int], again: str, *, debug: bool = False) -> int:
    """The exit code of `work`, done in a process of its own, which joins the others.

    Args:
        again: how to go on when another is lost.
        debug: show what JAX's runtime says of its end.
    """

    def work_and_leave() -> int:
        code = work()
        if code in (0, 2):  # else the others are on their way out, too
            from jaxvae.training import distributed

            distributed.leave(None if code == 0 else REFUSED_SECONDS)
        return code

    def explain(native: str) -> str:
        if "RegisterTask" in native:
            where = hosts.coordinator or "the one that the environment names"
            return (
                f"not all processes came within {hosts.timeout} s (coordinator {where}); give the command on each "
                "host, and look whether that address can be reached from there"
            )
        if "distributed service detected fatal errors" in native:
            return f"another process of this sweep was lost; {again}"
        return ""

    return supervised(work_and_leave, explain, debug=debug)
