"""What an objective must offer, and what it gives back.

A class with these members, decorated with `jaxvae.parts.part`, is used like the built-in ones. An objective is
given the noise for its codes and computes the loss of each example; it never hears of devices, epochs or batches to be
filled up.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

from jaxtyping import Array, Float

from jaxvae.errors import ConfigError
from jaxvae.models import VAE, Params


class Losses(NamedTuple):
    """Nats, summed over an example's numbers and latent dimensions; `loss` is what an objective minimises."""

    reconstruction: Float[Array, "..."]
    kl: Float[Array, "..."]
    loss: Float[Array, "..."]
    terms: Mapping[str, Any] = {}  # what else is worth a column: stored, averaged and shown like the others


class Context(NamedTuple):
    """What an objective may want to know of its batch."""

    examples: int  # of the split that the batch is from
    labelled: Any = None  # of these, how many have a class that is known; None: all, or the model reads no classes


class Objective(Protocol):
    """What training minimises.

    Optional: `masks_codes`, True where the noise need not be zero in latent dimensions that are not in use, as
    `VAE.sample` draws the codes; `check_vae(vae)`, which raises ConfigError for a model that lacks what is needed;
    `reads_classes`, True where it trains the network of the condition `Labels`, and takes examples whose class is not
    known: `vae.given_condition` is all zeros there.
    """

    codes: int  # drawn from q(z|x) for each example
    coupled: ClassVar[bool]  # whether an example's loss depends on its batch: then no batch is filled up or cut

    def __call__(
        self, vae: VAE, params: Params, x: Float[Array, "b ..."], noise: Float[Array, "k b z"], context: Context
    ) -> Losses:
        """The losses of each example, [b].

        Args:
            noise: draws of N(0, I), one for each of the `codes`; zeros in latent dimensions that are not in use.
        """
        ...


def reads_classes(objective: Any) -> bool:
    """Whether it trains q(y|x), and takes examples whose class is not known."""
    return getattr(objective, "reads_classes", False)


def check_classes(objective: Any, vae: VAE) -> None:
    """Raises ConfigError unless the model has a network that reads classes just where the objective trains it."""
    reads, has = reads_classes(objective), getattr(vae.condition, "network", None) is not None
    if reads and not has:
        raise ConfigError(f"{objective.part_name} needs a model that reads classes: condition=Labels(10, MLP((500,)))")
    if has and not reads:
        name = objective.part_name
        raise ConfigError(f"vae: {name} does not train the network of the condition; leave it out, or use objective/m2")
