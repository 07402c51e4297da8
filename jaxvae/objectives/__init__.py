"""What training minimises."""

from jaxvae.objectives.base import Losses, objective
from jaxvae.objectives.importance import Bounds, importance_weighted_bounds, log_mean_exp, log_weights

__all__ = [
    "Bounds",
    "Losses",
    "importance_weighted_bounds",
    "log_mean_exp",
    "log_weights",
    "objective",
]
