"""What training minimises."""

from jaxvae.objectives.base import Context, Losses, Objective
from jaxvae.objectives.elbo import ELBO
from jaxvae.objectives.importance_weighted import IWAE, DReG, log_mean_exp

__all__ = ["ELBO", "IWAE", "Context", "DReG", "Losses", "Objective", "log_mean_exp"]
