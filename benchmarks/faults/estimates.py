"""Codes and weights at the edges of float32, on which estimates must keep within their limits.

In: nothing. Out: a check for each kind of codes or weights, of several draws.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.faults.checks import Check
from jaxvae.evaluation import codes
from jaxvae.evaluation.importance import importance_weighted_bounds
from jaxvae.models import Normal
from jaxvae.models.posteriors import kl_to_standard_normal

WHAT = "estimates within their limits / tried"

N, D, DRAWS = 60, 3, 5
SLACK = 1e-6  # nats
Draw = Callable[[np.random.Generator], np.ndarray]


def checks(sweep: Path) -> list[Check]:
    return [*(Check(f"codes {what}", _of_codes(*draws)) for what, draws in CODES.items()),
            *(Check(f"weights {what}", _of_weights(draw)) for what, draw in WEIGHTS.items())]  # fmt: skip


def _normal(scale: float, at: float = 0.0) -> Draw:
    return lambda rng: rng.normal(at, scale, (N, D))


def _half(rng: np.random.Generator) -> np.ndarray:
    mean = rng.normal(0, 100, (N, D))
    mean[N // 2 :] = mean[: N // 2]
    return mean


def _one_dimension(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0, 1, (N, D)) * np.array([1e4, 1, 1e-9])


CODES: dict[str, tuple[Draw, Draw]] = {  # means, log-stds
    "of the prior itself": (_normal(0), _normal(0)),
    "all but of the prior": (_normal(1e-6), _normal(1e-6)),
    "of a trained model": (_normal(1), _normal(0.5, -2)),
    "far apart and narrow": (_normal(100), _normal(0.1, -15)),
    "far apart beyond float32's digits": (_normal(1e4), _normal(0.1, -30)),
    "far from the prior, side by side": (_normal(1e-3, 1e4), _normal(0.1, -12)),
    "wide": (_normal(1), _normal(1, 8)),
    "of very different widths": (_normal(3), _normal(6, -6)),
    "shared by two images each": (_half, _normal(0, -10)),
    "that collapsed to one": (_normal(0, 0.5), _normal(0, -20)),
    "of one dimension alone": (_one_dimension, _normal(0.1, -3)),
}
WEIGHTS: dict[str, Draw] = {
    "all equal": _normal(0, -500),
    "all but equal": _normal(1e-6, -500),
    "of a trained model": _normal(3, -100),
    "of which one is all": _normal(1e4),
    "far below what a float can hold": _normal(1, -1e6),
    "far above": _normal(1, 1e6),
    "of which a tenth count": lambda rng: np.where(rng.random((N, D)) < 0.1, 0.0, -1e4),
}


def _of_codes(draw_mean: Draw, draw_log_std: Draw) -> Callable[[Path], str | None]:
    def failure(folder: Path) -> str | None:
        for seed in range(DRAWS):
            rng = np.random.default_rng(seed)
            mean, log_std = (draw(rng).astype(np.float32) for draw in (draw_mean, draw_log_std))
            apart = codes.separation(mean, np.arange(N) % 2)
            in_training = np.asarray(kl_to_standard_normal(Normal(jnp.asarray(mean), jnp.asarray(log_std))))
            information = codes.information(mean, log_std, seed)
            values = {
                "mutual information": (information.mutual_information, None, np.log(N) + SLACK),
                "KL per dimension": (codes.kl_per_dimension(mean, log_std), 0, None),
                "KL per image": (codes.kl_per_image(mean, log_std), 0, None),
                "KL in training": (in_training, 0, None),
                "Fréchet distance": (codes.frechet_distance(mean, log_std), 0, None),
                "purity": (apart.purity, 0, 1),
                "silhouette": (apart.silhouette, -1, 1),
                "radius": (apart.radius, 0, None),
            }
            for name, limits in values.items():
                if found := _outside(*limits):
                    return f"{name} {found}"
        return None

    return failure


def _of_weights(draw: Draw) -> Callable[[Path], str | None]:
    def failure(folder: Path) -> str | None:
        for seed in range(DRAWS):
            log_w = jnp.asarray(draw(np.random.default_rng(seed)), jnp.float32)
            keys, ks = jax.random.split(jax.random.key(seed), D), (1, 5, N)
            bounds = importance_weighted_bounds(lambda noise, w=log_w: (w, jnp.zeros_like(w)), keys, 1, ks, N)
            for k, ess, bound in zip(ks, np.asarray(bounds.ess), np.asarray(bounds.bound), strict=True):
                largest = np.asarray(log_w[:k]).max(0)
                if found := _outside(ess, 1, k) or _outside(bound - largest, None, 1e-5 * (1 + np.abs(largest).max())):
                    return f"of {k}: {found}"
        return None

    return failure


def _outside(values: np.ndarray | float, low: float | None, high: float | None) -> str | None:
    """What of the values is not within the limits; none may be no number."""
    values = np.asarray(values)
    if not np.isfinite(values).all():
        return f"is {values[~np.isfinite(values)][:1]}"
    if low is not None and values.min() < low:
        return f"is {values.min()}, below {low}"
    return f"is {values.max()}, above {high}" if high is not None and values.max() > high else None
