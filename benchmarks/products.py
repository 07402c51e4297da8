"""The matrix products of a training step, from the shapes of the layers alone.

In: an architecture, a latent size and a batch size. Out: every product's shape, and their floating-point operations.
"""

from typing import NamedTuple


class Product(NamedTuple):
    """[m, k] × [k, n]"""

    m: int
    k: int
    n: int

    @property
    def flops(self) -> int:
        """A multiplication and an addition for each of the m·k·n terms."""
        return 2 * self.m * self.k * self.n


class Layer(NamedTuple):
    """A layer as the product [outputs, inputs] × [inputs, columns].

    A convolution's inputs are what its kernel sees, its columns the positions of the kernel times the batch; a
    transposed convolution is the adjoint, so that its outputs are what its kernel writes, at each position it reads.
    """

    outputs: int
    inputs: int
    columns: int

    def products(self, first: bool) -> list[Product]:
        """Forward, gradient of the weights, gradient of the input; images need no gradient, so the first has two."""
        forward = Product(self.outputs, self.inputs, self.columns)
        weights = Product(self.outputs, self.columns, self.inputs)
        return [forward, weights] + ([] if first else [Product(self.inputs, self.outputs, self.columns)])


def layers(architecture: str, latent_dim: int, batch: int) -> list[Layer]:
    """The layers with weights, in order; sizes as in jaxvae/models/mlp.py and conv.py."""
    if architecture == "linear":
        heads = [Layer(latent_dim, 256, batch)] * 2
        return [Layer(256, 784, batch), *heads, Layer(256, latent_dim, batch), Layer(784, 256, batch)]
    encoder = [
        Layer(32, 4 * 4 * 1, 14 * 14 * batch),
        Layer(64, 4 * 4 * 32, 7 * 7 * batch),
        Layer(128, 3 * 3 * 64, 4 * 4 * batch),
        *[Layer(latent_dim, 2048, batch)] * 2,
    ]
    decoder = [
        Layer(2048, latent_dim, batch),
        Layer(3 * 3 * 64, 128, 4 * 4 * batch),
        Layer(4 * 4 * 32, 64, 7 * 7 * batch),
        Layer(4 * 4 * 1, 32, 14 * 14 * batch),
    ]
    return encoder + decoder


def products(architecture: str, latent_dim: int, batch: int) -> list[Product]:
    """Every product of a training step: no fewer can be done, short of other algorithms for products."""
    found = layers(architecture, latent_dim, batch)
    return [product for i, layer in enumerate(found) for product in layer.products(first=i == 0)]


def step_flops(architecture: str, latent_dim: int, batch: int) -> int:
    return sum(product.flops for product in products(architecture, latent_dim, batch))


def probes(architectures: list[str], latent_dim: int, batch: int) -> list[Product]:
    """Products to find a machine's best rate with: three square ones and the three largest of each model."""
    found = [Product(size, size, size) for size in (512, 1024, 2048)]
    for architecture in architectures:
        largest = sorted(set(products(architecture, latent_dim, batch)), key=lambda p: p.flops, reverse=True)
        found += largest[:3]
    return found
