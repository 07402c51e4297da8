"""Annealed importance sampling with Hamiltonian transitions: the normaliser of a density, from below and from above.

In: two log-densities over codes, the first normalised and easy to draw from. Out: log-weights of chains, in nats.

Chains that start at draws of the first density give an unbiased estimate of the other's normaliser, so that the mean of
its logarithm is a lower bound (Neal 2001; for decoders Wu et al. 2017). Chains that run the other way, from an exact
draw of the other density, give an upper one: bidirectional Monte Carlo (Grosse, Ghahramani & Adams 2015).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

Codes = Float[Array, "c z"]  # one for each chain
Values = Float[Array, "c"]
LogDensity = Callable[[Codes], Values]

ACCEPTED = 0.65  # share of proposals that step sizes are tuned for (Neal 2011, section 5.4.4.3)


class Path(NamedTuple):
    """Densities between two, log f_β = (1 − β) log f_0 + β log f_1, and how chains move along them."""

    initial: LogDensity  # log f_0, normalised
    target: LogDensity  # log f_1, whose normaliser is sought
    leapfrog: int = 10  # steps of a proposal

    def log_ratio(self, z: Codes) -> Values:
        return self.target(z) - self.initial(z)

    def at(self, beta: Float[Array, ""], z: Codes) -> Values:
        return (1 - beta) * self.initial(z) + beta * self.target(z)


def schedule(steps: int) -> Float[Array, "t"]:
    """β from 0 to 1 in `steps` steps that are small at both ends (Grosse, Ghahramani & Adams 2015, section 5)."""
    s = jax.nn.sigmoid(jnp.linspace(-4.0, 4.0, steps + 1))
    return (s - s[0]) / (s[-1] - s[0])


def transition(
    path: Path, key: Key[Array, ""], beta: Float[Array, ""], z: Codes, step_size: Float[Array, ""]
) -> tuple[Codes, Values]:
    """One Hamiltonian Monte Carlo transition that leaves f_β invariant, and the probability of its acceptance.

    Neal 2011, section 5.3.
    """
    key_momentum, key_accept = jax.random.split(key)
    slope = jax.grad(lambda z: path.at(beta, z).sum())
    momentum = start = jax.random.normal(key_momentum, z.shape, z.dtype)

    def leap(state, _):
        z, momentum, gradient = state
        half = momentum + 0.5 * step_size * gradient
        z = z + step_size * half
        gradient = slope(z)
        return (z, half + 0.5 * step_size * gradient, gradient), None

    (proposed, momentum, _), _ = lax.scan(leap, (z, momentum, slope(z)), length=path.leapfrog)
    gained = path.at(beta, proposed) - path.at(beta, z) - 0.5 * (jnp.square(momentum) - jnp.square(start)).sum(-1)
    probability = jnp.exp(jnp.minimum(jnp.where(jnp.isnan(gained), -jnp.inf, gained), 0))
    accepted = jax.random.uniform(key_accept, probability.shape, z.dtype) < probability
    return jnp.where(accepted[..., None], proposed, z), probability


def tune(path: Path, key: Key[Array, ""], z: Codes, betas: Float[Array, "t"]) -> Float[Array, "t-1"]:
    """Step sizes for each β but the first, from chains that change theirs as they go.

    They are to be used by other chains: a size that depends on its own chain's past would bias the estimate.
    """

    def body(carry, step):
        z, log_size = carry
        count, beta = step
        z, probability = transition(path, jax.random.fold_in(key, count), beta, z, jnp.exp(log_size))
        return (z, log_size + 0.2 * (probability.mean() - ACCEPTED)), log_size

    start = jnp.log(jnp.asarray(0.2, z.dtype))
    _, sizes = lax.scan(body, (z, start), (jnp.arange(len(betas) - 1), betas[1:]))
    return jnp.exp(sizes)


class Chains(NamedTuple):
    """Chains that have gone the whole way."""

    z: Codes  # where they ended
    log_weight: Values  # nats
    acceptance: Float[Array, ""]  # mean over transitions and chains


def forward(path: Path, key: Key[Array, ""], z: Codes, betas: Float[Array, "t"], sizes: Float[Array, "t-1"]) -> Chains:
    """From draws `z` of f_0 to f_1. The mean of exp(log_weight) is f_1's normaliser in expectation (Neal 2001)."""
    return _run(path, key, z, betas, sizes, back=False)


def backward(path: Path, key: Key[Array, ""], z: Codes, betas: Float[Array, "t"], sizes: Float[Array, "t-1"]) -> Chains:
    """From exact draws `z` of f_1 back to f_0; the mean of exp(−log_weight) is 1/normaliser in expectation."""
    return _run(path, key, z, betas, sizes, back=True)


def _run(path: Path, key, z, betas, sizes, back: bool) -> Chains:
    """Codes are weighed before they move on to the next density, or after they moved back from it."""

    def body(carry, step):
        z, log_weight, acceptance = carry
        count, before, beta, size = step
        moved, probability = transition(path, jax.random.fold_in(key, count), beta, z, size)
        log_weight += (beta - before) * path.log_ratio(moved if back else z)
        return (moved, log_weight, acceptance + probability.mean()), None

    steps = len(betas) - 1
    nothing = jnp.zeros(len(z), z.dtype), jnp.zeros((), z.dtype)
    along = jnp.arange(steps), betas[:-1], betas[1:], sizes
    (z, log_weight, acceptance), _ = lax.scan(body, (z, *nothing), along, reverse=back)
    return Chains(z, log_weight, acceptance / steps)


def lower(chains: Chains) -> Float[Array, ""]:
    """A stochastic lower bound on the log-normaliser, from forward chains."""
    return jax.nn.logsumexp(chains.log_weight) - jnp.log(len(chains.log_weight))


def upper(chains: Chains) -> Float[Array, ""]:
    """A stochastic upper bound on the log-normaliser, from backward chains."""
    return jnp.log(len(chains.log_weight)) - jax.nn.logsumexp(-chains.log_weight)
