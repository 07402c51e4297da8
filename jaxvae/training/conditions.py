"""What models with a condition are given of each example, on the devices.

In: a dataset, the examples whose reconstructions are followed, a part that says what the condition is. Out: arrays with
a row for each example of a split.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxvae.data import Dataset

Probes = np.ndarray | Dataset  # see `jaxvae.training.train`


class Conditions(NamedTuple):
    """Of each example, as stored; None where the model has no condition."""

    train: Any = None
    test: Any = None
    validation: Any = None
    probes: Any = None


class GivenConditions:
    """Conditions of a dataset, each put on the devices when a run first needs it.

    Args:
        put: of an array the same on the devices.
        held_out: a dataset whose test split runs are validated on, if they are.
    """

    def __init__(
        self,
        dataset: Dataset,
        probes: Probes | None,
        put: Callable[[np.ndarray], jax.Array],
        held_out: Dataset | None = None,
    ):
        self._dataset, self._held_out, self._probes = map(_without_images, (dataset, held_out, probes))
        self._put, self._found = put, {None: Conditions()}

    def of(self, condition: Any) -> Conditions:
        if condition not in self._found:
            train, test = condition.from_dataset(self._dataset)
            validation = self._held_out and condition.from_dataset(self._held_out)[1]
            probes = self._probes and condition.from_dataset(self._probes)
            both = probes and jax.tree.map(lambda *splits: np.concatenate(splits), *probes)
            self._found[condition] = jax.tree.map(self._put, Conditions(train, test, validation, both))
        return self._found[condition]


def _without_images(data: Any) -> Dataset | None:
    """What conditions come of, without what takes much memory."""
    nothing = np.zeros((0, 1), np.uint8)
    return data._replace(train_images=nothing, test_images=nothing) if isinstance(data, Dataset) else None
