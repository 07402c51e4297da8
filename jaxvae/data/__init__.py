"""Names and folders become datasets: arrays with a fingerprint."""

from jaxvae.data import digits, published
from jaxvae.data.cache import keep
from jaxvae.data.dataset import FILES, Dataset, binarized, checked
from jaxvae.data.loading import PUBLISHED, load

__all__ = ["FILES", "PUBLISHED", "Dataset", "binarized", "checked", "digits", "keep", "load", "published"]
