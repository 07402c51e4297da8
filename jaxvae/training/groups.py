"""Which runs go through one program together, and how far they are.

In: run configurations, how far each has come and with whom. Out: groups, to be trained an epoch at a time.

A vmapped program's bits depend on who is in it, by the number of lanes (one or more) and by the largest latent size. So
a group stays what it is: a run that diverges goes along idly, and one that is continued finds its companions again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence

from jaxvae.config import RunConfig
from jaxvae.models import codes_at_once
from jaxvae.training.devices import Epoch, Work
from jaxvae.training.engine import TrainState

LaneRuns = Mapping[str, Sequence[str]]  # by run, the runs in all lanes of its program, as `Epoch.lane_runs` has them


@dataclasses.dataclass(eq=False)
class Group:
    """Runs that go through one program, an epoch at a time."""

    runs: tuple[RunConfig, ...]
    before: Callable[[str], TrainState]  # by name, the state that a run is continued from; asked for when it is needed
    begun: int  # the last epoch behind them when the sweep began; −1 before epoch 0
    epoch: int  # the last one behind them now
    lanes: int | None  # of the vmapped program, at least one for each run; None: a run by itself
    idle: frozenset[str] = frozenset()  # diverged or stopped: with their last state they keep the program the same
    states: dict[str, TrainState] = dataclasses.field(default_factory=dict)  # as the last epoch left them

    @property
    def done(self) -> bool:
        return self.epoch >= self.runs[0].epochs or self.idle.issuperset(run.name for run in self.runs)

    @property
    def working(self) -> int:
        return sum(run.name not in self.idle for run in self.runs)

    def work(self) -> Work:
        return Work(self.runs, self._state, self.epoch + 1, self.lanes, self.idle)

    def _state(self, name: str) -> TrainState:
        if name not in self.states:
            assert self.epoch == self.begun or name in self.idle, f"the state of {name} was not kept"
            self.states[name] = self.before(name)
        return self.states[name]

    def advance(self, reports: Sequence[Epoch]) -> None:
        diverged = {report.run.name for report in reports if report.diverged is not None}
        for report in reports:
            if report.state is not None and (report.run.name not in diverged or self.epoch < 0):
                self.states[report.run.name] = report.state
        self.idle |= {report.run.name for report in reports if report.ended}
        self.epoch += 1
        if self.done:
            self.states.clear()

    def waves(self, lanes: int) -> list[Group]:
        """Groups for at most `lanes` lanes, alike in size, so that they share a program."""
        count = -(-len(self.runs) // lanes)
        parts = [self.runs[i::count] for i in range(count)]  # the first is the largest
        return [self._part(runs, len(parts[0])) for runs in parts]

    def _part(self, runs: tuple[RunConfig, ...], lanes: int) -> Group:
        names = {run.name for run in runs}
        states = {name: state for name, state in self.states.items() if name in names}
        return dataclasses.replace(self, runs=runs, lanes=lanes, idle=self.idle & names, states=states)


def grouped(
    runs: Sequence[RunConfig],
    before: Callable[[str], TrainState],
    epochs: Mapping[str, int],
    vmapped: bool,
    parts: int,
    lane_runs: LaneRuns,
    ended: Collection[str],
) -> list[Group]:
    """First one run of each architecture, so that the time left is known soon; then the longest-running.

    Runs that can be vmapped together are dealt into `parts` groups, but for those that already are in `lane_runs`.

    Args:
        before: by name, the state that a run is continued from.
        epochs: by run, the last one behind it; −1 or nothing before epoch 0.
        ended: names of runs that diverged or stopped.
    """
    groups = []
    first = {run.architecture: run.name for run in reversed(runs)}
    ordered = sorted(runs, key=lambda run: (run.name not in first.values(), codes_at_once(run.vae.encoder)))
    companions = _companions(ordered, epochs, lane_runs) if vmapped else []
    settled = {run.name for members, _ in companions for run in members}
    dealt: dict[object, list[RunConfig]] = {}
    for run in ordered:
        if run.name not in settled:
            program = (_program(run), epochs.get(run.name, -1)) if vmapped else run.name
            dealt.setdefault(program, []).append(run)
    fresh = [members[i::parts] for members in dealt.values() for i in range(min(parts, len(members)))]
    place = {run.name: i for i, run in enumerate(ordered)}
    all_ = [*companions, *((members, len(members)) for members in fresh)]
    for members, lanes in sorted(all_, key=lambda group: min(place[run.name] for run in group[0])):
        idle = frozenset(run.name for run in members if run.name in ended)
        behind = {run.name: epochs.get(run.name, -1) for run in members}
        for epoch in sorted({behind[name] for name in behind.keys() - idle} or set(behind.values())):
            now = tuple(run for run in members if run.name in idle or behind[run.name] == epoch)
            groups.append(Group(now, before, epoch, epoch, lanes if vmapped else None, idle))
    return groups


def ahead(
    runs: Sequence[RunConfig], epochs: Mapping[str, int], lane_runs: LaneRuns, ended: Collection[str]
) -> list[str]:
    """The runs that must go back by one epoch, to where their companions are.

    A group that was interrupted between saving one of its runs and the next stands at two epochs, one apart.
    """
    names = []
    for members, _ in _companions(runs, epochs, lane_runs):
        behind = {run.name: epochs.get(run.name, -1) for run in members if run.name not in ended}
        if behind and max(behind.values()) == min(behind.values()) + 1:
            names += [name for name, epoch in behind.items() if epoch == max(behind.values())]
    return names


def _companions(
    runs: Sequence[RunConfig], epochs: Mapping[str, int], lane_runs: LaneRuns
) -> list[tuple[list[RunConfig], int]]:
    """The groups that runs were in, as the farthest of them has it, and how many lanes they had; if all of it is here
    and can still be one."""
    here, claimed, groups = {run.name: run for run in runs}, set(), []
    for run in sorted(runs, key=lambda run: -epochs.get(run.name, -1)):
        lanes = lane_runs.get(run.name, ())
        names = dict.fromkeys(lanes)  # an idle lane repeats a run
        if not names or claimed.intersection(names) or not here.keys() >= names.keys():
            continue
        members = [here[name] for name in names]
        if len({_program(member) for member in members}) == 1:
            claimed.update(names)
            groups.append((members, len(lanes)))
    return groups


def _program(run: RunConfig) -> object:
    """What runs must agree in to be lanes of one program."""
    return run.structure, run.epochs
