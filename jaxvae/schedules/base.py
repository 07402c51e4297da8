"""What a schedule must offer, and how its numbers get into a program.

In: a part, an epoch, how many steps an epoch has. Out: the part with float32 numbers where it had schedules. They are
computed on the host, so lanes with any schedules, or with none, go through one program and nothing is compiled anew
from epoch to epoch. Only whether a field changes by epoch or by step is part of a program's structure.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae.parts import fields, is_part, is_schedule, kind, require_number

T = TypeVar("T")


class Schedule(Protocol):
    """A part of the kind `schedule`, which a traced field may hold in place of a number.

    Optional: `by`, "step" where it counts optimiser steps and may change from one to the next; else it counts epochs.
    """

    def at(self, count: int) -> float:
        """The value in an epoch or a step, both counted from 1; at 0, before training, that of the first."""
        ...


class EachStep(NamedTuple):
    """What a traced field is in each step of an epoch; it stands in the field's place in a program."""

    values: Any  # float32 [steps]


def at_epoch(value: T, epoch: int, steps: int = 1) -> T:
    """The part with a float32 number in each traced field: its own, or what its schedule says of the epoch; `EachStep`
    where the schedule counts steps.

    Args:
        epoch: counted from 1; 0 is before training.
        steps: in an epoch.
    """
    if not is_part(value) or not dataclasses.fields(value):  # type: ignore[arg-type]
        return value
    changes: dict[str, Any] = {}
    for f in fields(value):
        held = getattr(value, f.name)
        if kind(f) == "traced":
            changes[f.name] = _numbers(held, epoch, steps)
        elif kind(f) == "nested":
            changes[f.name] = at_epoch(held, epoch, steps)
    return dataclasses.replace(value, **changes) if changes else value  # type: ignore[type-var]


def _numbers(held: Any, epoch: int, steps: int) -> Any:
    if not is_schedule(held):
        return np.float32(held)
    if getattr(held, "by", "epoch") == "step":
        return EachStep(_of_steps(held, epoch, steps))
    return np.float32(held.at(epoch))


@lru_cache(maxsize=64)
def _of_steps(schedule: Any, epoch: int, steps: int) -> np.ndarray:
    """Of each step of an epoch; lanes with equal schedules share them."""
    first = (epoch - 1) * steps + 1
    counts = range(first, first + steps) if epoch else [0] * steps
    values = np.array([schedule.at(count) for count in counts], np.float32)
    values.flags.writeable = False
    return values


def at_step(program: T, step: Any) -> T:
    """A program with the numbers of an optimiser step, counted from 0 over all epochs."""
    return _chosen(program, lambda values: jnp.asarray(values)[step % len(values)])


def after_last_step(program: T) -> T:
    """A program with the numbers of an epoch's last step, with which it is evaluated."""
    return _chosen(program, lambda values: values[-1])


def _chosen(program: T, of: Any) -> T:
    def one(leaf: Any) -> Any:
        return of(leaf.values) if isinstance(leaf, EachStep) else leaf

    return jax.tree.map(one, program, is_leaf=lambda leaf: isinstance(leaf, EachStep))


def has_schedule(value: Any) -> bool:
    """Whether a traced field of a part, or of a part in it, holds a schedule."""
    if not is_part(value) or not dataclasses.is_dataclass(value):
        return False
    held = [getattr(value, f.name) for f in fields(value)]
    return any(is_schedule(one) or has_schedule(one) for one in held)


def require_share(part: Any, *names: str) -> None:
    """Raises ConfigError unless these fields hold numbers from 0 to below 1, or schedules that begin and end there."""
    for name in names:
        held = getattr(part, name)
        if not is_schedule(held):
            require_number(part, name, below=1.0)
            continue
        for end in ("initial", "final"):
            if hasattr(held, end):
                require_number(held, end, below=1.0)
