"""What training minimises."""

from jaxvae.objectives.base import Context, Losses, Objective, check_classes, reads_classes
from jaxvae.objectives.capacity import Capacity
from jaxvae.objectives.elbo import ELBO
from jaxvae.objectives.floors import FreeBits, RateFloor
from jaxvae.objectives.importance_weighted import IWAE, DReG, log_mean_exp
from jaxvae.objectives.semi_supervised import M2

__all__ = [
    "ELBO", "IWAE", "M2", "Capacity", "Context", "DReG", "FreeBits", "Losses", "Objective", "RateFloor",
    "check_classes", "log_mean_exp", "reads_classes",
]  # fmt: skip
