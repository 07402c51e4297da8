"""What training minimises."""

from jaxvae.objectives.base import Context, Losses, Objective, check_classes, reads_classes
from jaxvae.objectives.elbo import ELBO
from jaxvae.objectives.importance_weighted import IWAE, DReG, log_mean_exp
from jaxvae.objectives.semi_supervised import M2

__all__ = [
    "ELBO", "IWAE", "M2", "Context", "DReG", "Losses", "Objective", "check_classes", "log_mean_exp", "reads_classes",
]  # fmt: skip
