"""Numbers, texts and lists as Python has them, whoever made them.

In: a value that a user gave, of Python, NumPy, JAX or another library of arrays. Out: the same value, Python's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Whole = int  # what a user gives, before `plain` makes it Python's own
    Text = str
    Widths = tuple[int, ...]
    Number = float | Any  # what a part's traced field holds: a number or a schedule, within a program an array
else:  # for a checker at run time, other libraries' numbers, arrays and shapes are none of these
    Whole = Any
    Text = Any
    Widths = Any
    Number = Any

SCALARS: tuple[type, ...] = (int, float, str)


def plain(value: Any) -> Any:
    """The Python number, text or tuple that a value is; what is none of these stays as it is.

    A scalar of NumPy or of `ml_dtypes`, and an array without axes, is the Python number of the same value; of float32,
    in which runs compute, the shortest decimal that is read as it: `np.float32(0.001)` is 0.001. Lists and arrays with
    axes are tuples.

        >>> plain(np.float64(0.25)), plain(np.array([64, 32])), plain([np.int8(3), "a"])
        (0.25, (64, 32), (3, 'a'))
    """
    if isinstance(value, bool) or value is None or type(value) in SCALARS:
        return value
    array: Any = value
    if not isinstance(value, np.generic) and hasattr(value, "dtype") and hasattr(value, "__array__"):
        try:
            array = np.asarray(value)
        except Exception:  # a key, or a number that is not known before its program runs
            return value
    if isinstance(array, np.ndarray):
        array = array[()] if array.ndim == 0 else [*array]
    if isinstance(array, np.generic):
        number = float(str(array)) if array.dtype == np.float32 else array.item()
        return float(number) if isinstance(number, np.generic) else number  # of more digits than Python's
    if isinstance(array, list | tuple):
        items = tuple(map(plain, array))
        same = type(value) is tuple and all(new is old for new, old in zip(items, value, strict=True))
        return value if same else items
    own = next((scalar for scalar in SCALARS if isinstance(value, scalar)), None)  # of an enumeration's member, say
    return own(value) if own else value
