"""What a run is: frozen dataclasses for what is compiled, a pytree of scalars for what is not.

In: numbers and names from a command line or a JSON file. Out: validated, hashable configurations and their JSON.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, NamedTuple

from jaxvae.errors import ConfigError, shown

ARCHITECTURES = ("linear", "conv")
PRECISIONS = ("float32", "bfloat16")
ACTIVATIONS = ("relu", "tanh")
OBJECTIVES = ("elbo", "iwae", "iwae-dreg")
BINARIZATIONS = ("none", "dynamic", "static")
OUTPUT_BIASES = ("zero", "data")
SCHEDULES = ("constant", "stages")
LEARNING_RATE = 1e-3  # Adam's, where nothing else is asked for
LARGEST = 3.4e38  # of float32, in which all scalars are computed
WIDEST = 2**16  # no layer, and no mean over codes, is as wide: 28×28 images have no use for it
LONGEST = 2**31  # steps and epochs are counted in int32


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, not {shown(value)}")


def is_whole(value: Any, at_least: int, below: int | None = None) -> bool:
    """Whether it is an integer within these limits; `True` is none."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and value >= at_least and (below is None or value < below)


def _whole(name: str, value: Any, at_least: int, below: int | None = None) -> None:
    if not is_whole(value, at_least, below):
        limits = f"of at least {at_least}" + (f" and below {below}" if below else "")
        raise ConfigError(f"{name} must be a whole number {limits}, not {shown(value)}")


def _number(name: str, value: Any) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < LARGEST:
        raise ConfigError(f"{name} must be a finite number of at least 0 and below {LARGEST:g}, not {shown(value)}")


