"""What training minimises."""

from jaxvae.objectives.base import Context, Losses, Objective
from jaxvae.objectives.capacity import Capacity
from jaxvae.objectives.elbo import ELBO
from jaxvae.objectives.floors import FreeBits, RateFloor
from jaxvae.objectives.importance_weighted import IWAE, DReG, log_mean_exp

__all__ = [
    "ELBO", "IWAE", "Capacity", "Context", "DReG", "FreeBits", "Losses", "Objective", "RateFloor", "log_mean_exp",
]  # fmt: skip
