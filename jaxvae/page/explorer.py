"""What the report's latent explorer needs of a run: a decoder that a page can run, and where the test images lie.

In: loaded runs and test images. Out: dictionaries for JSON, with arrays as base64 of little-endian numbers.

The page decodes by itself, so weights travel in it, in 16 bits each: as bfloat16 for a run whose products have such
operands, which is exact; else as whole numbers with a scale for each output. Float16, as large weights are its
coarsest, moved pixels of the linear model with d = 2 by up to 1.3/255 at the edge of its map; these move them by
0.17/255. Biases are float32.
"""

from __future__ import annotations

import base64
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae.evaluation import codes
from jaxvae.figures import pictures
from jaxvae.runs import Run

AXES = 2
MAP_SIDE = 15  # places along each axis of a map that is decoded beforehand


def explored(
    run: Run, images: np.ndarray, look: pictures.Look, conditions: Any = None, on_map: Any = None
) -> dict[str, Any] | None:
    """The decoder and the codes of test images [n, *shape]; None if a parameter or a code is not finite.

    Args:
        conditions: of the images, if the run's model has one; `on_map`: of each place of a map, which then is decoded
            beforehand.

    Keys: `decoder`, see `packed_decoder`, or `decoded_map` where the page cannot run it; `mean` and `logStd` of q(z|x),
    float16 [n, d]; `kl`, nats for each dimension; `centre` and `axes`, the plane that is drawn: centre [d], axes
    [2, d]; `shares` of the codes' variance along them.
    """
    mean, log_std = (np.asarray(leaf, np.float64) for leaf in run.codes(images, conditions))
    log_std = log_std.clip(-16, 16)  # what float16 and KL can hold; NaN stays
    with np.errstate(over="ignore"):
        finite = np.isfinite(mean.astype(np.float16)).all() and np.isfinite(log_std).all()
    if not finite or not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.params)):
        return None
    centre, axes = plane(mean, log_std)
    prior = run.vae.given(conditions).normal_prior(run.params)
    against = None if prior is None else (np.asarray(prior.mean, np.float64), np.asarray(prior.log_std, np.float64))
    decoder = packed_decoder(run) or decoded_map(run, mean, centre, axes, look, on_map)
    spread = ((mean - mean.mean(0)) @ axes.T).var(0) / max(float(mean.var(0).sum()), 1e-12)
    return {
        "decoder": decoder,
        "mean": _base64(mean.astype(np.float16)),
        "logStd": _base64(log_std.astype(np.float16)),
        "kl": codes.kl_per_dimension(mean, log_std, against).round(4).tolist(),
        "centre": centre.tolist(),
        "axes": axes.tolist(),
        "shares": spread.round(4).tolist(),
    }


def plane(mean: np.ndarray, log_std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre [d] and axes [2, d] of the plane to look at: z₁ and z₂ as they are, or of more dimensions the first two
    principal axes of the aggregate posterior, whose covariance is Cov(mean) + E[diag(std²)].

    Each axis points to where its largest component is positive.
    """
    d = mean.shape[1]
    if d <= AXES:
        return np.zeros(d), np.eye(AXES, d)
    covariance = np.cov(mean.T, bias=True) + np.diag(np.exp(2 * log_std).mean(0))
    axes = np.linalg.eigh(covariance)[1][:, : -AXES - 1 : -1].T
    signs = np.sign(axes[np.arange(AXES), np.abs(axes).argmax(1)])
    return mean.mean(0), axes * signs[:, None]


def packed_decoder(run: Run) -> dict[str, Any] | None:
    """The decoder as the page's script runs it; None if the page cannot.

    A page can run decoders that describe their layers (see `jaxvae.models.Network`) under likelihoods that say by which
    link their means come of the outputs, and that take codes alone or behind a class.

    Keys: `link`; `classes` of the condition, 0 without one: the decoder is given a one among as many zeros, then the
    code; `parts`, outputs for each number of an example; `precision`; `activation`; `layers`, a description of
    each; `weights`, in the layers' order first all biases as float32, then all scales as float32, one for each of a
    layer's outputs, then all kernels, as int16 to be multiplied by the scale of their last axis; in a bfloat16 run no
    scales, and kernels as bfloat16.
    """
    _, decoder = run.vae.networks
    link = getattr(run.vae.likelihood, "link", None)
    layers = decoder.layers(run.params["decoder"]) if hasattr(decoder, "layers") else None
    condition = run.config.vae.condition
    classes = 0 if condition is None else getattr(condition, "classes", None)
    if layers is None or link is None or classes is None:
        return None
    kernels = [np.asarray(kernel, np.float32) for _, kernel, _ in layers]
    biases = [np.asarray(bias, np.float32) for _, _, bias in layers]
    if run.config.precision == "bfloat16":
        packed = [*biases, *(kernel.astype(jnp.bfloat16) for kernel in kernels)]
    else:
        scales = [_scales(kernel) for kernel in kernels]
        whole = [np.rint(kernel / scale).astype(np.int16) for kernel, scale in zip(kernels, scales, strict=True)]
        packed = [*biases, *scales, *whole]
    return {
        "link": link,
        "classes": classes,
        "parts": math.prod(decoder.outputs) // math.prod(run.vae.shape),
        "precision": run.config.precision,
        "activation": getattr(decoder, "activation", "relu"),
        "layers": [words for words, _, _ in layers],
        "weights": _base64(*packed),
    }


def decoded_map(
    run: Run, mean: np.ndarray, centre: np.ndarray, axes: np.ndarray, look: pictures.Look, conditions: Any = None
) -> dict[str, Any]:
    """Pictures decoded from a grid of places in the plane, which the page shows instead of decoding by itself.

    Keys: `side`, of the grid; `tiles`, uint8 [side, side, h, w(, 3)], from the lowest to the highest place along the
    second axis, then the first.
    """
    points = (mean - centre) @ axes.T
    places = np.linspace(-1, 1, MAP_SIDE) * reach(points)
    across, up = np.meshgrid(places, places)
    on_plane = centre + np.stack([across.ravel(), up.ravel()], 1) @ axes
    tiles = pictures.as_bytes(pictures.as_pictures(np.asarray(run.decode(on_plane, conditions)), look))
    return {"side": MAP_SIDE, "tiles": _base64(tiles)}


def reach(points: np.ndarray) -> float:
    """How far the map goes along each axis, in both directions, so that it holds all of the points [n, 2]."""
    return 1.05 * max(2.5, float(np.abs(points).max()))


def _scales(kernel: np.ndarray) -> np.ndarray:
    """For each index of the last axis what a step of its whole numbers is worth."""
    largest = np.abs(kernel.reshape(-1, kernel.shape[-1])).max(0, initial=0)
    return np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(32767)


def _base64(*arrays: np.ndarray) -> str:
    return base64.b64encode(b"".join(array.tobytes() for array in arrays)).decode()
