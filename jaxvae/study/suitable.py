"""What suits a user's data where nothing else is asked for: networks, likelihood, batch size and epochs.

In: a dataset. Out: parts and numbers, and in words why these.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from jaxvae.data import Dataset, limits, standardized
from jaxvae.models import MLP, Bernoulli, Conv, Gaussian, Poisson, Support

BATCH = 100
FEWEST_BATCHES = 10  # in an epoch
STEPS = 6_000  # that a training should have at least: ten epochs of MNIST
EPOCHS = range(15, 101)  # of the 513 measurements of `cancer`, models fit more closely from epoch 60 to 150 on
CONV_SIDE = 16  # from which on pictures are given to convolutions


class Choice(NamedTuple):
    """What was chosen, and what for."""

    value: Any
    why: str


def network(dataset: Dataset) -> Choice:
    """Convolutions for pictures of at least 16 pixels a side, else fully connected layers."""
    shape = dataset.shape
    if len(shape) in (2, 3) and min(shape[:2]) >= CONV_SIDE:
        return Choice(Conv(), "pictures")
    return Choice(MLP(), f"examples of shape {list(shape)}")


def likelihood(dataset: Dataset) -> Choice:
    """Bernoulli for bytes and for zeros and ones, Poisson for other counts, else a Gaussian with one learned scale."""
    if dataset.train_images.dtype == np.uint8:
        return Choice(Bernoulli(), "bytes, as grey levels from 0 to 1")
    both = [limits(images) for images in (dataset.train_images, dataset.test_images)]
    counts = all(numbers.whole and numbers.low >= 0 for numbers in both)
    if counts and all(numbers.high <= 1 for numbers in both):
        return Choice(Bernoulli(), "zeros and ones")
    if counts:
        return Choice(Poisson(), "whole numbers of at least 0, as counts")
    return Choice(Gaussian(), "real numbers")


def batch_size(dataset: Dataset) -> int:
    """100, or less so that an epoch has ten batches."""
    return max(1, min(BATCH, len(dataset.train_images) // FEWEST_BATCHES))


def epochs(dataset: Dataset, batch_size: int) -> int:
    """Enough for 6,000 steps, from 15 to 100."""
    steps = len(dataset.train_images) // batch_size or 1
    return min(max(-(-STEPS // steps), EPOCHS.start), EPOCHS[-1])


def in_suitable_numbers(dataset: Dataset, likelihoods: Iterable[Any]) -> Dataset:
    """The dataset, standardised where it holds real numbers and all of the likelihoods take any; see
    `jaxvae.data.standardized`."""
    any_numbers = all(getattr(one, "support", Support()) == Support() for one in likelihoods)
    in_bytes = dataset.train_images.dtype == np.uint8
    return dataset if in_bytes or dataset.scaling or not any_numbers else standardized(dataset)


def in_words(dataset: Dataset) -> list[str]:
    """How its numbers are standardised, and how many labels are missing; nothing of what is not so."""
    columns = ", each column by itself" if len(dataset.shape) == 1 else ""
    said = [f"numbers are standardised{columns}"] if dataset.scaling else []
    if dataset.unlabelled:
        said.append(f"{dataset.unlabelled:,} of {len(dataset.train_images):,} training examples have no label")
    return said
