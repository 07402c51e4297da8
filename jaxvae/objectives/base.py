"""What an objective must offer, and what it gives back.

A class with these members, decorated with `jaxvae.parts.part`, is used like the built-in ones. An objective is
given the noise for its codes and computes the loss of each example; it never hears of devices, epochs or batches to be
filled up.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

from jaxtyping import Array, Float

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


class Objective(Protocol):
    """What training minimises.

    Optional: `masks_codes`, True where the noise need not be zero in latent dimensions that are not in use, as
    `VAE.sample` draws the codes; `check_vae(vae)`, which raises ConfigError for a model that lacks what is needed.
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
