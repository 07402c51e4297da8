"""Names and folders become datasets: arrays with a fingerprint."""

from jaxvae.data import counts, digits, published
from jaxvae.data.arrays import from_arrays
from jaxvae.data.cache import keep
from jaxvae.data.changes import binarized, dequantized, scaled, standardized
from jaxvae.data.dataset import FILES, Dataset, Scaling, checked
from jaxvae.data.embedded import EMBEDDED
from jaxvae.data.files import READERS
from jaxvae.data.loading import NAMES, PUBLISHED, load
from jaxvae.data.rows import Examples, Limits, Rows, at_hand, blocks, first_examples, limits
from jaxvae.data.validation import held_out, split_off

__all__ = [
    "EMBEDDED", "FILES", "NAMES", "PUBLISHED", "READERS", "Dataset", "Examples", "Limits", "Rows", "Scaling",
    "at_hand", "binarized", "blocks", "checked", "counts", "dequantized", "digits", "first_examples", "from_arrays",
    "held_out", "keep", "limits", "load", "published", "scaled", "split_off", "standardized",
]  # fmt: skip
