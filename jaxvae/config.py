"""What a run is: a model, an objective, an optimiser, and how long and from which seed it is trained.

In: parts, numbers. Out: a validated, hashable configuration, its JSON, its name, and the program that it compiles to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxvae import naming, parts
from jaxvae.data import Dataset, binarized, dequantized, scaled
from jaxvae.errors import MAX_INT32, ConfigError, quoted
from jaxvae.formats import is_old, upgraded
from jaxvae.models import AUTOMATIC, VAE, Shape
from jaxvae.objectives import ELBO, check_classes
from jaxvae.optimisers import Adam
from jaxvae.schedules import at_epoch
from jaxvae.stopping import Stopping
from jaxvae.values import Number, Text, Whole, plain

BINARIZATIONS = ("none", "dynamic", "static")  # grey; drawn anew at each step; drawn once from a fixed key


class Axis(NamedTuple):
    """One value of a run that another run may have otherwise."""

    symbol: str  # in labels: "β = 4", "lr = 0.0003"; empty where the value speaks for itself
    title: str  # in sentences, captions and column heads: "β", "learning rate"
    value: Any  # a number, or a short text
    default: Any
    traced: bool  # data to the compiled program: runs that differ in it are lanes of one program
    required: bool = False  # whether every run of its kind says it, as there is no default

    @property
    def text(self) -> str:
        return naming.text(self.value)


@parts.part("program")
class Program:
    """What is compiled, as its structure; its leaves are the numbers that lanes and epochs may have otherwise."""

    vae: VAE = parts.nested()
    objective: Any = parts.nested()
    optimiser: Any = parts.nested()
    batch_size: int = 100
    binarize: str = "none"
    stopping: Any = parts.nested(default=None)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """One training run.

    Raises:
        ConfigError: a part or a number in it cannot be; says which, and what is allowed.
    """

    vae: VAE
    objective: Any = parts.nested(default=ELBO())
    optimiser: Any = parts.nested(default=Adam())
    batch_size: Whole = parts.static(default=100, name="batch", symbol="batch", title="batch size")
    binarize: Text = parts.static(default="none", name="", title="binarised")  # pixels: see BINARIZATIONS
    epochs: Whole = 15
    seed: Whole = 0
    # share of the train split that is held out to decide by, see `jaxvae.data.split_off`
    validation: Number = parts.static(default=0.0, name="validation", title="validation share")
    stopping: Stopping | None = parts.nested(default=None)

    part_name = "run"
    part_label = "run"

    def __post_init__(self):
        for f in dataclasses.fields(self):  # so that equal configurations have equal names, and all can be written
            object.__setattr__(self, f.name, _with_plain_values(getattr(self, f.name)))
        if not isinstance(self.vae, VAE):
            raise ConfigError(f"vae must be a VAE, not {quoted(self.vae)}")
        for name in ("objective", "optimiser"):
            parts.require_kind(self, name, name)
            parts.check(getattr(self, name))
        parts.check(self.vae)
        check_classes(self.objective, self.vae)
        if check_vae := getattr(self.objective, "check_vae", None):
            check_vae(self.vae)
        parts.require_whole(self, "batch_size", 1, MAX_INT32)
        parts.require_one_of(self, "binarize", BINARIZATIONS)
        parts.require_number(self, "validation", below=1.0)
        if self.stopping is not None:
            parts.require_kind(self, "stopping", "stopping")
            parts.check(self.stopping)
            if not self.validation:
                raise ConfigError("a run that may stop early needs a validation split to look at: validation=0.1")
        parts.require_whole(self, "epochs", 0, MAX_INT32)
        parts.require_whole(self, "seed", 0, 2**32)

    # ── what it is called ────────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def name(self) -> str:
        """The run's folder: `conv-2`, followed by every setting that differs from its default:
        `conv-2-beta4-lr0.0003-seed1`."""
        vae = dataclasses.replace(self.vae, precision=self._asked_precision)
        words = [self.architecture, str(vae.latent_dim), *naming.differences(vae.encoder)]
        words += list(naming.differences(vae))[2:]  # behind latent size and encoder
        for name, default, ahead in (("objective", ELBO, ""), ("optimiser", Adam, "optimiser=")):
            part = getattr(self, name)
            inner = "-".join(naming.differences(part))
            words.append(inner if type(part) is default else ahead + part.part_label + inner)
        words += [word for f, word in self._own_differences() if f not in ("epochs", "seed")]
        words.append(f"seed{self.seed}" if self.seed else "")
        return "-".join(filter(None, words))

    def _own_differences(self) -> Iterator[tuple[str, str]]:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.name not in ("vae", "objective", "optimiser") and value != f.default:
                yield f.name, (parts.label(f).name or "") + naming.text(value)

    @property
    def _asked_precision(self) -> str:
        """What a machine chose by itself does not count as a difference."""
        return "float32" if self.vae.precision.startswith(AUTOMATIC) else self.vae.precision

    @property
    def setting(self) -> RunConfig:
        """All but the seed: what runs share that differ in nothing else."""
        setting = object.__new__(RunConfig)  # not checked again, as tables ask for it ten thousand times
        vars(setting).update({f.name: getattr(self, f.name) for f in dataclasses.fields(self)}, seed=0)
        return setting

    @property
    def architecture(self) -> str:
        """What the encoder is called: linear, conv."""
        return self.vae.encoder.part_label

    @property
    def latent_dim(self) -> int:
        return self.vae.latent_dim

    @property
    def precision(self) -> str:
        """Dtype of the operands of matrix products; sums are float32."""
        return self.vae.operands

    @cached_property
    def axes(self) -> dict[str, Axis]:
        """By name, as columns of tables have it, what runs may differ in beside network, latent size and seed.

        The objective and every traced number are there always, before all else; anything else where it is not the
        default, but for what every run has: optimiser, batch size and binarisation.
        """
        found: dict[str, Axis] = {}
        vae = dataclasses.replace(self.vae, precision=self._asked_precision)
        own = {f.name: f for f in dataclasses.fields(self)}
        names = "objective", "optimiser", "batch_size", "binarize", "validation", "stopping"
        _add_fields(found, self, [own[name] for name in names])
        _add_fields(found, vae.encoder, parts.fields(vae.encoder))
        _add_fields(found, vae, [f for f in parts.fields(vae) if f.name not in ("latent_dim", "encoder")])
        always = ("objective", "optimiser", "batch_size", "binarize")
        kept = {n: axis for n, axis in found.items() if axis.traced or n in always or axis.value != axis.default}
        return dict(sorted(kept.items(), key=lambda item: not (item[1].traced or item[1].required)))

    # ── data ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def sees(self) -> str:
        """What bytes become before the run sees them."""
        return "dequantised" if self.vae.likelihood.measure == "density" else f"binarize {self.binarize}"

    def dataset_as_trained(self, dataset: Dataset, *, drawn_once: bool = False) -> Dataset:
        """The dataset as the run sees it: see `jaxvae.data.scaled` and `binarized`, and `dequantized` where the
        likelihood is a density; each pixel drawn once.

        Args:
            drawn_once: both splits with pixels of the kind that it was trained on, also where training draws its own.
        """
        dataset = scaled(dataset)
        if self.vae.likelihood.measure == "density":
            dataset = dequantized(dataset)
        return binarized(dataset, "static" if drawn_once and self.binarize == "dynamic" else self.binarize)

    def dataset_to_train_on(self, dataset: Dataset) -> Dataset:
        """The same, but for bytes under a density as they are in the train split, as each step dequantises its own."""
        seen, in_bytes = self.dataset_as_trained(dataset), dataset.train_images.dtype == np.uint8
        in_steps = in_bytes and self.vae.likelihood.measure == "density"
        return seen._replace(train_images=dataset.train_images) if in_steps else seen

    # ── programs ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def program(self, shape: Shape, epoch: int = 0, latent_dim: int | None = None, steps: int = 1) -> Program:
        """What is compiled for examples of this shape, with the numbers of an epoch, counted from 1.

        Args:
            latent_dim: of the program, if the run is padded to more than it uses.
            steps: in an epoch, of each of which there is a number where a schedule counts steps.
        """
        vae = dataclasses.replace(self.vae, latent_dim=latent_dim or self.latent_dim, precision=self.precision)
        vae = dataclasses.replace(at_epoch(vae.bind(shape), epoch, steps), used=np.int32(self.latent_dim))
        own = (at_epoch(part, epoch, steps) for part in (self.objective, self.optimiser, self.stopping))
        objective, optimiser, stopping = own
        return Program(vae, objective, optimiser, self.batch_size, self.binarize, stopping)

    @property
    def structure(self) -> Any:
        """What runs must have in common to be lanes of one program; not the latent size, which is padded, unless the
        optimiser's steps depend on it."""
        latent_dim = None if getattr(self.optimiser, "scales_by_shape", False) else 1
        return jax.tree.structure(self.program((1,), latent_dim=latent_dim))

    # ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def to_json(self) -> dict[str, Any]:
        """What config.json holds."""
        return parts.to_json(self)

    @classmethod
    def from_json(cls, data: Any, known: Iterable[type] = ()) -> RunConfig:
        """The configuration that `to_json` wrote, now or in an earlier format; what has a default may be left out.

        Args:
            known: parts that are not registered.

        Raises:
            ConfigError: a part or a field is missing or unknown, or has an impossible value.
        """
        if not isinstance(data, dict):
            raise ConfigError(f"a run's configuration must be a JSON object, not {type(data).__name__}")
        data = upgraded(data) if is_old(data) else data
        run = parts.from_json({"part": "run"} | data, known)
        if not isinstance(run, RunConfig):
            raise ConfigError(f"a run's configuration must be of the part run, not {quoted(data.get('part'))}")
        return run


