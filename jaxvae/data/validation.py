"""Examples that are held out of the train split, to decide by: the test split stays for what is reported at the end.

In: a dataset and a share. Out: what is left to train on, and what is held out.
"""

from __future__ import annotations

import numpy as np

from jaxvae.data.dataset import Dataset
from jaxvae.data.rows import taken
from jaxvae.errors import DataError

KEY = 1998  # of the draw: the same examples for all runs, wherever they are trained


def held_out(examples: int, share: float) -> int:
    """How many of the train split."""
    return max(1, round(share * examples)) if share else 0


def split_off(dataset: Dataset, share: float) -> tuple[Dataset, Dataset]:
    """The dataset without the share of its train split, at least one example, that is held out; and a dataset whose
    test split these are.

    Raises:
        DataError: nothing would be left to train on.
    """
    n = len(dataset.train_images)
    count = held_out(n, share)
    if count >= n:
        raise DataError(f"{dataset.name} has {n} examples to train on; a validation split of {share:g} leaves none")
    chosen = np.zeros(n, bool)
    chosen[np.random.default_rng(KEY).permutation(n)[:count]] = True
    left = dataset.beside(taken(dataset.train_images, ~chosen), dataset.test_images, ~chosen, slice(None))
    again = dataset._replace(test_images=dataset.train_images, test_labels=dataset.train_labels)
    if dataset.conditions:
        again = again._replace(conditions=dataset.conditions[:1] * 2)
    return left, again.beside(dataset.train_images, taken(dataset.train_images, chosen), slice(None), chosen)
