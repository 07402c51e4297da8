"""The numbers that the lanes of a program come to, of all processes that share it.

In: what a compiled program gave. Out: by lane, states on the host, losses, and where a run diverged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxvae.objectives import Losses
from jaxvae.training import distributed
from jaxvae.training.engine import TrainState


class Computed(NamedTuple):
    """What an epoch comes to, of one run or of stacked lanes."""

    state: TrainState
    train: Losses | None  # none before training
    sound: Any  # steps before the first whose loss is not finite
    test: Losses
    finite: Any  # whether the state is
    validation: Losses | None  # none without a validation split
    stops: Any  # whether the run ends here, before its last epoch
    reconstructions: Any  # of the probes, if there are some


class Numbers(NamedTuple):
    """What all processes come to know of a lane."""

    train: Losses  # zeros before training
    sound: Any  # steps before the first whose loss is not finite
    test: Losses
    finite: Any  # whether the state is
    validation: Losses  # zeros without a validation split
    stops: Any


def own_lanes(results: Computed) -> tuple[dict[int, Any], set[int]]:
    """By lane, what this process holds; and the lanes that are its to keep, where several hold the same."""

    def rows(leaf: jax.Array) -> dict[int, np.ndarray]:
        parts = {shard.index[0].start or 0: shard.data for shard in leaf.addressable_shards}
        held = {start: np.asarray(part) for start, part in parts.items()}
        return {start + i: np.asarray(row) for start, part in held.items() for i, row in enumerate(part)}

    leaves, structure = jax.tree.flatten(results)
    by_lane = [rows(leaf) for leaf in leaves]
    own = {lane: jax.tree.unflatten(structure, [leaf[lane] for leaf in by_lane]) for lane in by_lane[0]}
    first = [shard for shard in leaves[0].addressable_shards if shard.replica_id == 0]
    kept = {(shard.index[0].start or 0) + i for shard in first for i in range(len(shard.data))}
    return own, kept


def numbers_of_all(own: Mapping[int, Any], lanes: int, shared: bool) -> Numbers:
    """The numbers of all lanes, [lanes] each, whichever process holds them."""
    rows, here = [], [*own]
    for one in own.values():
        nothing = jax.tree.map(np.zeros_like, one.test)
        train, validation = (nothing if losses is None else losses for losses in (one.train, one.validation))
        stops = np.bool_(False) if one.stops is None else one.stops
        rows.append(Numbers(train, np.int32(one.sound or 0), one.test, one.finite, validation, stops))

    def column(*values: Any) -> np.ndarray:
        by_lane = np.zeros(lanes, np.asarray(values[0]).dtype)
        by_lane[here] = values
        return by_lane

    table = jax.tree.map(column, *rows)
    if not shared:
        return table
    tables, holders = distributed.all_gather_arrays((table, np.isin(np.arange(lanes), here)))
    return jax.tree.map(lambda columns: columns[holders.argmax(0), np.arange(lanes)], tables)


def diverged_at(numbers: Numbers, epoch: int, steps: int) -> int | None:
    """The first step whose loss is not finite; the epoch's last one, if only what came of it is not."""
    if numbers.finite and np.isfinite(jax.tree.leaves((numbers.train, numbers.test, numbers.validation))).all():
        return None
    return min((epoch - 1) * steps + int(numbers.sound) + 1, epoch * steps) if epoch else 0
