"""Which runs go through one program together, and how far they are.

In: run configurations, how far each has come and with whom. Out: groups, to be trained an epoch at a time.

A vmapped program's bits depend on who is in it, by the number of lanes (one or more) and by the largest latent size. So
a group stays what it is: a run that diverges goes along idly, and one that is continued finds its companions again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from jaxvae.config import RunConfig
from jaxvae.engine import TrainState
from jaxvae.workers import Epoch, Work, on_host

Together = Mapping[str, Sequence[str]]  # by run, the names of all that were in its program, itself among them


@dataclasses.dataclass(eq=False)
class Group:
    """Runs that go through one program, an epoch at a time."""

    runs: tuple[RunConfig, ...]
    states: dict[str, TrainState]  # by run; none before epoch 0
    epoch: int  # the last one behind them; −1 before epoch 0
    vmapped: bool
    idle: frozenset[str] = frozenset()  # diverged: with their last finite state they keep the program the same

    @property
    def done(self) -> bool:
        return self.epoch >= self.runs[0].epochs or self.idle.issuperset(run.name for run in self.runs)

    @property
    def working(self) -> int:
        return sum(run.name not in self.idle for run in self.runs)

    def work(self) -> Work:
        states = tuple(self.states[run.name] for run in self.runs) if self.epoch >= 0 else ()
        return Work(self.runs, states, self.epoch + 1, self.vmapped, self.idle)

    def advance(self, reports: Sequence[Epoch]) -> None:
        diverged = {report.run.name for report in reports if report.diverged is not None}
        for report in reports:
            if report.run.name not in diverged or self.epoch < 0:
                self.states[report.run.name] = report.state
        self.idle |= diverged
        self.epoch += 1

    def halves(self) -> list[Group]:
        middle = len(self.runs) // 2
        return [self._part(half) for half in (self.runs[:middle], self.runs[middle:])]

    def _part(self, runs: tuple[RunConfig, ...]) -> Group:
        names = {run.name for run in runs}
        states = {name: state for name, state in self.states.items() if name in names}
        return Group(runs, states, self.epoch, self.vmapped, self.idle & names)


def grouped(
    runs: Sequence[RunConfig],
    states: Mapping[str, TrainState],
    epochs: Mapping[str, int],
    vmapped: bool,
    parts: int,
    together: Together,
    diverged: Collection[str],
) -> list[Group]:
    """First one of each architecture, so that the time left can soon be told; then the longest-running.

    Runs that can be vmapped together are dealt into `parts` groups, but for those that already are `together`.

    Args:
        epochs: by run, the last one behind it; −1 or nothing before epoch 0.
    """
    groups = []
    first = {run.model.architecture: run.name for run in reversed(runs)}
    ordered = sorted(runs, key=lambda run: (run.name not in first.values(), run.model.architecture != "conv"))
    known = _companions(ordered, epochs, together) if vmapped else []
    dealt: dict[object, list[RunConfig]] = {}
    for run in ordered:
        if not any(run in members for members in known):
            program = (_program(run), epochs.get(run.name, -1)) if vmapped else run.name
            dealt.setdefault(program, []).append(run)
    fresh = [members[i::parts] for members in dealt.values() for i in range(min(parts, len(members)))]
    place = {run.name: i for i, run in enumerate(ordered)}
    for members in sorted([*known, *fresh], key=lambda members: min(place[run.name] for run in members)):
        idle = frozenset(run.name for run in members if run.name in diverged)
        behind = {run.name: epochs.get(run.name, -1) for run in members}
        for epoch in sorted({behind[name] for name in behind.keys() - idle} or set(behind.values())):
            now = tuple(run for run in members if run.name in idle or behind[run.name] == epoch)
            own = {run.name: on_host(states[run.name]) for run in now if run.name in states}
            groups.append(Group(now, own, epoch, vmapped, idle))
    return groups


def ahead(
    runs: Sequence[RunConfig], epochs: Mapping[str, int], together: Together, diverged: Collection[str]
) -> list[str]:
    """The runs that must go back by one epoch, to where their companions are.

    A group that was interrupted between saving one of its runs and the next stands at two epochs, one apart.
    """
    found = []
    for members in _companions(runs, epochs, together):
        behind = {run.name: epochs.get(run.name, -1) for run in members if run.name not in diverged}
        if behind and max(behind.values()) == min(behind.values()) + 1:
            found += [name for name, epoch in behind.items() if epoch == max(behind.values())]
    return found


def _companions(runs: Sequence[RunConfig], epochs: Mapping[str, int], together: Together) -> list[list[RunConfig]]:
    """The groups that runs were in, as the farthest of them tells, if all of it is here and can still be one."""
    here, claimed, found = {run.name: run for run in runs}, set(), []
    for run in sorted(runs, key=lambda run: -epochs.get(run.name, -1)):
        names = together.get(run.name, ())
        if not names or claimed.intersection(names) or not here.keys() >= set(names):
            continue
        members = [here[name] for name in names]
        if len({_program(member) for member in members}) == 1:
            claimed.update(names)
            found.append(members)
    return found


def _program(run: RunConfig) -> object:
    """What runs must agree in to be lanes of one program."""
    return dataclasses.replace(run.model, latent_dim=1), run.train, run.epochs
