"""Floors under the divergence, below which it costs nothing, so that codes are not given up early in training.

In: a model, examples, noise. Out: losses, in which `kl` is the divergence itself; the floor is in `loss` alone.
"""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvae.errors import ConfigError
from jaxvae.models import VAE, Params
from jaxvae.objectives.base import Context, Losses
from jaxvae.objectives.elbo import one_code
from jaxvae.parts import Number, part, traced


@part("objective/free-bits")
class FreeBits:
    """Reconstruction + Σ_j max(λ, KL_j), KL_j the batch's mean divergence of latent dimension j (Kingma et al. 2016,
    appendix C.8, each dimension a group of its own); λ = `floor`, in nats.

    As in the paper the maximum is of the batch's mean, so that examples may differ in what they use; an example's loss
    depends on its batch. Needs a divergence of each dimension in closed form. Latent dimensions that a padded model
    does not use have no floor.
    """

    floor: Number = traced(default=0.1, name="", symbol="λ", title="λ")

    codes: ClassVar[int] = 1
    masks_codes: ClassVar[bool] = True
    coupled: ClassVar[bool] = True

    def check_vae(self, vae: VAE) -> None:
        if not vae.has_closed_kl_by_dimension:
            posterior, prior = vae.posterior.part_label, vae.prior.part_label
            raise ConfigError(
                f"objective/free-bits needs the divergence of each latent dimension in closed form, which posterior "
                f"{posterior} and prior {prior} do not have; objective/rate-floor does without"
            )

    def __call__(
        self, vae: VAE, params: Params, x: Float[Array, "b ..."], noise: Float[Array, "1 b z"], context: Context
    ) -> Losses:
        q, reconstruction = one_code(vae, params, x, noise)
        by_dimension = vae.kl_by_dimension(params, q)
        floored = jnp.maximum(self.floor, by_dimension.mean(0))
        paid = jnp.where(vae.in_use, floored, 0).sum()
        return Losses(reconstruction, by_dimension.sum(-1), reconstruction + paid)


@part("objective/rate-floor")
class RateFloor:
    """Reconstruction + max(δ, KL) of each example, KL that of all latent dimensions together; δ = `floor`, in nats.

    A δ-VAE (Razavi et al. 2019) has KL ≥ δ by construction; here less than δ is possible and gains nothing.
    """

    floor: Number = traced(default=1.0, name="", symbol="δ", title="δ")

    codes: ClassVar[int] = 1
    masks_codes: ClassVar[bool] = True
    coupled: ClassVar[bool] = False

    def __call__(
        self, vae: VAE, params: Params, x: Float[Array, "b ..."], noise: Float[Array, "1 b z"], context: Context
    ) -> Losses:
        q, reconstruction = one_code(vae, params, x, noise)
        kl = vae.kl(params, q, noise)
        return Losses(reconstruction, kl, reconstruction + jnp.maximum(self.floor, kl))
