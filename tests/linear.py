"""Networks that do nothing, so that a VAE is linear: with a Gaussian likelihood it is probabilistic PCA, whose density
is known (Tipping & Bishop 1999)."""

import numpy as np
from flax import linen as nn
from scipy import stats

from jaxvae.parts import bound, part


@part("network/as-it-is")
class AsItIs(nn.Module):
    """An example's numbers are its features, so that posterior means are linear in them."""

    @nn.compact
    def __call__(self, x):
        return x.reshape(len(x), -1)

    @nn.nowrap
    def mirrored(self):
        return FeaturesAsMeans()


@part("decoder/as-it-is")
class FeaturesAsMeans(nn.Module):
    """The VAE's own layer from codes to features is the whole decoder."""

    outputs: tuple = bound(default=())

    @property
    def features(self):
        return int(np.prod(self.outputs))

    @nn.compact
    def __call__(self, h):
        return h.reshape(-1, *self.outputs)


@part("schedule/to-zero")
class ToZero:
    """From `initial` in equal steps."""

    initial: float
    epochs: int

    def at(self, epoch):
        return self.initial * (1 - (epoch - 1) / self.epochs)


def exact(run):
    """p(x) of a linear run, of the numbers that it was trained on."""
    layer = run.params["decoder"]["latent"]
    weights, sigma = np.asarray(layer["kernel"], float), np.exp(float(run.params["likelihood"]["log_scale"]))
    covariance = weights.T @ weights + sigma**2 * np.eye(weights.shape[1])
    return stats.multivariate_normal(np.asarray(layer["bias"]), covariance)
