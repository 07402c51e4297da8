"""What is wrong with a model, said before it is trained.

In: a VAE. Out: nothing, or an error of one line.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvae.errors import MAX_WIDTH, ConfigError, quoted, reason
from jaxvae.parts import require_kind, require_one_of, require_whole

PRECISIONS = ("float32", "bfloat16", "auto:float32", "auto:bfloat16")


def check(vae: Any) -> None:
    """Raises ConfigError where parts of the model are of another kind than it takes, or do not go together."""
    require_whole(vae, "latent_dim", 1, MAX_WIDTH)
    require_one_of(vae, "precision", PRECISIONS)
    for name in ("posterior", "prior", "likelihood"):
        require_kind(vae, name, name)
    if vae.condition is not None:
        require_kind(vae, "condition", "condition")
    elif vae.prior_takes_condition:
        raise ConfigError(f"vae: the prior {vae.prior.part_label} needs a condition, such as Labels(10)")
    for name in ("encoder", "decoder"):
        network = getattr(vae, name)
        if not isinstance(network, nn.Module) and not (network is None and name == "decoder"):
            raise ConfigError(f"vae: {name} must be a Linen module, not {quoted(network)}")
        if network is not None and not hasattr(type(network), "part_label"):
            own = type(network).__name__
            raise ConfigError(f"vae: {name} must be a part; write @part('network/{own.lower()}') above class {own}")
    if vae.decoder is None and not hasattr(vae.encoder, "mirrored"):
        raise ConfigError(f"vae: the encoder {type(vae.encoder).__name__} has no mirror image; give a decoder")


def check_networks(vae: Any) -> None:
    """Builds the networks for the shape of the examples, without computing anything.

    Raises:
        ConfigError: they cannot be built, or do not put out what is asked of them; says which.
    """
    try:
        params = jax.eval_shape(vae.init, jax.random.key(0))
        z = jax.ShapeDtypeStruct((1, vae.latent_dim), jnp.float32)
        out = jax.eval_shape(lambda params, z: vae.given_zeros().decode(params, z), params, z)
    except ConfigError:
        raise
    except Exception as error:  # whatever Linen and JAX say of layers that do not fit
        raise ConfigError(
            f"networks for examples of shape {list(vae.shape)} cannot be built ({reason(error)})"
        ) from error
    decoder = vae.networks[1]
    if getattr(decoder, "starts_from_data", False) and not hasattr(vae.likelihood, "starting_output"):
        name, likelihood = type(decoder).__name__, vae.likelihood.part_label
        raise ConfigError(f"{name} cannot begin at the mean of the data: {likelihood} has no starting_output")
    wanted = (1, *vae.likelihood.outputs(vae.shape))
    if out.shape != wanted:
        name = type(decoder).__name__
        raise ConfigError(f"the decoder {name} puts out {list(out.shape)}; {list(wanted)} is asked of it")
