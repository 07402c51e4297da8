"""What a part is: a frozen dataclass, registered under a name, that is at once hashable, a pytree and JSON.

In: classes decorated with `part`. Out: parts whose structure (treedef) is what is compiled, whose traced numbers
(leaves) are what vmapped lanes, grids and schedules vary, and whose JSON is what config.json holds.

A Linen module can be a part too: its fields are JSON and it is hashable; it has no traced numbers.

    @part("objective/elbo")
    class ELBO:
        beta: Number = traced(default=1.0, symbol="β")
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, dataclass_transform

import jax

from jaxvae.errors import MAX_FLOAT32, ConfigError, Remedy, UnknownPartError, is_whole, quoted
from jaxvae.values import Number as Number

T = TypeVar("T")
NAME = re.compile(r"[a-z][a-z0-9-]*(/[a-z][a-z0-9-]*)?", re.ASCII)
NESTED = ("nested", "module")  # kinds of fields that hold another part
REGISTERED: dict[str, type] = {}


class Label(NamedTuple):
    """What a field is called."""

    name: str | None = None  # in names of runs, before the value; None: the field's own name and "="
    symbol: str = ""  # in labels of figures: "β = 4"
    title: str = ""  # in sentences and heads of columns: "learning rate"


# ── fields ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def traced(default: Any = dataclasses.MISSING, *, name: str | None = None, symbol: str = "", title: str = "") -> Any:
    """A number that is data to the compiled program: each lane and each epoch may have its own. `Label` tells of name,
    symbol and title."""
    return _field(default, "traced", Label(name, symbol, title))


def static(default: Any = dataclasses.MISSING, *, name: str | None = None, symbol: str = "", title: str = "") -> Any:
    """A value that is compiled into the program, with what it is called; plain fields are static, too."""
    return _field(default, "static", Label(name, symbol, title))


def nested(default: Any = dataclasses.MISSING, *, module: bool = False, name: str | None = None) -> Any:
    """Another part, of which traced numbers stay traced, or a Linen `module`, which has none and is compiled into the
    program; or, where None is the default, none, which JSON leaves out."""
    return _field(default, "module" if module else "nested", Label(name))


def bound(default: Any = None, *, data: bool = False) -> Any:
    """What data and machine bring in, such as the shape of an example: in no JSON and no name; with `data` a number for
    the compiled program, not a part of its structure."""
    return _field(default, "bound data" if data else "bound", Label())


def _field(default: Any, kind: str, label: Label) -> Any:
    return dataclasses.field(default=default, metadata={"kind": kind, "label": label})


def kind(field: dataclasses.Field) -> str:
    return field.metadata.get("kind", "static")


def label(field: dataclasses.Field) -> Label:
    return field.metadata.get("label", Label())


def fields(part: Any) -> tuple[dataclasses.Field, ...]:
    """Of a part or its class, those that a user gives: no bound ones, and none of Linen's own."""
    return _fields(part if isinstance(part, type) else type(part))


@lru_cache
def _fields(cls: type) -> tuple[dataclasses.Field, ...]:
    own: tuple[dataclasses.Field, ...] = dataclasses.fields(cls)  # type: ignore[arg-type]
    return tuple(f for f in own if not kind(f).startswith("bound") and f.name not in ("parent", "name"))