def _instance(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise ConfigError(f"{name} must be a {kind.__name__}, not {shown(value)}")


def shortest(value: float | int) -> str:
    """The shortest text that is read as this number and no other: 4, 0.0003, 1e-05."""
    return repr(value + 0.0).removesuffix(".0")  # of a whole number and of −0.0 as of the float that it equals


class Hypers(NamedTuple):
    """What a compiled training program takes as data: traced scalars, one of each for a vmapped lane."""

    learning_rate: Any
    beta: Any  # weight of the KL term
    latent_dim: Any  # how many of the program's latent dimensions are in use


class Axis(NamedTuple):
    """One value of a run that another run may have otherwise."""

    symbol: str  # in labels: "β = 4", "lr = 0.0003"; empty where the value speaks for itself
    title: str  # in sentences, captions and column heads: "β", "learning rate"
    value: Any  # a number, or a short text
    default: Any
    traced: bool  # data to the compiled program: runs that differ in it are lanes of one program


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What fixes the network, and with it the compiled program."""

    architecture: str  # "linear" or "conv"
    latent_dim: int
    precision: str = "float32"  # what the matrix products read; they accumulate in float32
    hidden: tuple[int, ...] = (256,)  # widths of a linear model's layers from pixels to codes; the decoder mirrors them
    activation: str = "relu"  # after a linear model's hidden layers

    def __post_init__(self):
        _one_of("architecture", self.architecture, ARCHITECTURES)
        _one_of("precision", self.precision, PRECISIONS)
        _whole("latent_dim", self.latent_dim, at_least=1, below=WIDEST)
        if not isinstance(self.hidden, tuple) or not self.hidden:
            raise ConfigError(f"hidden must be a tuple of at least one width, not {shown(self.hidden)}")
        for width in self.hidden:
            _whole("hidden", width, at_least=1, below=WIDEST)
        _one_of("activation", self.activation, ACTIVATIONS)
        if self.architecture == "conv" and (self.hidden, self.activation) != ((256,), "relu"):
            raise ConfigError("hidden and activation are a linear model's; a conv model's layers are fixed")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """What fixes the training step, and with it the compiled program."""

    batch_size: int = 100
    objective: str = "elbo"  # or the importance-weighted bound: "iwae", "iwae-dreg"
    importance_samples: int = 1  # K of the importance-weighted bound
    binarize: str = (
        "none"  # pixels: grey, drawn anew at each step ("dynamic"), or drawn once from a fixed key ("static")
    )
    adam_b1: float = 0.9  # decay of Adam's first moment
    adam_epsilon: float = 1e-8
    adam_second_moment: float = 0.0  # where Adam's second moment starts
    output_bias: str = "zero"  # of the decoder before training; "data": the logit of the mean training image

    def __post_init__(self):
        _whole("batch_size", self.batch_size, at_least=1, below=LONGEST)
        _one_of("objective", self.objective, OBJECTIVES)
        _whole("importance_samples", self.importance_samples, at_least=1, below=WIDEST)
        _one_of("binarize", self.binarize, BINARIZATIONS)
        for name in ("adam_b1", "adam_epsilon", "adam_second_moment"):
            _number(name, getattr(self, name))
        if self.adam_b1 >= 1:
            raise ConfigError(f"adam_b1 must be below 1, not {self.adam_b1!r}")
        _one_of("output_bias", self.output_bias, OUTPUT_BIASES)
        if self.objective == "elbo" and self.importance_samples > 1:
            raise ConfigError(
                f"importance_samples is {self.importance_samples}, which needs the objective iwae or iwae-dreg"
            )


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """One training run: a model, how it is trained, for how long and from which seed."""

    model: ModelConfig
    train: TrainConfig = TrainConfig()
    epochs: int = 15
    learning_rate: float | int = LEARNING_RATE
    beta: float | int = 1.0
    seed: int = 0
    schedule: str = "constant"  # of the learning rate, see `hypers`

    def __post_init__(self):
        _instance("model", self.model, ModelConfig)
        _instance("train", self.train, TrainConfig)
        _whole("epochs", self.epochs, at_least=0, below=LONGEST)
        _whole("seed", self.seed, at_least=0, below=2**32)
        _number("learning_rate", self.learning_rate)
        _number("beta", self.beta)
        _one_of("schedule", self.schedule, SCHEDULES)
        if self.train.objective != "elbo" and self.beta != 1:
            raise ConfigError(f"beta must be 1 with the objective {self.train.objective}, not {self.beta!r}")
        if self.train.output_bias == "data" and self.model.architecture != "linear":
            raise ConfigError("output_bias can be data in linear models only: a conv model has one bias for all pixels")

    @property
    def name(self) -> str:
        """The run's folder: `conv-2`, and then what is not the default: `conv-2-iwae5-beta4-lr0.0003-seed1`."""
        name = f"{self.model.architecture}-{self.model.latent_dim}"
        if self.train.objective != "elbo":
            name += f"-{self.train.objective}{self.train.importance_samples}"
        if self.beta != 1:
            name += f"-beta{shortest(self.beta)}"
        if self.learning_rate != LEARNING_RATE:
            name += f"-lr{shortest(self.learning_rate)}"
        return name if self.seed == 0 else f"{name}-seed{self.seed}"

    @property
    def setting(self) -> RunConfig:
        """All but the seed: what runs share that differ in nothing else."""
        return dataclasses.replace(self, seed=0)

    @property
    def architecture(self) -> str:
        return self.model.architecture

    @property
    def latent_dim(self) -> int:
        return self.model.latent_dim

    @property
    def precision(self) -> str:
        """Dtype of the operands of matrix products; sums are float32."""
        return self.model.precision

    @property
    def binarize(self) -> str:
        return self.train.binarize

    @property
    def batch_size(self) -> int:
        return self.train.batch_size

    @property
    def axes(self) -> dict[str, Axis]:
        """By name, as columns of tables are called, all that runs may differ in beside network, latent size and seed."""
        train = self.train
        return {
            "objective": Axis("", "objective", train.objective, "elbo", False),
            "importance_samples": Axis("K", "importance samples", train.importance_samples, 1, False),
            "beta": Axis("β", "β", self.beta, 1.0, True),
            "learning_rate": Axis("lr", "learning rate", self.learning_rate, LEARNING_RATE, True),
            "batch_size": Axis("batch", "batch size", train.batch_size, 100, False),
            "binarize": Axis("", "binarised", train.binarize, "none", False),
        }

    def hypers(self, epoch: int) -> Hypers:
        """The traced scalars of an epoch, counted from 1.

        With the schedule `stages`, stage i = 1, 2, … has 3^(i − 1) epochs at the learning rate times 10^(−(i − 1)/7)
        (Burda, Grosse & Salakhutdinov 2016, section 5, whose eight stages are 3,280 epochs).
        """
        rate = self.learning_rate
        if self.schedule == "stages":
            stage = next(i for i in itertools.count() if epoch <= (3 ** (i + 1) - 1) // 2)
            rate *= 10 ** (-stage / 7)
        return Hypers(rate, self.beta, self.model.latent_dim)

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
        raise ConfigError(f"{cls.__name__} must be a JSON object, not {shown(data)}")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if unknown := sorted(map(shown, data.keys() - fields.keys())):
        raise ConfigError(f"{cls.__name__} has no field {unknown[0]}; it has {', '.join(fields)}")
    required = [n for n, f in fields.items() if f.default is dataclasses.MISSING]
    if missing := [n for n in required if n not in data]:
        raise ConfigError(f"{cls.__name__} lacks the field {missing[0]!r}")
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})
