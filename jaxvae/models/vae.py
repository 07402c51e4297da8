"""The variational auto-encoder: networks, posterior, prior and likelihood put together; no sampling of its own.

In: examples in [0, 1] or codes, and parameters. Out: what the posterior and the likelihood make of them.

The heads on the encoder and the layer from codes to the decoder's features belong to the VAE. So a model with few
latent dimensions can be padded to one with many, whatever its networks and distributions are: `resize` adds zeros, and
numbers beyond the dimensions in use are held at zero by `encode` and `own_params`.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from jaxvae.errors import ConfigError
from jaxvae.models import checks, conditions, modules
from jaxvae.models.base import Normal, Params, Shape
from jaxvae.models.likelihoods import Bernoulli
from jaxvae.models.posteriors import DiagonalNormal
from jaxvae.models.priors import StandardNormal
from jaxvae.parts import bound, nested, part, static
from jaxvae.values import Whole

PARTS = ("prior", "posterior", "likelihood")  # that may have parameters of their own
AUTOMATIC = "auto:"  # before a precision that a machine chose by itself: it is not part of a run's name


@part("vae")
class VAE:
    """A model, as a configuration has it (Kingma & Welling 2014).

    `VAE(2, MLP())` is what the classic experiment calls linear-2. `bind` tells it the shape of the examples. With a
    condition (Sohn, Lee & Yan 2015) it computes nothing without `given`, which tells it that of each example.
    """

    latent_dim: Whole
    encoder: Any  # see `base.Network`
    decoder: Any = static(default=None, title="decoder")  # None: the encoder's mirror image
    posterior: Any = nested(default=DiagonalNormal())
    prior: Any = nested(default=StandardNormal())
    likelihood: Any = nested(default=Bernoulli())
    precision: str = static(default="float32", name="", title="precision")  # dtype of the operands of matrix products
    condition: Any = nested(default=None)  # see `base.Condition`; None: p(x) of examples by themselves
    shape: Shape = bound(default=())  # of an example
    used: Any = bound(default=None, data=True)  # latent dimensions in use, of a padded model
    given_condition: Any = bound(default=None, data=True)  # of each example of a batch, [b, size]

    def check(self) -> None:
        """See `jaxvae.parts.check`."""
        checks.check(self)

    def bind(self, shape: Shape) -> "VAE":
        """The model for examples of this shape."""
        return dataclasses.replace(self, shape=tuple(shape))

    def given(self, stored: Any) -> "VAE":
        """The model given the conditions of a batch, as they are stored; itself, if these are None."""
        if stored is None:
            return self
        numbers = self.condition.to_float(jax.tree.map(jnp.asarray, stored))
        return dataclasses.replace(self, given_condition=numbers)

    def given_zeros(self) -> "VAE":
        """The model given a condition of zeros for one example, where only shapes matter."""
        if self.condition is None:
            return self
        return dataclasses.replace(self, given_condition=jnp.zeros((1, self.condition.size)))

    @property
    def _condition(self) -> Float[Array, "b size"]:
        if self.given_condition is None:
            raise ConfigError("the model has a condition; give it those of the examples: vae.given(conditions)")
        return self.given_condition

    @property
    def prior_takes_condition(self) -> bool:
        return getattr(self.prior, "takes_condition", False)

    def in_float32(self) -> "VAE":
        """The model as it is evaluated, whatever precision it was trained in."""
        return dataclasses.replace(self, precision="float32")

    @property
    def operands(self) -> str:
        """Dtype of the operands of matrix products: float32 or bfloat16; sums are float32."""
        return self.precision.removeprefix(AUTOMATIC)

    @property
    def networks(self) -> tuple[Any, Any]:
        """Encoder and decoder with what data and VAE fill in.

        Raises:
            ConfigError: it is not known what examples are like.
        """
        if not self.shape:
            raise ConfigError("the model does not know the shape of an example; bind it: vae.bind(shape)")
        decoder = self.encoder.mirrored() if self.decoder is None else self.decoder
        outputs = self.likelihood.outputs(self.shape)
        encoder, decoder = (modules.filled(network, precision=self.operands) for network in (self.encoder, decoder))
        return encoder, modules.filled(decoder, outputs=outputs)

    def check_networks(self) -> None:
        """Raises ConfigError unless the networks can be built for the shape of the examples; computes nothing."""
        checks.check_networks(self)

    # ── parameters ───────────────────────────────────────────────────────────────────────────────────────────────────

    def init(self, key: Key[Array, ""]) -> Params:
        """Fresh parameters, float32: of both networks with their heads, and of each part that has some."""
        x, z = jnp.zeros((1, *self.shape)), jnp.zeros((1, self.latent_dim))
        own = conditions.init(jax.random.fold_in(key, len(PARTS)), self.condition, self.shape, self.operands)
        if self.condition is not None:
            c = jnp.zeros((1, self.condition.size))
            x, z = conditions.beside(own, x, c), conditions.before(c, z)
        params: Params = self._module().init(key, x, z)["params"]
        for count, name in enumerate(PARTS):
            if of_part := self._init_part(name, jax.random.fold_in(key, count), self.latent_dim):
                params = params | {name: of_part}
        return params | {"condition": own} if own else params

    def _init_part(self, name: str, key: Key[Array, ""], latent_dim: int) -> Params:
        init = getattr(getattr(self, name), "init", None)
        if name == "prior" and self.prior_takes_condition:
            return self.prior.init(key, latent_dim, self.condition.size)
        return init(key, self.shape if name == "likelihood" else latent_dim) if init else {}

    @property
    def starts_from_data(self) -> bool:
        """Whether `with_data` changes anything."""
        return any(getattr(part, "starts_from_data", False) for part in (self.networks[1], self.likelihood))

    def with_data(self, params: Params, x: Float[Array, "n ..."]) -> Params:
        """Parameters that begin at what follows of the training examples, where decoder or likelihood ask for that."""
        decoder, own = self.networks[1], params.get("likelihood", {})
        if getattr(self.likelihood, "starts_from_data", False):
            own = jax.jit(self.likelihood.starting_params)(own, x)  # no copy of all examples
            params = params | {"likelihood": own}
        if getattr(decoder, "starts_from_data", False):
            out = self.likelihood.starting_output(own, x)
            params = params | {"decoder": decoder.with_output(params["decoder"], out)}
        return params

    def own_params(self, params: Params, name: str) -> Params:
        """Those of the prior, the posterior or the likelihood; of latent dimensions that are not in use, zeros."""
        own = params.get(name, {})
        if self.used is None or not own:
            return own
        init, key = partial(self._init_part, name), jax.random.key(0)
        sizes = (jax.eval_shape(lambda d=d: init(key, d)) for d in (self.latent_dim, self.latent_dim + 1))
        return jax.tree.map(self._masked, own, *sizes)

    def _masked(self, leaf: Array, here: Any, larger: Any) -> Array:
        """Zeros beyond the dimensions in use, along each axis that grows with the latent size."""
        for axis, (size, grown) in enumerate(zip(here.shape, larger.shape, strict=True)):
            if size != grown:
                leaf = jnp.where(_along(self._is_used(size), axis, leaf.ndim), leaf, 0)
        return leaf

    @property
    def in_use(self) -> Bool[Array, "z"]:
        """Which latent dimensions the model uses: all, unless it is padded."""
        return self._is_used(self.latent_dim)

    def _is_used(self, size: int) -> Bool[Array, "..."]:
        return jnp.arange(size) < (size if self.used is None else self.used)

    # ── what it computes ─────────────────────────────────────────────────────────────────────────────────────────────

    def encode(self, params: Params, x: Float[Array, "b ..."], masked: bool = True) -> Any:
        """q(z|x): what the posterior's heads put out, zeros in latent dimensions that are not in use.

        Args:
            masked: whether these are held at zero. They begin there, and stay if the loss has no gradient in them.
        """
        if encoder_input := getattr(self.likelihood, "encoder_input", None):
            x = encoder_input(x)
        if self.condition is not None:
            x = conditions.beside(params.get("condition", {}), x, self._condition)
        q = modules.encode(self._module(), _of_networks(params), x)
        return self._mask_posterior(q) if masked else q

    def _mask_posterior(self, q: Any) -> Any:
        if self.used is None:
            return q

        def masked(head, axes):
            for axis in range(-axes, 0):
                head = jnp.where(_along(self.in_use, axis, head.ndim), head, 0)
            return head

        return type(q)(*map(masked, q, self.posterior.heads))

    def decode(self, params: Params, z: Float[Array, "b z"]) -> Float[Array, "b ..."]:
        """What the likelihood is given for codes, such as logits."""
        z = z if self.condition is None else conditions.before(self._condition, z)
        return modules.decode(self._module(), _of_networks(params), z)

    def mean(self, params: Params, z: Float[Array, "b z"]) -> Float[Array, "b ..."]:
        """E[x|z]."""
        return self.likelihood.mean(self.own_params(params, "likelihood"), self.decode(params, z))

    def log_likelihood(self, params: Params, z: Float[Array, "k b z"], x: Float[Array, "b ..."]) -> Float[Array, "k b"]:
        """log p(x|z) of every code of every example."""
        out = self.decode(params, z.reshape(-1, z.shape[-1]))
        out = out.reshape(*z.shape[:2], *out.shape[1:])
        own = self.own_params(params, "likelihood")
        return jax.vmap(lambda one: self.likelihood.log_prob(own, one, x))(out)

    def log_prior(self, params: Params, z: Float[Array, "*s z"]) -> Float[Array, "*s"]:
        condition = (self._condition,) if self.prior_takes_condition else ()
        return self.prior.log_prob(self.own_params(params, "prior"), z, *condition)

    def sample_prior(self, params: Params, key: Key[Array, ""], n: int) -> Float[Array, "n z"]:
        condition = (self._condition,) if self.prior_takes_condition else ()
        return self.prior.sample(self.own_params(params, "prior"), key, n, self.latent_dim, *condition)

    def sample(self, q: Any, noise: Float[Array, "b z"]) -> Float[Array, "b z"]:
        """A code of each example drawn from q(z|x), zeros in latent dimensions that are not in use."""
        one = getattr(self.posterior, "sample", None)
        z = one(q, noise) if one else self.posterior.sample_and_log_prob(q, noise[None])[0][0]
        return self.mask_codes(z)

    def mask_codes(self, noise: Float[Array, "*s z"]) -> Float[Array, "*s z"]:
        """Noise or codes with zeros in latent dimensions that are not in use."""
        return noise if self.used is None else jnp.where(self.in_use, noise, 0)

    def sample_codes(self, params: Params, q: Any, noise: Float[Array, "k b z"]) -> tuple[Array, Array]:
        """Codes [k, b, z] drawn from q(z|x), and log p(z) − log q(z|x) of each, [k, b]."""
        z, log_q = self.posterior.sample_and_log_prob(q, noise)
        exact = self._log_ratio(params, q, z, noise)
        return z, self.log_prior(params, z) - log_q if exact is None else exact

    def log_ratio(self, params: Params, q: Any, z: Float[Array, "k b z"]) -> Float[Array, "k b"]:
        """log p(z) − log q(z|x) of given codes."""
        noise = getattr(self.posterior, "noise", None)
        exact = self._log_ratio(params, q, z, noise(q, z)) if noise else None
        return self.log_prior(params, z) - self.posterior.log_prob(q, z) if exact is None else exact

    def _log_ratio(self, params: Params, q: Any, z: Array, noise: Array) -> Array | None:
        """What the posterior knows of the two together; None if it knows nothing."""
        ratio = getattr(self.posterior, "log_ratio", None)
        return ratio(q, z, noise, self._prior(params)) if ratio else None

    def _prior(self, params: Params) -> Any:
        """What the posterior is asked about: the prior, or what it is given the condition, if these are normals."""
        return self.normal_prior(params) or self.prior

    def normal_prior(self, params: Params) -> Normal | None:
        """The independent normals that the prior is given the condition; None of a prior that is something else."""
        normal = getattr(self.prior, "normal", None) if self.prior_takes_condition else None
        return normal(self.own_params(params, "prior"), self._condition) if normal else None

    def kl(self, params: Params, q: Any, noise: Float[Array, "k b z"]) -> Float[Array, "b"]:
        """KL(q(z|x) ‖ p(z)): in closed form where there is one, else the mean over the codes made of the noise.

        A closed form has no gradient in latent dimensions that are not in use, where both are standard normal.
        """
        exact = self.posterior.kl(q, self._prior(params))
        if exact is not None:
            return exact
        return -self.sample_codes(params, self._mask_posterior(q), self.mask_codes(noise))[1].mean(0)

    def kl_by_dimension(self, params: Params, q: Any) -> Float[Array, "b z"]:
        """The same of each latent dimension; there is a closed form if `has_closed_kl_by_dimension`."""
        return self.posterior.kl_by_dimension(q, self._prior(params))

    @property
    def has_closed_kl_by_dimension(self) -> bool:
        return hasattr(self.posterior, "kl_by_dimension") and self.has_closed_kl

    @property
    def has_closed_kl(self) -> bool:
        q = type(self.posterior.heads)(*(jnp.zeros((1,) + (1,) * axes) for axes in self.posterior.heads))
        normals = self.prior_takes_condition and hasattr(self.prior, "normal")
        prior = Normal(jnp.zeros((1, 1)), jnp.zeros((1, 1))) if normals else self.prior
        return self.posterior.kl(q, prior) is not None

    def _module(self) -> modules.Networks:
        encoder, decoder = self.networks
        return modules.Networks(encoder, decoder, self.posterior.heads, self.latent_dim, self.operands)


def _along(mask: Array, axis: int, ndim: int) -> Array:
    return jnp.expand_dims(mask, [other for other in range(ndim) if other != axis % ndim])


def _of_networks(params: Params) -> Params:
    return {name: params[name] for name in ("encoder", "decoder") if name in params}
