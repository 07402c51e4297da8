"""Names and folders become datasets: arrays with a fingerprint."""

from jaxvae.data import counts, digits, published
from jaxvae.data.arrays import from_arrays
from jaxvae.data.cache import keep
from jaxvae.data.dataset import FILES, Dataset, Scaling, binarized, checked, dequantized, standardized
from jaxvae.data.loading import PUBLISHED, load

__all__ = [
    "FILES", "PUBLISHED", "Dataset", "Scaling", "binarized", "checked", "counts", "dequantized", "digits",
    "from_arrays", "keep", "load", "published", "standardized",
]  # fmt: skip
