"""The importance-weighted bound, with its plain gradient and with the doubly reparameterised one."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxvae.errors import MAX_WIDTH
from jaxvae.models import VAE, Params
from jaxvae.objectives.base import Context, Losses
from jaxvae.parts import part, require_whole, static
from jaxvae.values import Whole


class _ImportanceWeighted:
    """What both gradients have in common."""

    importance_samples: int

    coupled: ClassVar[bool] = False

    @property
    def codes(self) -> int:
        return self.importance_samples

    def check(self) -> None:
        require_whole(self, "importance_samples", 1, MAX_WIDTH)


@part("objective/iwae")
class IWAE(_ImportanceWeighted):
    """−L_K of each example, K = `importance_samples` (Burda, Grosse & Salakhutdinov 2016, equation 8), reparameterised.

    Reconstruction and KL are those of the ELBO, the first as a mean over the K codes; the loss is at most their sum in
    expectation.
    """

    importance_samples: Whole = static(name="", symbol="K", title="importance samples")

    def __call__(
        self, vae: VAE, params: Params, x: Float[Array, "b ..."], noise: Float[Array, "k b z"], context: Context
    ) -> Losses:
        q = vae.encode(params, x)
        z, log_ratio = vae.sample_codes(params, q, noise)
        log_likelihood = vae.log_likelihood(params, z, x)
        bound = log_mean_exp(log_likelihood + log_ratio)
        return Losses(-log_likelihood.mean(0), vae.kl(params, q, noise), -bound)


@part("objective/iwae-dreg")
class DReG(_ImportanceWeighted):
    """`IWAE` with the doubly reparameterised gradient for the encoder (Tucker et al. 2019, equation 8).

    With w̃ the normalised weights: the decoder's gradient is Σ w̃ ∂log w, as before; the encoder's comes through the
    codes alone, Σ w̃² (∂log w/∂z) ∂z, the dependence of log q on its own parameters being left out.
    """

    importance_samples: Whole = static(name="", symbol="K", title="importance samples")

    def __call__(
        self, vae: VAE, params: Params, x: Float[Array, "b ..."], noise: Float[Array, "k b z"], context: Context
    ) -> Losses:
        q = vae.encode(params, x)
        z = vae.sample_codes(params, q, noise)[0]
        fixed = lax.stop_gradient(q)

        def log_w(params, z):
            log_likelihood = vae.log_likelihood(params, z, x)
            return log_likelihood + vae.log_ratio(params, fixed, z), log_likelihood

        weights, pull, log_likelihood = jax.vjp(log_w, *lax.stop_gradient((params, z)), has_aux=True)
        normalised = jax.nn.softmax(weights, axis=0)
        to_params, to_z = pull(normalised)
        # zero in value, and with the two gradients: what stands at its place is linear in `params` and in `z`
        surrogate = (normalised[..., None] * to_z * (z - lax.stop_gradient(z))).sum((0, 2))
        leaves = jax.tree.map(lambda g, p: (g * (p - lax.stop_gradient(p))).sum(), to_params, params)
        surrogate += sum(jax.tree.leaves(leaves)) / len(x)
        return Losses(-log_likelihood.mean(0), vae.kl(params, q, noise), -log_mean_exp(weights) - surrogate)


def log_mean_exp(x: Float[Array, "s b"]) -> Float[Array, "b"]:
    """log of the mean of exp(x) over the first axis."""
    return jax.nn.logsumexp(x, axis=0) - jnp.log(len(x))
