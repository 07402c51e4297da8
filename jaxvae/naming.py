"""How parts and their values are written in names of runs, labels and tables.

In: parts, numbers. Out: short texts; two values that differ have two texts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from jaxvae.parts import fields, is_part, kind, label


def shortest(value: float | int) -> str:
    """The shortest text that is read as this number and no other: 4, 0.0003, 1e-05."""
    return repr(value + 0.0).removesuffix(".0")  # of a whole number and of −0.0 as of the float that it equals


def text(value: Any) -> str:
    """A field's value as names and tables write it."""
    if is_part(value):
        return ".".join([value.part_label, *differences(value)])
    if isinstance(value, tuple):
        return "x".join(map(text, value))
    return shortest(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def differences(part: Any) -> Iterator[str]:
    """What distinguishes a part from one with all defaults, as names of runs have it: "beta4"."""
    for f in fields(part):
        value = getattr(part, f.name)
        if f.default is not dataclasses.MISSING and value == f.default:
            continue
        if kind(f) == "nested" and type(value) is type(f.default):
            yield ".".join(differences(value))
        else:  # another part, too: a prior and a likelihood may have the same label
            own = label(f).name
            yield f"{f.name}={text(value)}" if own is None else own + text(value)
