"""The protocols behind published numbers, as runs; `experiments.published` has their sources and follows them.

Imported after JAX's environment is set, as run configurations import JAX.
"""

import dataclasses
from typing import Any, NamedTuple

import jax

from jaxvae.config import RunConfig
from jaxvae.models import MLP, VAE, MLPDecoder, Params
from jaxvae.objectives import IWAE
from jaxvae.optimisers import Adam, Stages
from jaxvae.parts import part, require_number, static

BATCH = 20


@part("optimiser/adam-from-one")
class AdamFromOne(Adam):
    """Adam whose second moment does not start from zero, as Burda et al.'s released code has it."""

    second_moment: float = static(default=1.0, title="second moment at the start")

    def check(self) -> None:
        super().check()
        require_number(self, "second_moment")

    def init(self, params: Params) -> Any:
        state = super().init(params)
        return state._replace(nu=jax.tree.map(lambda leaf: leaf + self.second_moment, state.nu))


STAGES = RunConfig(
    VAE(50, MLP((200, 200), "tanh"), MLPDecoder((200, 200), "tanh", output_bias="data")),
    IWAE(1),
    AdamFromOne(Stages(1e-3), b1=0.99, epsilon=1e-4 / BATCH, second_moment=1 / BATCH**2),
    BATCH,
    "dynamic",
    epochs=3280,
)
SMALL = RunConfig(VAE(20, MLP((500,))), batch_size=128, binarize="static", epochs=10)


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
    return dataclasses.replace(STAGES, objective=IWAE(k))


PROTOCOLS = {
    "vae": Protocol("VAE, Burda et al. 2016", _weighted(1), 59_600, "L_K", 86.76, 19, 87.78),
    "iwae-5": Protocol("IWAE K = 5, Burda et al. 2016", _weighted(5), 59_600, "L_K", 85.54, 22, 85.46),
    "iwae-50": Protocol("IWAE K = 50, Burda et al. 2016", _weighted(50), 59_600, "L_K", 84.78, 25, 84.59),
    "small": Protocol("784–500–20, Flax's example", SMALL, 50_000, "ELBO", 104.0, None, None),
}
