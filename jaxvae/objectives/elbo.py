"""The evidence lower bound, and its KL term weighted by β."""

from typing import Any, ClassVar

from jaxtyping import Array, Float

from jaxvae.models import VAE, Params
from jaxvae.objectives.base import Context, Losses
from jaxvae.parts import Number, part, traced


@part("objective/elbo")
class ELBO:
    """−ELBO of each example from one code (Kingma & Welling 2014, equation 10): reconstruction + β · KL.

    β = 1 is the bound itself; other weights of the KL are Higgins et al. 2017. While a schedule changes β, an epoch's
    loss has the β of that epoch; −ELBO in tables is reconstruction + KL throughout.
    """

    beta: Number = traced(default=1.0, name="beta", symbol="β", title="β")

    codes: ClassVar[int] = 1
    masks_codes: ClassVar[bool] = True
    coupled: ClassVar[bool] = False

    def __call__(
        self, vae: VAE, params: Params, x: Float[Array, "b ..."], noise: Float[Array, "1 b z"], context: Context
    ) -> Losses:
        q, reconstruction = one_code(vae, params, x, noise)
        kl = vae.kl(params, q, noise)
        return Losses(reconstruction, kl, reconstruction + self.beta * kl)


def one_code(
    vae: VAE, params: Params, x: Float[Array, "b ..."], noise: Float[Array, "1 b z"]
) -> tuple[Any, Float[Array, "b"]]:
    """q(z|x), and −log p(x|z) of a code drawn from it, for objectives that mask codes and whose divergence is in closed
    form: that has no gradient in latent dimensions not in use."""
    q = vae.encode(params, x, masked=False)
    own, z = vae.own_params(params, "likelihood"), vae.sample(q, noise[0])
    return q, -vae.likelihood.log_prob(own, vae.decode(params, z), x)