parts.REGISTERED["run"] = RunConfig  # checked when it is made, so it is no pytree


def _with_plain_values(value: Any) -> Any:
    """The part with Python's own numbers, texts and tuples in it and in its parts, where NumPy's or JAX's were given;
    itself, if it has none of those."""
    if not parts.is_part(value):
        return plain(value)
    held = {f.name: getattr(value, f.name) for f in parts.fields(value)}
    changes = {name: new for name, old in held.items() if (new := _with_plain_values(old)) is not old}
    return dataclasses.replace(value, **changes) if changes else value


def _add_fields(axes: dict[str, Axis], part: Any, fields: Iterable[dataclasses.Field]) -> None:
    """An axis for each field, and for a field that holds a part one for each of that part's."""
    for f in fields:
        value, label, name = getattr(part, f.name), parts.label(f), f.name
        if value is None:
            continue
        default = None if f.default is dataclasses.MISSING else f.default
        whole = parts.is_schedule(value) or parts.kind(f) == "module"  # another network has fields of the same names
        inner = parts.fields(value) if parts.is_part(value) and not whole else []
        while name in axes and parts.kind(f) == "nested":  # such as an optimiser within another
            name = f"inner {name}"
        title, traced = label.title or name.replace("_", " "), parts.kind(f) == "traced"
        required = f.default is dataclasses.MISSING or f.name == "objective"
        axes[name] = Axis(label.symbol, title, _plain(value, whole), _plain(default), traced, required)
        _add_fields(axes, value, inner)


def _plain(value: Any, whole: bool = False) -> Any:
    """A number, or the short text for anything else; of a part its label, unless `whole`, as its fields are axes of
    their own."""
    if parts.is_part(value) and not (whole or parts.is_schedule(value)):
        return value.part_label
    return value if value is None or isinstance(value, int | float) else naming.text(value)


def differences(one: RunConfig, other: RunConfig) -> list[str]:
    """What keeps `other` from continuing `one`, a line each; the number of epochs does not, nor does it matter whether
    a precision was asked for or chosen by a machine."""

    def flat(config: RunConfig) -> dict[str, Any]:
        data = dict(_flattened("", config.to_json() | {"precision": config.precision}))
        return {name: value for name, value in data.items() if name not in ("epochs", "vae.precision")}

    a, b = flat(one), flat(other)
    return [f"{key} {quoted(a.get(key))} there, {quoted(b.get(key))} now" for key in a | b if a.get(key) != b.get(key)]


def _flattened(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flattened(f"{name}.{key}" if name else key, inner)
    else:
        yield name.removesuffix(".part"), value
