"""How a sweep is coming along: a live display on a terminal, plain lines elsewhere.

In: what each epoch reports. Out: text.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

from jaxvae.config import RunConfig
from jaxvae.workers import Epoch


class Display:
    """Shows epochs, losses, images per second and the time left; use it as a context.

    Args:
        runs: all runs of the sweep.
        done: epochs that a run had behind it when the sweep was taken up again.
        images: training images in an epoch.
    """

    def __init__(self, console: Console, runs: Sequence[RunConfig], done: Mapping[str, int], images: int):
        self.console, self.images = console, images
        self.runs = {run.name: run for run in runs}
        self.epochs = {run.name: done.get(run.name, 0) for run in runs}
        self.seconds: dict[str, list[float]] = defaultdict(list)  # by architecture
        self.ends = {run.name: run.epochs for run in runs}
        self.started = time.perf_counter()
        self.width = max(map(len, self.runs), default=0)
        self.live = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=16),
            TextColumn("{task.fields[text]}"), console=console,
        ) if console.is_terminal else None  # fmt: skip
        self.bars: dict[str, TaskID] = {}

    def __enter__(self) -> Display:
        if self.live:
            self.live.start()
            self.overall = self.live.add_task(
                "all runs", total=self.total, completed=sum(self.epochs.values()), text="starting: compiling"
            )
        return self

    def __exit__(self, *_) -> None:
        if self.live:
            self.live.stop()

    @property
    def total(self) -> int:
        return sum(self.ends.values())

    def epoch(self, report: Epoch) -> None:
        name = report.run.name
        self.epochs[name] = report.epoch
        if report.diverged is not None:
            self.ends[name] = report.epoch
        rate = ""
        if report.train is not None:
            self.seconds[report.run.model.architecture].append(report.seconds)
            rate = f"{self.images / report.seconds:,.0f} images/s"
        test = report.test
        # of other objectives the loss is no sum of the two
        parts = ("= ", " +", "") if report.run.train.objective == "elbo" and report.run.beta == 1 else ("(", ",", ")")
        before, between, after = parts
        losses = f"test {test.loss:6.2f} {before}{test.reconstruction:6.2f}{between} {test.kl:5.2f} KL{after} nats"
        if report.train is not None:
            losses = f"train {report.train.loss:6.2f}  {losses}"
        if report.diverged is not None:
            losses = f"diverged at step {report.diverged:,}: loss or state not finite; keeps epoch {report.epoch - 1}"
        behind = sum(self.epochs.values())
        if self.live is None:
            head = f"[{behind:3d}/{self.total}] {name:{self.width}}  epoch {report.epoch:2d}/{report.run.epochs}"
            self.console.print(
                f"{head}  {losses}  {rate}  {self._left()}".rstrip(), highlight=False, markup=False, soft_wrap=True
            )
            return
        if name not in self.bars:
            self.bars[name] = self.live.add_task(f"{name:{self.width}}", total=report.run.epochs, text="")
        text = f"{report.epoch}/{report.run.epochs}  {losses}  {rate}"
        self.live.update(self.bars[name], completed=report.epoch, text=text)
        self.live.update(
            self.overall, completed=behind, total=self.total, text=f"{behind}/{self.total} epochs  {self._left()}"
        )

    def _left(self) -> str:
        """The time that the epochs ahead will take if they go on, and side by side, as those behind."""
        known = [second for seconds in self.seconds.values() for second in seconds]
        if not known:
            return ""
        ahead = sum(
            (self.ends[name] - self.epochs[name]) * fmean(self.seconds.get(run.model.architecture) or known)
            for name, run in self.runs.items()
        )
        elapsed = time.perf_counter() - self.started
        minutes, seconds = divmod(round(elapsed * ahead / sum(known)), 60)
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
