"""The classic experiment's models, by the names that commands take.

In: an architecture, a latent size, a precision. Out: whether there is such a model, without JAX; and its run, for which
JAX is imported only then, as a benchmark may have to set what JAX reads from the environment first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from jaxvae.errors import MAX_WIDTH, InputError, is_whole, quoted

if TYPE_CHECKING:
    from jaxvae.config import RunConfig

ARCHITECTURES = ("linear", "conv")
PRECISIONS = ("float32", "bfloat16")
SHAPE = (28, 28)  # of an image


def check(architectures: Iterable[str], latent_dims: Iterable[int] = (), precision: str = "float32") -> None:
    """Raises InputError if there is no such model."""
    for option, values, allowed in (
        ("--architectures", architectures, ARCHITECTURES),
        ("--precision", [precision], PRECISIONS),
    ):
        if wrong := [value for value in values if value not in allowed]:
            raise InputError(f"{option} must be one of {', '.join(allowed)}, not {quoted(wrong[0])}")
    if small_or_large := [d for d in latent_dims if not is_whole(d, 1, MAX_WIDTH)]:
        raise InputError(f"latent sizes must be at least 1 and below {MAX_WIDTH}, not {small_or_large[0]}")


def classic_run(architecture: str, latent_dim: int, precision: str = "float32", batch: int = 100) -> RunConfig:
    """A run of the classic experiment, with its defaults."""
    from jaxvae.config import RunConfig
    from jaxvae.models import MLP, VAE, Conv

    encoder = {"linear": MLP, "conv": Conv}[architecture]()
    return RunConfig(VAE(latent_dim, encoder, precision=precision), batch_size=batch)
