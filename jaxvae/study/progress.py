"""How a sweep is coming along: a live display on a terminal, plain lines elsewhere.

In: what each epoch reports. Out: text.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

from jaxvae.config import RunConfig
from jaxvae.training import Epoch

MAX_SHOWN_RUNS = 40  # of more, only one now and then has its line
MAX_SHOWN_EPOCHS = 100  # of a run; of more, a line now and then
ROUNDING = 0.005  # nats, that are not shown
SECONDS = 5  # between two such lines


class _Live:
    """A display that is live on a terminal, as long as its context lasts; elsewhere `live` is None."""

    def __init__(self, console: Console, *columns: ProgressColumn):
        common = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=16)
        self.console = console
        self.live = Progress(*common, *columns, console=console) if console.is_terminal else None

    def __enter__(self):
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_) -> None:
        if self.live:
            self.live.stop()


class Display(_Live):
    """Shows epochs, losses, images per second and the time left; use it as a context.

    Of many runs not each: a bar an architecture on a terminal; elsewhere the latest now and then. Of runs with many
    epochs, elsewhere than on a terminal, a line now and then for each.

    Args:
        runs: all runs of the sweep.
        done: epochs that a run had behind it when the sweep was taken up again.
        images: training images in an epoch.
    """

    def __init__(self, console: Console, runs: Sequence[RunConfig], done: Mapping[str, int], images: int):
        super().__init__(console, TextColumn("{task.fields[text]}"))
        self.images, self.many = images, len(runs) > MAX_SHOWN_RUNS
        self.long = max((run.epochs for run in runs), default=0) > MAX_SHOWN_EPOCHS
        self.epochs = {run.name: done.get(run.name, 0) for run in runs}
        self.total = sum(run.epochs for run in runs)
        self.behind = sum(self.epochs.values())
        self.ahead: Counter[str] = Counter()  # epochs, by architecture
        self.each: Counter[str] = Counter()  # of them, with those behind
        for run in runs:
            self.ahead[run.architecture] += run.epochs - self.epochs[run.name]
            self.each[run.architecture] += run.epochs
        self.trained: Counter[str] = Counter()  # epochs that took time, by architecture
        self.seconds: dict[str, float] = defaultdict(float)  # that they took, by architecture
        self.started = time.perf_counter()
        self.said: dict[str, float] = defaultdict(lambda: -math.inf)  # when, of each run, or of all where they are many
        self.width = max(map(len, self.epochs), default=0)
        self.bars: dict[str, TaskID] = {}
        self.group: tuple[tuple[str, ...], int] = (), 0  # the last one that was reported, and how many runs it has

    def __enter__(self):
        super().__enter__()
        if self.live:
            self.overall = self.live.add_task(
                "all runs", total=self.total, completed=self.behind, text="starting: compiling"
            )
        return self

    def epoch(self, report: Epoch) -> None:
        run, architecture = report.run, report.run.architecture
        came = report.epoch - self.epochs[run.name]
        lost = run.epochs - report.epoch if report.ended else 0
        self.epochs[run.name] = report.epoch
        self.behind += came
        self.total -= lost
        self.each[architecture] -= lost
        self.ahead[architecture] -= came + lost
        if report.train is not None:
            self.trained[architecture] += 1
            self.seconds[architecture] += report.seconds
        text = self._text(report)
        if self.live is None:
            now, last = time.perf_counter(), self.behind == self.total
            of = "all" if self.many else run.name
            now_and_then = self.many or self.long
            if not now_and_then or last or report.ended or now - self.said[of] >= SECONDS:
                self.said[of] = now
                head = f"[{self.behind:3d}/{self.total}] {run.name:{self.width}}  epoch {report.epoch:2d}/{run.epochs}"
                line = f"{head}  {text}  {self._left()}".rstrip()
                self.console.print(line, highlight=False, markup=False, soft_wrap=True)
            return
        if self.many:
            name, total, where = architecture, self.each[architecture], run.name
            completed = total - self.ahead[architecture]
        else:
            name, total, where = f"{run.name:{self.width}}", run.epochs, f"{report.epoch}/{run.epochs}"
            completed = report.epoch
        if name not in self.bars:
            self.bars[name] = self.live.add_task(name, total=total, text="")
        self.live.update(self.bars[name], total=total, completed=completed, text=f"{where}  {text}")
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
        stopped = f"; stopped, epoch {report.state.watch.epoch} was the best" if report.stopped and report.state else ""
        rate = self.images * max(1, self.group[1]) / report.seconds
        return f"train {report.train.loss:6.2f}  {losses}  {rate:,.0f} images/s{stopped}"

    def _left(self) -> str:
        """The time that the epochs ahead will take if they go on, and side by side, as those behind."""
        if not self.seconds:
            return ""
        behind = sum(self.seconds.values())
        pace = {name: seconds / self.trained[name] for name, seconds in self.seconds.items()}
        average = behind / self.trained.total()
        ahead = sum(epochs * pace.get(name, average) for name, epochs in self.ahead.items())
        elapsed = time.perf_counter() - self.started
        minutes, seconds = divmod(round(elapsed * ahead / behind), 60)
        return f"{minutes}:{seconds:02d} left"


class Stages(_Live):
    """Shows how an evaluation is coming along, stage after stage; use it as a context.

    On a terminal a bar for each stage, elsewhere a line at its start, at each tenth of it and at its end.
    """

    def __init__(self, console: Console):
        super().__init__(console, TextColumn("{task.completed}/{task.total}"), TimeRemainingColumn())
        self.run, self.tasks, self.done, self.said, self.started = "", {}, 0, 0, 0.0

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
