"""What runs are called in figures and tables, and what captions say of all of them, from the axes that they differ in.

In: configurations of runs. Out: labels, captions, and which axes vary. No axis is known here by its name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from jaxvae.config import Axis, RunConfig
from jaxvae.data import PUBLISHED
from jaxvae.formats import OLD_SHAPE
from jaxvae.naming import shortest

MAX_LISTED_VALUES = 6  # in a caption; of more the smallest, the largest and their number
WHOLE_TRAIN_SPLIT = 60_000  # images of MNIST and its siblings, which captions need not mention


DIGITS = ("mnist", "digits", "digits8")  # data whose classes are digits


class Words(NamedTuple):
    """What an example of the data and its label are called."""

    example: str = "image"
    label: str = "digit"

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Words:
        """Those of a dataset, see `about`."""
        is_picture = len(data.get("shape", OLD_SHAPE)) in (2, 3)
        return cls("image" if is_picture else "example", "digit" if data["name"] in DIGITS else "class")


class AxisTable:
    """The axes of several runs: the columns of `RunConfig.axes`, a row a run."""

    def __init__(self, runs: Iterable[RunConfig]):
        settings = [run.setting for run in runs]
        of_setting = {setting: setting.axes for setting in dict.fromkeys(settings)}  # runs share what they have alike
        self.rows: list[dict[str, Axis]] = [of_setting[setting] for setting in settings]
        self.axes: dict[str, Axis] = {}  # by name, as the first run that has it has it
        for row in self.rows:
            self.axes = {**row, **self.axes} if row.keys() - self.axes.keys() else self.axes
        self.names = _merged(dict.fromkeys(tuple(row) for row in self.rows))

    def column(self, name: str) -> list[Any]:
        """A value for each run, None where a run has no such axis."""
        return [row[name].value if name in row else None for row in self.rows]

    def values(self, name: str) -> list[Any]:
        """The different values, in order."""
        return in_order(set(self.column(name)) - {None})

    @cached_property
    def varying(self) -> list[str]:
        return [name for name in self.names if len(set(self.column(name))) > 1]

    @property
    def varying_traced(self) -> list[str]:
        return [name for name in self.varying if self.axes[name].traced]

    @property
    def trade_off(self) -> str | None:
        """The first traced axis that varies and is called by its symbol, as β is: it weighs parts of the loss.

        Losses of different values do not compare, and each value is another trade of rate for distortion. An axis with
        a title of its own, as the learning rate, leaves the loss as it is.
        """
        return next((name for name in self.varying_traced if self.axes[name].symbol == self.axes[name].title), None)

    @property
    def columns(self) -> list[str]:
        """The axes that files of losses have columns for: all up to the last traced one, which have always been there,
        and of those after it the ones that vary."""
        last = max((i for i, name in enumerate(self.names) if self.axes[name].traced), default=-1)
        return [name for i, name in enumerate(self.names) if i <= last or name in self.varying]

    @cached_property
    def groups(self) -> list[list[str]]:
        """Axes that share one phrase: one without a symbol, and the untraced ones with a symbol that follow it,
        as the number of samples K follows the objective; else an axis by itself."""
        groups: list[list[str]] = []
        for name in self.names:
            axis = self.axes[name]
            follows = groups and axis.symbol and not axis.traced and not self.axes[groups[-1][0]].symbol
            groups[-1].append(name) if follows else groups.append([name])
        return groups

    def phrases(self, group: Sequence[str], family: bool = False) -> list[str]:
        """What a group says of each run; empty where a run has no such axis."""
        return [_phrase([row[name] for name in group if name in row], family) for row in self.rows]


def _merged(rows: Iterable[Sequence[str]]) -> list[str]:
    """All names once: one that only some rows have stands behind what is before it there, as K behind the objective."""
    names: list[str] = []
    for row in rows:
        place = 0
        for name in row:
            if name not in names:
                names.insert(place, name)
            place = names.index(name) + 1
    return names


def in_order(values: Collection[Any]) -> list[Any]:
    """Numbers from the lowest up, then texts."""
    return sorted(values, key=lambda value: (isinstance(value, str), value))


def written(value: Any) -> str:
    """A value of an axis: numbers in their shortest form."""
    return value if isinstance(value, str) else shortest(value)


def _phrase(axes: Sequence[Axis], family: bool) -> str:
    """`β = 4`; `IWAE, K = 5`, or plain `ELBO`; `binarised (static)`; `bfloat16`.

    `family`: without what follows a hyphen in the value, as `iwae-dreg` is another estimator of the bound `iwae`.
    """
    if not axes:
        return ""
    first, *rest = axes
    if first.symbol:
        return f"{first.symbol} = {written(first.value)}"
    if first.default == "none":
        return f"{first.title} ({written(first.value)})"
    value = written(first.value)
    if not first.required:
        return value if isinstance(first.value, str) and not value[:1].isdigit() else f"{first.title} {value}"
    if first.value == first.default or not rest:
        return value.upper()
    details = [f"{axis.symbol} = {written(axis.value)}" for axis in rest]
    return ", ".join([(value.partition("-")[0] if family else value).upper(), *details])


def labels(runs: Sequence[RunConfig]) -> dict[str, str]:
    """By name of each run its label: `conv, d = 2, β = 4, seed 1`, with the axes that vary among all of them."""
    table = AxisTable(runs)
    groups = [table.phrases(group) for group in table.groups if set(group).intersection(table.varying)]
    by_name = {}
    for i, run in enumerate(runs):
        phrases = [group[i] for group in groups if group[i]]
        seed = [f"seed {run.seed}"] if run.seed else []
        by_name[run.name] = ", ".join([run.architecture, f"d = {run.latent_dim}", *phrases, *seed])
    return by_name


def caption(
    data: Mapping[str, Any], runs: Sequence[RunConfig] = (), *, averaged: bool = False, shared: bool = False
) -> str:
    """The dataset, then everything in which the training differs from the default, its length first.

    Args:
        data: name and number of training images, see `about`.
        averaged: also over how many seeds means were taken.
        shared: only what is the same in all runs, where labels tell the rest.
    """
    name, count = data["name"], data["train_images"]
    if name in PUBLISHED:
        phrases = [name.replace("_", "-").upper(), "" if count == WHOLE_TRAIN_SPLIT else f"first {count:,} images"]
    elif name == "digits":
        phrases = ["embedded digits (not MNIST)", f"first {count:,} images"]
    else:
        phrases = [name, f"{count:,} {Words.of(data).example}s"]
    phrases += ["standardised"] if "scaling" in data else []
    if (epochs := in_order({run.epochs for run in runs})) not in ([], [RunConfig.epochs]):
        phrases.append("1 epoch" if epochs == [1] else f"{_listed(epochs)} epochs")
    table = AxisTable(runs)
    traced = [group for group in table.groups if table.axes[group[0]].traced]
    others = [group for group in table.groups if group not in traced]
    phrases += [_of_all(table, group, shared) for group in (*traced, *reversed(others))]
    if averaged and len(seeds := {run.seed for run in runs}) > 1:
        phrases.append(f"mean of {len(seeds)} seeds")
    return ", ".join(filter(None, phrases))


def _of_all(table: AxisTable, group: Sequence[str], shared: bool) -> str:
    """What a caption says of a group of axes; nothing where all runs have the default."""
    axis, values = table.axes[group[0]], table.values(group[0])
    others = [value for value in values if value != axis.default]
    if not others or (shared and axis.symbol and len(values) > 1):
        return ""
    if axis.symbol:
        return _equals(axis, _listed(values))
    if axis.default == "none":
        return f"{axis.title} ({', '.join(map(written, others))})"
    phrases = zip(table.column(group[0]), table.phrases(group, family=True), strict=True)
    return "; ".join(sorted({phrase for value, phrase in phrases if value in others}))


def _equals(axis: Axis, value: str) -> str:
    """`β = 4`, but `learning rate 0.001`."""
    return f"{axis.title} = {value}" if axis.title == axis.symbol else f"{axis.title} {value}"


def _listed(values: Sequence[Any]) -> str:
    if len(values) <= MAX_LISTED_VALUES:
        return ", ".join(map(written, values))
    return f"{written(values[0])} to {written(values[-1])} ({len(values)} values)"


def precisions(runs: Iterable[RunConfig]) -> str:
    """The dtype of the operands of matrix products, by architecture."""
    dtypes: dict[str, dict[str, None]] = {}
    for run in runs:
        dtypes.setdefault(run.architecture, {})[run.precision] = None
    by_architecture = ", ".join(f"{' or '.join(own)} in {name} models" for name, own in dtypes.items())
    return f"operands of matrix products are {by_architecture}"


def comparable(runs: Sequence[RunConfig]) -> tuple[list[RunConfig], str]:
    """The runs that the original's claims are checked on, and why not all of them, where it is not all.

    The claims compare architectures and latent sizes, so everything else must be the same: as in the original, whose
    axes are all at their defaults, if the sweep has such runs.
    """
    table = AxisTable(runs)
    ways: dict[tuple, list[int]] = {}
    for i, row in enumerate(table.rows):
        ways.setdefault((runs[i].epochs, *((name, axis.value) for name, axis in row.items())), []).append(i)
    if len(ways) <= 1:
        return [*runs], ""
    alike = [way for way in ways.values() if all(axis.value == axis.default for axis in table.rows[way[0]].values())]
    if len(alike) == 1:
        defaults = [
            _equals(axis, written(axis.default))
            for axis in table.axes.values()
            if axis.traced and axis.default is not None
        ]
        return [runs[i] for i in alike[0]], f"on the runs with {' and '.join(defaults)}"
    return [], f"not tested, as of {len(ways)} ways of training no single one is the original's"
