"""What a traced field is from epoch to epoch or from step to step: parts that stand in its place."""

from jaxvae.schedules.base import (
    EachStep,
    Schedule,
    after_last_step,
    at_epoch,
    at_step,
    has_schedule,
    require_share,
)  # fmt: skip
from jaxvae.schedules.curves import Cosine, Cyclical, Exponential, Linear
from jaxvae.schedules.stages import Stages

__all__ = [
    "Cosine", "Cyclical", "EachStep", "Exponential", "Linear", "Schedule", "Stages", "after_last_step", "at_epoch",
    "at_step", "has_schedule", "require_share",
]  # fmt: skip
