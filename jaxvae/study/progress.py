"""How a sweep is coming along: a live display on a terminal, plain lines elsewhere.

In: what each epoch reports. Out: text.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

from jaxvae.config import RunConfig
from jaxvae.training import Epoch

MAX_SHOWN_RUNS = 40  # of more, only one now and then has its line
ROUNDING = 0.005  # nats, that are not shown
SECONDS = 5  # between two such lines


class Display:
    """Shows epochs, losses, images per second and the time left; use it as a context.

    Of many runs not each: a bar an architecture on a terminal, elsewhere the latest epoch now and then.

    Args:
        runs: all runs of the sweep.
        done: epochs that a run had behind it when the sweep was taken up again.
        images: training images in an epoch.
    """

    def __init__(self, console: Console, runs: Sequence[RunConfig], done: Mapping[str, int], images: int):
        self.console, self.images, self.many = console, images, len(runs) > MAX_SHOWN_RUNS
        self.epochs = {run.name: done.get(run.name, 0) for run in runs}
        self.total = sum(run.epochs for run in runs)
        self.behind = sum(self.epochs.values())
        self.ahead: Counter[str] = Counter()  # epochs, by architecture
        self.each: Counter[str] = Counter()  # of them, with those behind
        for run in runs:
            self.ahead[run.architecture] += run.epochs - self.epochs[run.name]
            self.each[run.architecture] += run.epochs
        self.seconds: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])  # by architecture: how many, their sum
        self.started, self.said = time.perf_counter(), -math.inf
        self.width = max(map(len, self.epochs), default=0)
        self.live = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=16),
            TextColumn("{task.fields[text]}"), console=console,
        ) if console.is_terminal else None  # fmt: skip
        self.bars: dict[str, TaskID] = {}
        self.group: tuple[tuple[str, ...], int] = (), 0  # the last one that was reported, and how many runs it has

    def __enter__(self) -> Display:
        if self.live:
            self.live.start()
            self.overall = self.live.add_task(
                "all runs", total=self.total, completed=self.behind, text="starting: compiling"
            )
        return self

    def __exit__(self, *_) -> None:
        if self.live:
            self.live.stop()

    def epoch(self, report: Epoch) -> None:
        run, architecture = report.run, report.run.architecture
        came = report.epoch - self.epochs[run.name]
        lost = run.epochs - report.epoch if report.diverged is not None else 0
        self.epochs[run.name] = report.epoch
        self.behind += came
        self.total -= lost
        self.each[architecture] -= lost
        self.ahead[architecture] -= came + lost
        if report.train is not None:
            self.seconds[architecture][0] += 1
            self.seconds[architecture][1] += report.seconds
        text = self._text(report)
        if self.live is None:
            now, last = time.perf_counter(), self.behind == self.total
            if not self.many or last or report.diverged is not None or now - self.said >= SECONDS:
                self.said = now
                head = f"[{self.behind:3d}/{self.total}] {run.name:{self.width}}  epoch {report.epoch:2d}/{run.epochs}"
                line = f"{head}  {text}  {self._left()}".rstrip()
                self.console.print(line, highlight=False, markup=False, soft_wrap=True)
            return
        name = architecture if self.many else run.name
        if name not in self.bars:
            width = 0 if self.many else self.width
            total = self.each[architecture] if self.many else run.epochs
            self.bars[name] = self.live.add_task(f"{name:{width}}", total=total, text="")
        bar = self.bars[name]
        if self.many:
            completed = self.each[architecture] - self.ahead[architecture]
            self.live.update(bar, total=self.each[architecture], completed=completed, text=f"{run.name}  {text}")
        else:
            self.live.update(bar, completed=report.epoch, text=f"{report.epoch}/{run.epochs}  {text}")
        text = f"{self.behind}/{self.total} epochs  {self._left()}"
        self.live.update(self.overall, completed=self.behind, total=self.total, text=text)

    def _text(self, report: Epoch) -> str:
        """Losses, and images a second: of all runs that share the program, if it is vmapped."""
        test = report.test
        if report.diverged is not None:
            return f"diverged at step {report.diverged:,}: loss or state not finite; keeps epoch {report.epoch - 1}"
        # with another weight of the KL, or another objective, the loss is not their sum
        is_sum = abs(test.loss - test.reconstruction - test.kl) < ROUNDING
        before, between, after = ("= ", " +", "") if is_sum else ("(", ",", ")")
        losses = f"test {test.loss:6.2f} {before}{test.reconstruction:6.2f}{between} {test.kl:5.2f} KL{after} nats"
        if report.train is None:
            return losses
        if report.lane_runs is not self.group[0]:
            self.group = report.lane_runs, len({*report.lane_runs})
        rate = self.images * max(1, self.group[1]) / report.seconds
        return f"train {report.train.loss:6.2f}  {losses}  {rate:,.0f} images/s"

    def _left(self) -> str:
        """The time that the epochs ahead will take if they go on, and side by side, as those behind."""
        count, behind = (sum(column) for column in zip(*self.seconds.values(), strict=True)) if self.seconds else (0, 0)
        if not count:
            return ""
        pace = {name: seconds / n for name, (n, seconds) in self.seconds.items()}
        ahead = sum(epochs * pace.get(name, behind / count) for name, epochs in self.ahead.items())
        elapsed = time.perf_counter() - self.started
        minutes, seconds = divmod(round(elapsed * ahead / behind), 60)
        return f"{minutes}:{seconds:02d} left"


class Stages:
    """Shows how an evaluation is coming along, stage after stage; use it as a context.

    On a terminal a bar for each stage, elsewhere a line at its start, at each tenth of it and at its end.
    """

    def __init__(self, console: Console):
        self.console = console
        self.live = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=16),
            TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn(), console=console,
        ) if console.is_terminal else None  # fmt: skip
        self.run, self.tasks, self.done, self.said, self.started = "", {}, 0, 0, 0.0

    def __enter__(self) -> Stages:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_) -> None:
        if self.live:
            self.live.stop()

    def begin(self, run: str) -> None:
        self.run = run

    def advance(self, what: str, done: int, total: int) -> None:
        """`done` more of `total`; 0 begins the stage."""
        if self.live:
            if not done:
                self.tasks[what] = self.live.add_task(f"{self.run}: {what}", total=total)
            self.live.update(self.tasks[what], advance=done)
            return
        if not done:
            self.done = self.said = 0
            self.started = time.perf_counter()
        self.done += done
        tenth = 10 * self.done // total
        if not done or tenth > self.said:
            self.said = tenth
            left = ""
            if self.done and self.done < total:
                seconds = (time.perf_counter() - self.started) / self.done * (total - self.done)
                left = "  {}:{:02d} left".format(*divmod(round(seconds), 60))
            self.console.print(f"{self.run}: {what}  {self.done}/{total}{left}", highlight=False, soft_wrap=True)
