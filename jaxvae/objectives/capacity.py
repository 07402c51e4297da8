"""A divergence that is held at a given capacity.

In: a model, examples, noise. Out: losses, in which `kl` is the divergence itself; what is paid is in `loss` alone.
"""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvae.models import VAE, Params
from jaxvae.objectives.base import Context, Losses
from jaxvae.objectives.elbo import one_code
from jaxvae.parts import Number, part, traced


@part("objective/capacity")
class Capacity:
    """Reconstruction + γ · |KL − C| of each example (Burgess et al. 2018, section 5), C in nats; as published, C rises
    from 0 to 25 over 100,000 steps: `Capacity(Linear(0, 25, 100_000, by="step"))`.

    Some implementations take the batch's mean divergence; the paper's equation has each example's.
    """

    capacity: Number = traced(default=25.0, name="", symbol="C", title="C")
    gamma: Number = traced(default=1000.0, name="gamma", symbol="γ", title="γ")

    codes: ClassVar[int] = 1
    masks_codes: ClassVar[bool] = True
    coupled: ClassVar[bool] = False

    def __call__(
        self, vae: VAE, params: Params, x: Float[Array, "b ..."], noise: Float[Array, "1 b z"], context: Context
    ) -> Losses:
        q, reconstruction = one_code(vae, params, x, noise)
        kl = vae.kl(params, q, noise)
        return Losses(reconstruction, kl, reconstruction + self.gamma * jnp.abs(kl - self.capacity))
