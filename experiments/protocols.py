"""The protocols behind published numbers, as runs; `experiments.published` has their sources and follows them.

Imported after JAX's environment is set, as run configurations import JAX.
"""

import dataclasses
from typing import NamedTuple

from jaxvae.config import ModelConfig, RunConfig, TrainConfig

BATCH = 20
STAGES = RunConfig(
    ModelConfig("linear", 50, hidden=(200, 200), activation="tanh"),
    TrainConfig(
        BATCH, "iwae", 1, "dynamic", adam_b1=0.99, adam_epsilon=1e-4 / BATCH, adam_second_moment=1 / BATCH**2,
        output_bias="data",
    ),
    epochs=3280,
    schedule="stages",
)  # fmt: skip
SMALL = RunConfig(ModelConfig("linear", 20, hidden=(500,)), TrainConfig(128, binarize="static"), epochs=10)


class Protocol(NamedTuple):
    """A published number and how it came about."""

    what: str
    run: RunConfig
    train_images: int
    metric: str  # of jaxvae.evaluation.METRICS; what is published is its negative
    value: float  # nats; none of these was published with an error
    active_units: int | None
    elsewhere: float | None  # an independent reimplementation's value


def _weighted(k: int) -> RunConfig:
    return dataclasses.replace(STAGES, train=dataclasses.replace(STAGES.train, importance_samples=k))


PROTOCOLS = {
    "vae": Protocol("VAE, Burda et al. 2016", _weighted(1), 59_600, "L_K", 86.76, 19, 87.78),
    "iwae-5": Protocol("IWAE K = 5, Burda et al. 2016", _weighted(5), 59_600, "L_K", 85.54, 22, 85.46),
    "iwae-50": Protocol("IWAE K = 50, Burda et al. 2016", _weighted(50), 59_600, "L_K", 84.78, 25, 84.59),
    "small": Protocol("784–500–20, Flax's example", SMALL, 50_000, "ELBO", 104.0, None, None),
}
