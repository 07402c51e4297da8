"""What the report's latent explorer needs of a run: a decoder that a page can run, and where the test images lie.

In: loaded runs and test images. Out: dictionaries for JSON, with arrays as base64 of little-endian numbers.

The page decodes by itself, so weights travel in it, in 16 bits each: as bfloat16 for a run whose products have such
operands, which is exact; else as whole numbers with a scale for each output. Float16, as large weights are its
coarsest, moved pixels of the linear model with d = 2 by up to 1.3/255 at the edge of its map; these move them by
0.17/255. Biases are float32.
"""

from __future__ import annotations

import base64
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxvae.evaluation import codes
from jaxvae.models import Bernoulli
from jaxvae.runs import Run

AXES = 2


def explored(run: Run, images: np.ndarray) -> dict[str, Any] | None:
    """The decoder and the codes of test images [n, *shape]; None if the page cannot run the decoder, or if a code is
    not finite.

    Keys: `decoder`, see `packed_decoder`; `mean` and `logStd` of q(z|x), float16 [n, d]; `kl`, nats for each dimension;
    `centre` and `axes`, the plane that is drawn: centre [d], axes [2, d]; `shares` of the codes' variance along them.
    """
    decoder = packed_decoder(run)
    mean, log_std = (np.asarray(leaf, np.float64) for leaf in run.codes(images))
    log_std = log_std.clip(-16, 16)  # what float16 and KL can hold; NaN stays
    with np.errstate(over="ignore"):
        finite = np.isfinite(mean.astype(np.float16)).all() and np.isfinite(log_std).all()
    if decoder is None or not finite:
        return None
    centre, axes = plane(mean, log_std)
    spread = ((mean - mean.mean(0)) @ axes.T).var(0) / max(float(mean.var(0).sum()), 1e-12)
    return {
        "decoder": decoder,
        "mean": _base64(mean.astype(np.float16)),
        "logStd": _base64(log_std.astype(np.float16)),
        "kl": codes.kl_per_dimension(mean, log_std).round(4).tolist(),
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
    """The decoder as the page's script runs it; None if its parameters are not finite, or the page cannot run it.

    A page can run decoders that describe their layers (see `jaxvae.models.Network`) under a Bernoulli likelihood.

    Keys: `precision`; `activation`; `layers`, a description of each; `weights`, in the layers' order first all biases
    as float32, then all scales as float32, one for each of a layer's outputs, then all kernels, as int16 to be
    multiplied by the scale of their last axis; in a bfloat16 run no scales, and kernels as bfloat16.
    """
    _, decoder = run.vae.networks
    layers = decoder.layers(run.params["decoder"]) if hasattr(decoder, "layers") else None
    if layers is None or not isinstance(run.vae.likelihood, Bernoulli):
        return None
    kernels = [np.asarray(kernel, np.float32) for _, kernel, _ in layers]
    biases = [np.asarray(bias, np.float32) for _, _, bias in layers]
    if not all(np.isfinite(array).all() for array in (*kernels, *biases)):
        return None
    if run.config.precision == "bfloat16":
        packed = [*biases, *(kernel.astype(jnp.bfloat16) for kernel in kernels)]
    else:
        scales = [_scales(kernel) for kernel in kernels]
        whole = [np.rint(kernel / scale).astype(np.int16) for kernel, scale in zip(kernels, scales, strict=True)]
        packed = [*biases, *scales, *whole]
    return {
        "precision": run.config.precision,
        "activation": getattr(decoder, "activation", "relu"),
        "layers": [words for words, _, _ in layers],
        "weights": _base64(*packed),
    }


def _scales(kernel: np.ndarray) -> np.ndarray:
    """For each index of the last axis what a step of its whole numbers is worth."""
    largest = np.abs(kernel.reshape(-1, kernel.shape[-1])).max(0, initial=0)
    return np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(32767)


def _base64(*arrays: np.ndarray) -> str:
    return base64.b64encode(b"".join(array.tobytes() for array in arrays)).decode()
