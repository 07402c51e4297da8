"""How gradients change parameters, and how numbers change with the epochs."""

from jaxvae.optimisers.adam import LEARNING_RATE, Adam
from jaxvae.optimisers.base import Optimiser
from jaxvae.optimisers.schedules import Stages

__all__ = ["LEARNING_RATE", "Adam", "Optimiser", "Stages"]
