"""Names and folders become datasets: arrays with a fingerprint."""

from jaxvae.data import counts, digits, published
from jaxvae.data.arrays import from_arrays
from jaxvae.data.cache import keep
from jaxvae.data.dataset import FILES, Dataset, Scaling, binarized, checked, dequantized, scaled, standardized
from jaxvae.data.embedded import EMBEDDED
from jaxvae.data.files import READERS
from jaxvae.data.loading import NAMES, PUBLISHED, load

__all__ = [
    "EMBEDDED", "FILES", "NAMES", "PUBLISHED", "READERS", "Dataset", "Scaling", "binarized", "checked", "counts",
    "dequantized", "digits", "from_arrays", "keep", "load", "published", "scaled", "standardized",
]  # fmt: skip
