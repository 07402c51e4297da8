"""What a run is: frozen dataclasses for what is compiled, a pytree of scalars for what is not.

In: numbers and names from a command line or a JSON file. Out: validated, hashable configurations and their JSON.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

ARCHITECTURES = ("linear", "conv")
PRECISIONS = ("float32", "bfloat16")


class InputError(ValueError):
    """Something given from outside cannot be used; the message is one line that says what, where and what to do."""


class ConfigError(InputError):
    """A configuration that no run can have."""


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def _whole(name: str, value: Any, at_least: int, below: int | None = None) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least or (below and value >= below):
        limits = f"of at least {at_least}" + (f" and below {below}" if below else "")
        raise ConfigError(f"{name} must be a whole number {limits}, not {value!r}")


def _number(name: str, value: Any) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise ConfigError(f"{name} must be a finite number of at least 0, not {value!r}")


class Hypers(NamedTuple):
    """What a compiled training program takes as data: traced scalars, one of each for a vmapped lane."""

    learning_rate: Any
    beta: Any  # weight of the KL term
    latent_dim: Any  # how many of the program's latent dimensions are in use


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What fixes the network, and with it the compiled program."""

    architecture: str  # "linear" or "conv"
    latent_dim: int
    precision: str = "float32"  # what the matrix products read; they accumulate in float32

    def __post_init__(self):
        _one_of("architecture", self.architecture, ARCHITECTURES)
        _one_of("precision", self.precision, PRECISIONS)
        _whole("latent_dim", self.latent_dim, at_least=1)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What fixes the training step, and with it the compiled program."""

    batch_size: int = 100

    def __post_init__(self):
        _whole("batch_size", self.batch_size, at_least=1)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """One training run: a model, how it is trained, for how long and from which seed."""

    model: ModelConfig
    train: TrainConfig = TrainConfig()
    epochs: int = 15
    learning_rate: float = 1e-3
    beta: float = 1.0
    seed: int = 0

    def __post_init__(self):
        _whole("epochs", self.epochs, at_least=0)
        _whole("seed", self.seed, at_least=0, below=2**32)
        _number("learning_rate", self.learning_rate)
        _number("beta", self.beta)

    @property
    def name(self) -> str:
        """The run's folder: `conv-2`, or `conv-2-seed1` for any seed but 0."""
        name = f"{self.model.architecture}-{self.model.latent_dim}"
        return name if self.seed == 0 else f"{name}-seed{self.seed}"

    @property
    def hypers(self) -> Hypers:
        return Hypers(self.learning_rate, self.beta, self.model.latent_dim)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> RunConfig:
        """The configuration that `to_json` wrote.

        Raises:
            ConfigError: a field is missing, unknown or has an impossible value.
        """
        if not isinstance(data, dict):
            raise ConfigError(f"a run's configuration must be a JSON object, not {type(data).__name__}")
        nested = {"model": ModelConfig, "train": TrainConfig}
        return _build(cls, {key: _build(nested[key], v) if key in nested else v for key, v in data.items()})


def differences(one: RunConfig, other: RunConfig) -> list[str]:
    """What keeps `other` from continuing `one`, a line each; the number of epochs does not."""

    def flat(config: RunConfig) -> dict[str, Any]:
        data = config.to_json()
        del data["epochs"]
        return {**data.pop("model"), **data.pop("train"), **data}

    a, b = flat(one), flat(other)
    return [f"{key} {a[key]} there, {b[key]} now" for key in a if a[key] != b[key]]


def _build(cls: Any, data: Any) -> Any:
    if not isinstance(data, dict):
        raise ConfigError(f"{cls.__name__} must be a JSON object, not {data!r}")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if unknown := sorted(data.keys() - fields.keys()):
        raise ConfigError(f"{cls.__name__} has no field {unknown[0]!r}; it has {', '.join(fields)}")
    required = [n for n, f in fields.items() if f.default is dataclasses.MISSING]
    if missing := [n for n in required if n not in data]:
        raise ConfigError(f"{cls.__name__} lacks the field {missing[0]!r}")
    return cls(**data)
