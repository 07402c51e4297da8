"""A user's own arrays become a dataset.

In: examples, perhaps with labels, perhaps with a test split. Out: a `Dataset`, checked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from jaxvae.data.dataset import Dataset, checked
from jaxvae.data.labels import coded
from jaxvae.data.rows import Rows, array_or_rows, taken
from jaxvae.errors import DataError, is_whole, quoted
from jaxvae.values import Whole, plain

HELD_OUT = 10  # one of so many examples is tested on, where nothing else is said
NAME = re.compile(r"[\w.+-]{1,60}", re.ASCII)  # it becomes a part of folders' names


def from_arrays(
    examples: Any,
    labels: Any = None,
    *,
    test: Any = None,
    test_labels: Any = None,
    condition: Any = None,
    test_condition: Any = None,
    name: str = "data",
    seed: Whole = 0,
) -> Dataset:
    """A dataset of arrays.

    Args:
        examples: [n, *shape], real numbers. Bytes (uint8) stand for [0, 1]; all others are taken as they are, in
            float32. Of a memory map, `np.load(path, mmap_mode="r")`, examples stay in the file.
        labels: [n], classes as whole numbers or texts, or real numbers, see `jaxvae.data.labels.coded`; or None. Of
            examples to train on, some may lack a class: −1, or what stands for no value.
        test: [m, *shape], of the same kind; default, every example that is held out: a tenth of them, at least one,
            drawn with `seed`; where some lack a class, a tenth of the others. The rest is trained on, in its order.
        test_labels: of `test`.
        condition: [n, size] or [n], real numbers that a model with the condition `Side` is given beside each example;
            `test_condition`: of `test`.
        name: what figures and folders call the data.

    Raises:
        DataError: see `jaxvae.data.checked`; or there are fewer than two examples to split.

    Example:
        >>> from_arrays(np.arange(40.0).reshape(20, 2)).train_images.shape
        (18, 2)
    """
    if isinstance(examples, str | os.PathLike):
        raise DataError(f"examples must be an array, not {quoted(os.fspath(examples))}; jaxvae.data.load reads files")
    seed = plain(seed)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise DataError(f"a dataset's name must be at most 60 letters, digits and . _ + -, not {quoted(name)}")
    if not is_whole(seed, at_least=0):
        raise DataError(f"seed must be a whole number of at least 0, not {quoted(seed)}")
    if test is None and test_labels is not None:
        raise DataError("test_labels were given without test")
    if (test is None or condition is None) and test_condition is not None:
        raise DataError(f"test_condition was given without {'test' if test is None else 'condition'}")
    if test is not None and condition is not None and test_condition is None:
        raise DataError("test was given without test_condition, which a condition needs")
    examples, test, condition = _examples(name, examples), _examples(name, test), _array(condition)
    labels, test_labels, names = coded(name, _array(labels), _array(test_labels))
    if test is not None:
        conditions = None if condition is None else (condition, _array(test_condition))
        return checked(Dataset(name, examples, labels, test, test_labels, class_names=names, conditions=conditions))
    conditions = None if condition is None else (condition, condition)
    # before rows are taken from what may be no array
    whole = checked(Dataset(name, examples, labels, examples, None, conditions=conditions))
    if (n := len(examples)) < 2:
        raise DataError(f"{name} has {n} example; at least 2 are needed, one of them to test on")
    order = np.random.default_rng(seed).permutation(n)
    if labels is not None and labels.dtype.kind in "iu" and (labels >= 0).any():
        order = order[labels[order] >= 0]
    held_out = np.zeros(n, bool)
    held_out[order[: max(1, len(order) // HELD_OUT)]] = True
    dataset = Dataset(name, taken(examples, ~held_out), None, taken(examples, held_out), None, class_names=names)
    if labels is not None:
        dataset = dataset._replace(train_labels=labels[~held_out], test_labels=labels[held_out])
    if whole.conditions:
        dataset = dataset._replace(conditions=(whole.conditions[0][~held_out], whole.conditions[1][held_out]))
    return checked(dataset)


def _examples(name: str, given: Any) -> Any:
    """NumPy's array of what may be a list or a table, or the rows of a memory map; what can be neither stays, for an
    error to name."""
    return given if given is None or isinstance(given, Rows) else _array(given, partial(array_or_rows, name))


def _array(given: Any, made: Callable[[Any], Any] = np.asarray) -> Any:
    if given is None:
        return None
    try:
        return made(given)
    except DataError:
        raise
    except (TypeError, ValueError):  # rows of different lengths
        return given
