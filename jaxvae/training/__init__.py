"""Training as pure functions, compiled, on devices, in processes, many runs at once."""

from jaxvae.training import compiled, devices, distributed, engine, groups, mesh
from jaxvae.training.devices import Epoch
from jaxvae.training.engine import pixels
from jaxvae.training.groups import ahead
from jaxvae.training.sweep import automatic_workers, check, sweep, train, vmaps

__all__ = [
    "Epoch",
    "ahead",
    "automatic_workers",
    "check",
    "compiled",
    "devices",
    "distributed",
    "engine",
    "groups",
    "mesh",
    "pixels",
    "sweep",
    "train",
    "vmaps",
]
