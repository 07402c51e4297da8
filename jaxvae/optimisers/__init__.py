"""How gradients change parameters."""

from jaxvae.optimisers.adam import LEARNING_RATE, Adam
from jaxvae.optimisers.around import EMA, Clip
from jaxvae.optimisers.base import Optimiser
from jaxvae.optimisers.decayed import SGD, AdamW, Lion
from jaxvae.optimisers.muon import Muon
from jaxvae.schedules import Stages

__all__ = ["EMA", "LEARNING_RATE", "SGD", "Adam", "AdamW", "Clip", "Lion", "Muon", "Optimiser", "Stages"]
