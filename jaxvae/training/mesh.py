"""Which devices compute, and what they share: runs along one axis, the batch of each run along the other.

In: a layout such as `runs=4,data=2`, devices. Out: a `jax.sharding.Mesh`, and a device's own part of a batch.

Runs need nothing from each other, so along the first axis no number is sent. Along the second the gradients' mean is
taken at each step; everything else that is drawn for a batch is drawn whole on each device, which keeps its own rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxvae.errors import ConfigError, quoted

RUNS, DATA = "runs", "data"
AXIS = re.compile(r"(runs|data)=([1-9][0-9]{0,5})", re.ASCII)


def make_mesh(layout: str, devices: Sequence[Any] | None = None) -> Mesh:
    """The devices in the order that JAX has them in, those of a process side by side.

    Args:
        layout: `auto`, all devices along the runs; or how many along each axis, as in `runs=4,data=2`, with 1 for an
            axis that is not named. The first of the devices are taken, if it asks for fewer than there are.
        devices: default, those of all processes.

    Raises:
        ConfigError: the layout cannot be read, asks for more devices than there are, or leaves one of several
            processes without any.
    """
    devices = list(devices or jax.devices())
    if layout == "auto":
        return run_mesh(devices)
    axes = [AXIS.fullmatch(part) for part in layout.split(",")] if isinstance(layout, str) else [None]
    counts = {axis[1]: int(axis[2]) for axis in axes if axis}
    if len(counts) < len(axes):
        raise ConfigError(f"mesh must be auto or such as runs=8 or runs=4,data=2, not {quoted(layout)}")
    runs, data = counts.get(RUNS, 1), counts.get(DATA, 1)
    if runs * data > len(devices):
        kind = f"{len(devices)} {devices[0].platform} device{'s' if len(devices) > 1 else ''}"
        more = "; JAX_NUM_CPU_DEVICES makes more of a CPU" if devices[0].platform == "cpu" else ""
        raise ConfigError(f"mesh {layout} needs {runs * data} devices, and there are {kind}{more}")
    taken = devices[: runs * data]
    if idle := {device.process_index for device in devices} - {device.process_index for device in taken}:
        raise ConfigError(f"mesh {layout} leaves process {min(idle)} without a device; there are {len(devices)} in all")
    return Mesh(np.array(taken, object).reshape(runs, data), (RUNS, DATA))


def run_mesh(devices: Sequence[Any]) -> Mesh:
    """All devices along the runs."""
    return Mesh(np.array(devices, object).reshape(-1, 1), (RUNS, DATA))


def layout_of(mesh: Mesh) -> str:
    """As `--mesh` takes it."""
    runs, data = mesh.devices.shape
    return f"runs={runs}" + (f",data={data}" if data > 1 else "")


def sharded_by_run(mesh: Mesh) -> NamedSharding:
    """A leading axis of lanes, shared among the devices."""
    return NamedSharding(mesh, PartitionSpec(RUNS))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on each device."""
    return NamedSharding(mesh, PartitionSpec())


def own_rows(rows: jax.Array, shards: int, axis: int = 0) -> jax.Array:
    """Within a program on a mesh whose data axis has `shards` devices: this device's part of what all of them have."""
    if shards == 1:
        return rows
    size = rows.shape[axis] // shards
    return lax.dynamic_slice_in_dim(rows, lax.axis_index(DATA) * size, size, axis)
