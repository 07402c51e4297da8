"""Training as pure functions, compiled, on devices, in processes, many runs at once."""

from jaxvae.training import compiled, devices, distributed, engine, streaming
from jaxvae.training.checks import check, check_support, vmaps
from jaxvae.training.devices import Epoch
from jaxvae.training.engine import TrainState, evaluation_params, final_params
from jaxvae.training.groups import LaneRuns, ahead
from jaxvae.training.mesh import layout_of, make_mesh, run_mesh
from jaxvae.training.pixels import to_float, to_stored
from jaxvae.training.sweep import automatic_workers, sweep, train

__all__ = [
    "Epoch", "LaneRuns", "TrainState", "ahead", "automatic_workers", "check", "check_support", "compiled", "devices",
    "distributed", "engine", "evaluation_params", "final_params", "layout_of", "make_mesh", "run_mesh", "streaming",
    "sweep", "to_float", "to_stored", "train", "vmaps",
]  # fmt: skip