@dataclass_transform(field_specifiers=(traced, static, nested, bound, dataclasses.field))
def part(name: str, label: str | None = None):
    """Makes a class a part and registers it.

    Args:
        name: kind and own name, such as "prior/mixture".
        label: what names of runs and tables call it; default, the own name.

    Raises:
        ConfigError: the name or, among parts of its kind, the label is another class's; or it cannot be a name.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"a part's name must be such as prior/mixture, in lower case, not {quoted(name)}")
    own_label = label or name.split("/")[-1]

    def register(cls: type[T]) -> type[T]:
        for other in filter(None, (REGISTERED.get(name), of_kind(name.split("/")[0]).get(own_label))):
            one, two = (f"{each.__module__}.{each.__qualname__}" for each in (other, cls))
            if one != two:  # a notebook's cell may be run again
                raise ConfigError(f"two parts have the name {name} or the label {own_label}: {one} and {two}")
        if "__dataclass_fields__" not in vars(cls):  # a Linen module is one already, as a part's subclass is not
            cls = dataclasses.dataclass(frozen=True)(cls)
            _register_pytree(cls)
        cls.part_name = name  # type: ignore[attr-defined]
        cls.part_label = own_label  # type: ignore[attr-defined]
        REGISTERED[name] = cls
        return cls

    return register


def _register_pytree(cls: type) -> None:
    """JAX's own `register_dataclass` makes structures of two classes with equal fields equal, so that what was compiled
    for the one may run for the other."""
    own = dataclasses.fields(cls)  # type: ignore[arg-type]
    data = {f.name: jax.tree_util.GetAttrKey(f.name) for f in own if kind(f) in ("traced", "nested", "bound data")}
    meta = [f.name for f in own if f.name not in data]
    jax.tree_util.register_pytree_with_keys(
        cls,
        lambda part: ([(key, getattr(part, n)) for n, key in data.items()], tuple(getattr(part, n) for n in meta)),
        lambda values, leaves: cls(**dict(zip([*meta, *data], [*values, *leaves], strict=True))),
    )


def is_part(value: Any) -> bool:
    return hasattr(type(value), "part_name")


def of_kind(kind: str) -> dict[str, type]:
    """The registered parts of a kind, by label."""
    return {cls.part_label: cls for name, cls in REGISTERED.items() if name.startswith(f"{kind}/")}  # type: ignore[attr-defined]


def named(what: str, label: Any, kind: str = "") -> type:
    """The registered part with this label.

    Args:
        what: is asked for, as an error calls it: the kind, unless that is given apart.

    Raises:
        ConfigError: there is none of this label; says which there are.
    """
    known = of_kind(kind or what)
    if not isinstance(label, str) or label not in known:
        raise ConfigError(f"{what} must be one of {', '.join(known)}, not {quoted(label)}")
    return known[label]


# ── checks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def check(value: Any) -> None:
    """Checks a part and the parts in it, by their own `check` methods; traced fields must hold numbers or schedules.

    It is no `__post_init__`: that runs again when JAX takes a part apart and puts tracers into it.

    Raises:
        ConfigError: names part, field, value and what is allowed.
    """
    if not is_part(value):
        return
    for f in fields(value):
        held, its_kind = getattr(value, f.name), kind(f)
        if is_part(held):
            check(held)
        elif its_kind in NESTED and not (held is None and f.default is None):
            raise _error(value, f.name, "be a part")
        if its_kind == "traced" and not is_schedule(held):
            require_number(value, f.name)
    if own := getattr(value, "check", None):
        own()


def _error(part: Any, field: str, must: str) -> ConfigError:
    return ConfigError(f"{part.part_name}: {field} must {must}, not {quoted(getattr(part, field))}")


def require_number(part: Any, field: str, below: float = MAX_FLOAT32) -> None:
    """Raises ConfigError unless the field holds a finite number of at least 0."""
    value = getattr(part, field)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < below:
        raise _error(part, field, f"be a finite number of at least 0 and below {below:g}")


def require_bool(part: Any, field: str) -> None:
    """Raises ConfigError unless the field holds True or False."""
    if not isinstance(getattr(part, field), bool):
        raise _error(part, field, "be true or false")


def require_whole(part: Any, field: str, at_least: int, below: int) -> None:
    """Raises ConfigError unless the field holds a whole number within these limits."""
    if not is_whole(getattr(part, field), at_least, below):
        raise _error(part, field, f"be a whole number of at least {at_least} and below {below}")


def require_one_of(part: Any, field: str, allowed: Iterable[str]) -> None:
    """Raises ConfigError unless the field holds one of these texts."""
    value, allowed = getattr(part, field), list(allowed)
    if not isinstance(value, str) or value not in allowed:
        raise _error(part, field, f"be one of {', '.join(allowed)}")


def require_kind(part: Any, field: str, kind: str) -> None:
    """Raises ConfigError unless the field holds a part of this kind, such as prior."""
    value = getattr(part, field)
    if not is_part(value) or not value.part_name.startswith(f"{kind}/"):
        raise _error(part, field, f"be a part of the kind {kind}")


def require_widths(part: Any, field: str, below: int) -> None:
    """Raises ConfigError unless the field holds a tuple of at least one whole number."""
    value = getattr(part, field)
    if not isinstance(value, tuple) or not value:
        raise _error(part, field, "be a tuple of at least one width")
    if not all(is_whole(width, 1, below) for width in value):
        raise _error(part, field, f"hold whole numbers of at least 1 and below {below}")


def is_schedule(value: Any) -> bool:
    """Whether it is a part that says what a traced field is in each epoch."""
    return is_part(value) and value.part_name.startswith("schedule/")


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def to_json(value: Any) -> Any:
    """Plain data that `from_json` makes the same part of."""
    if is_part(value):
        held = {f.name: (getattr(value, f.name), kind(f)) for f in fields(value)}
        kept = {name: to_json(v) for name, (v, its_kind) in held.items() if v is not None or its_kind not in NESTED}
        return {"part": value.part_name} | kept
    if isinstance(value, tuple):
        return [to_json(one) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(f"{quoted(value)} cannot be written as JSON: parts hold numbers, texts, tuples and other parts")


def from_json(data: Any, parts: Iterable[type] = ()) -> Any:
    """The part that `to_json` wrote. Nothing is imported: names are looked up among what is registered or handed in.

    Args:
        parts: classes that are looked up before the registered ones.

    Raises:
        ConfigError: a part is unknown; one of its fields is unknown or missing.
    """
    known = REGISTERED | {cls.part_name: cls for cls in handed_in(parts)}  # type: ignore[attr-defined]
    return _built("a part", data, known)


def handed_in(parts: Any) -> tuple[type, ...]:
    """The classes of parts that a caller gives beside the registered ones.

    Raises:
        ConfigError: one is no such class.
    """
    given = tuple(parts) if isinstance(parts, Iterable) else (parts,)
    if wrong := [one for one in given if not isinstance(one, type) or not hasattr(one, "part_name")]:
        raise ConfigError(f"parts must be a list of classes decorated with jaxvae.parts.part, not {quoted(wrong[0])}")
    return given


def _built(what: str, data: Any, known: Mapping[str, type]) -> Any:
    """What an error calls by `what`: a part, a tuple of values, or a value as it is."""
    if isinstance(data, list):
        return tuple(_built(what, one, known) for one in data)
    if not isinstance(data, dict):
        return data
    if "part" not in data:
        raise ConfigError(f"{what} must be an object with the key 'part', not {quoted(data)}")
    name = data["part"]
    if not isinstance(name, str) or name not in known:
        raise UnknownPartError(f"there is no part named {quoted(name)}; {Remedy.KNOW_PART}")
    cls = known[name]
    allowed = {f.name: f for f in fields(cls)}
    if unknown := sorted(map(quoted, data.keys() - allowed.keys() - {"part"})):
        raise ConfigError(f"{name} has no field {unknown[0]}; it has {', '.join(allowed)}")
    if missing := [n for n, f in allowed.items() if n not in data and f.default is dataclasses.MISSING]:
        raise ConfigError(f"{name} lacks the field {missing[0]!r}")
    return cls(**{key: _built(f"{name}: {key}", value, known) for key, value in data.items() if key != "part"})
