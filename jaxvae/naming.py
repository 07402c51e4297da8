"""How parts and their values are written in names of runs, labels and tables, and how a user writes a part.

In: parts, numbers. Out: short texts; two values that differ have two texts. Or a text, and the part that it describes.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import Any

from jaxvae.errors import ConfigError, quoted
from jaxvae.parts import NESTED, fields, is_part, kind, label, named, of_kind


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
        if kind(f) in NESTED and type(value) is type(f.default):
            yield ".".join(differences(value))
        else:  # another part, too: a prior and a likelihood may have the same label
            own = label(f).name
            yield f"{f.name}={text(value)}" if own is None else own + text(value)


# ── parts from texts ─────────────────────────────────────────────────────────────────────────────────────────────────


def parsed(kind: str, given: str, what: str = "", **apart: Any) -> Any:
    """The part that a text such as `gaussian:scale=learned` describes: a label, then fields where they are not the
    default.

    Widths are written as `32x64`; a part within a part, such as a schedule, in brackets: `elbo:beta=stages(…)`.

    Args:
        kind: of the part, such as likelihood.
        what: is asked for, as an error calls it: the kind, unless that is given apart.
        apart: values of fields that are given elsewhere; None, and 1 for a field that the part lacks, say nothing.

    Raises:
        ConfigError: there is no such part or field, or a field without a default is missing, or is given twice.

    Example:
        >>> parsed("likelihood", "gaussian:scale=0.5")
        Gaussian(scale=0.5)
        >>> parsed("network", "linear:hidden=64x32,activation=tanh").hidden
        (64, 32)
    """
    name, _, rest = given.partition(":")
    cls = named(what or kind, name.strip(), kind)
    allowed, values = {f.name: f for f in fields(cls)}, {}
    for item in _split(rest):
        field, equals, value = (one.strip() for one in item.partition("="))
        if not equals:
            raise ConfigError(f"{what or kind} {quoted(given)} must be such as name:field=value,field=value")
        if field not in allowed:
            has = f"it has {', '.join(allowed)}" if allowed else "it has none"
            raise ConfigError(f"{what or kind} {name} has no field {field}; {has}")
        values[field] = _value(allowed[field], value)
    for field, value in apart.items():
        if field not in allowed and value not in (None, 1):
            raise ConfigError(f"{field} must be 1 with the {what or kind} {name}, not {quoted(value)}")
        if field in values and value not in (None, 1, values[field]):
            raise ConfigError(
                f"{field} is given twice: {quoted(values[field])} in {quoted(given)}, and {quoted(value)}"
            )
    values = {n: value for n, value in apart.items() if n in allowed and value is not None} | values
    if lacking := [n for n, f in allowed.items() if n not in values and f.default is dataclasses.MISSING]:
        raise ConfigError(f"{what or kind} {name} needs {lacking[0]}: {name}:{lacking[0]}=…")
    return cls(**values)


def described(kind: str) -> Iterator[str]:
    """Every part of the kind, a line for each: its label, its fields with their defaults, and what it is."""
    for own, cls in of_kind(kind).items():
        said = [f.name if f.default is dataclasses.MISSING else f"{f.name}={text(f.default)}" for f in fields(cls)]
        meaning = (inspect.getdoc(cls) or "").partition("\n\n")[0].replace("\n", " ")
        yield f"{own}{':' if said else ''}{','.join(said)}  –  {meaning}"


def _split(given: str) -> list[str]:
    """At the commas that stand in no brackets."""
    items, depth = [""], 0
    for character in given:
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            items.append("")
        else:
            items[-1] += character
    return [item for item in items if item.strip()]


def _value(field: dataclasses.Field, given: str) -> Any:
    """What a field is given: a part, a number, widths, or a text."""
    if (inner := re.fullmatch(r"([\w-]+)\((.*)\)", given, re.DOTALL)) or kind(field) in NESTED:
        its_kind = "schedule" if kind(field) == "traced" else _kind_of(field)
        return parsed(its_kind, f"{inner[1]}:{inner[2]}" if inner else given, field.name)
    constants = {"true": True, "false": False, "none": None}
    if given.lower() in constants:
        return constants[given.lower()]
    if isinstance(field.default, tuple) and re.fullmatch(r"\d+(x\d+)*", given, re.ASCII):
        return tuple(map(int, given.split("x")))
    for number in (int, float):
        try:
            return number(given)
        except ValueError:
            continue
    return given


def _kind_of(field: dataclasses.Field) -> str:
    return getattr(field.default, "part_name", field.name).split("/")[0]
