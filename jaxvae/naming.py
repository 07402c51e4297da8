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
        return _text_of_part(value).rstrip("+")
    if isinstance(value, tuple):
        return "x".join(map(text, value))
    return shortest(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _text_of_part(part: Any) -> str:
    """What is within a part within it ends at a "+", so that no two parts have one text."""
    return ".".join([part.part_label, *differences(part, closed=True)])


def differences(part: Any, closed: bool = False) -> Iterator[str]:
    """What distinguishes a part from one with all defaults, as names of runs have it: "beta4".

    Args:
        closed: whether a part in it ends at a "+".
    """
    for f in fields(part):
        value = getattr(part, f.name)
        if f.default is not dataclasses.MISSING and value == f.default:
            continue
        if is_nested(f) and type(value) is type(f.default):
            yield ".".join(differences(value, closed))
        else:  # another part, too: a prior and a likelihood may have the same label
            own, its_text = label(f).name, _text_of_part(value) + "+" if closed and is_part(value) else text(value)
            yield f"{f.name}={its_text}" if own is None else own + its_text


# ── parts from texts ─────────────────────────────────────────────────────────────────────────────────────────────────


def parsed(kind: str, given: str, what: str = "", **apart: Any) -> Any:
    """The part that a text such as `gaussian:scale=learned` describes: a label, then fields where they are not the
    default.

    Widths are written as `32x64`; the fields of a part within a part, such as a schedule, stand in brackets. There,
    values without a field's name are those of the first fields: `elbo:beta=linear(0,1,length=10)`.

    Args:
        kind: of the part, such as likelihood.
        what: is asked for, as an error calls it: the kind, unless that is given apart.
        apart: values of fields that are given elsewhere, of the part or of one of its kind within it; None, and 1 for a
            field that they lack, say nothing.

    Raises:
        ConfigError: there is no such part or field, or a field without a default is missing, or is given twice.

    Example:
        >>> parsed("likelihood", "gaussian:scale=0.5")
        Gaussian(scale=0.5)
        >>> parsed("network", "linear:hidden=64x32,activation=tanh").hidden
        (64, 32)
        >>> parsed("optimiser", "clip:max_norm=5,optimiser=sgd(nesterov=true)", learning_rate=0.1).optimiser
        SGD(learning_rate=0.1, momentum=0.9, weight_decay=0.0, nesterov=True)
    """
    if given.count("(") != given.count(")"):
        raise ConfigError(f"{what or kind} {quoted(given)} has a bracket that does not open or does not close")
    return _parsed(kind, given, what or kind, apart)


def _parsed(kind: str, given: str, what: str, apart: dict[str, Any], in_brackets: bool = False) -> Any:
    name, _, rest = given.partition(":")
    cls = named(what, name.strip(), kind)
    allowed, within = {f.name: f for f in fields(cls)}, {}
    texts = _texts(f"{what} {name}", f"{what} {quoted(given)}", rest, allowed, in_brackets)
    inner = next((n for n, f in allowed.items() if is_nested(f) and _kind_of(f) == kind), "")
    if inner and not allowed.keys() & apart.keys():
        apart, within = {}, {field: value for field, value in apart.items() if value is not None}
    values = {n: _value(allowed[n], value, within if n == inner else {}) for n, value in texts.items()}
    if within and inner not in texts:
        default: Any = allowed[inner].default
        values[inner] = _parsed(kind, default.part_label, what, within)
    for field, value in apart.items():
        if field not in allowed and value not in (None, 1):
            raise ConfigError(f"{field} must be 1 with the {what} {name}, not {quoted(value)}")
        if field in values and value not in (None, 1, values[field]):
            raise ConfigError(
                f"{field} is given twice: {quoted(values[field])} in {quoted(given)}, and {quoted(value)}"
            )
    values = {n: value for n, value in apart.items() if n in allowed and value is not None} | values
    if lacking := [n for n, f in allowed.items() if n not in values and f.default is dataclasses.MISSING]:
        example = f"{name}({lacking[0]}=…)" if in_brackets else f"{name}:{lacking[0]}=…"
        raise ConfigError(f"{what} {name} needs {lacking[0]}: {example}")
    return cls(**values)


def _texts(part: str, quoted_part: str, given: str, allowed: dict[str, Any], in_brackets: bool) -> dict[str, str]:
    """What is written of each field."""
    texts: dict[str, str] = {}
    unnamed = iter(allowed if in_brackets else ())
    for item in _split(given):
        field, equals, value = (one.strip() for one in item.partition("="))
        if equals:
            unnamed = iter(())  # as Python has it
        elif first := next(unnamed, None):
            field, value = first, field
        else:
            raise ConfigError(f"{quoted_part} must be such as name:field=value,field=value")
        if field not in allowed:
            has = f"it has {', '.join(allowed)}" if allowed else "it has none"
            raise ConfigError(f"{part} has no field {field}; {has}")
        if field in texts:
            raise ConfigError(f"{part} has {field} twice")
        texts[field] = value
    return texts


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


def _value(field: dataclasses.Field, given: str, apart: dict[str, Any]) -> Any:
    """What a field is given: a part, a number, widths, or a text."""
    if (inner := re.fullmatch(r"([\w-]+)\((.*)\)", given, re.DOTALL)) or is_nested(field):
        its_kind = "schedule" if kind(field) == "traced" else _kind_of(field)
        return _parsed(its_kind, f"{inner[1]}:{inner[2]}" if inner else given, field.name, apart, in_brackets=True)
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


def number_or_schedule(given: Any) -> Any:
    """What a traced field is given by itself: a number, or the schedule that a text such as `linear(0,1,length=10)` is.

    Raises:
        ConfigError: the text is none.
    """
    if not isinstance(given, str):
        return given
    if not (inner := re.fullmatch(r"([\w-]+)\((.*)\)", given.strip(), re.DOTALL)) or given.count("(") != given.count(
        ")"
    ):
        raise ConfigError(f"a schedule must be such as linear(0,1,length=10), not {quoted(given)}")
    return _parsed("schedule", f"{inner[1]}:{inner[2]}", "schedule", {}, in_brackets=True)


def is_nested(field: dataclasses.Field) -> bool:
    return kind(field) in NESTED


def _kind_of(field: dataclasses.Field) -> str:
    return getattr(field.default, "part_name", field.name).split("/")[0]
