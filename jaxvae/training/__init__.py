"""Training as pure functions, compiled, on devices, in processes, many runs at once."""

from jaxvae.training import compiled, devices, distributed, engine
from jaxvae.training.devices import Epoch
from jaxvae.training.engine import TrainState, as_bytes, pixels
from jaxvae.training.groups import LaneRuns, ahead
from jaxvae.training.mesh import layout_of, make_mesh, run_mesh
from jaxvae.training.sweep import automatic_workers, check, sweep, train, vmaps

__all__ = [
    "Epoch", "LaneRuns", "TrainState", "ahead", "as_bytes", "automatic_workers", "check", "compiled", "devices",
    "distributed", "engine", "layout_of", "make_mesh", "pixels", "run_mesh", "sweep", "train", "vmaps",
]  # fmt: skip
