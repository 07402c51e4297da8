"""How far a run has come: its losses epoch by epoch, where it diverged, who was in its program.

In: what each epoch reports. Out: plain data, for a checkpoint to hold and for a sweep to go on from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxvae.objectives import Losses
from jaxvae.schedules import has_schedule
from jaxvae.training import Epoch, engine


class Divergence(NamedTuple):
    """Epoch and step of the first loss or state that is not finite."""

    epoch: int  # the first of which nothing is kept
    step: int  # the optimiser step, counted from 1, whose loss or whose result was not finite

    def __str__(self) -> str:
        return f"diverged in epoch {self.epoch}, step {self.step:,}"


class Past(NamedTuple):
    """What a run has behind it, without what is large; see `Progress`."""

    history: list[dict[str, Any]]
    diverged: Divergence | None = None
    lane_runs: tuple[str, ...] = ()

    @property
    def epoch(self) -> int:
        return self.history[-1]["epoch"]

    @property
    def ended(self) -> bool:
        """Whether it diverged, or stopped before its last epoch."""
        return self.diverged is not None or self.history[-1].get("stopped", False)


class Progress(NamedTuple):
    """How far a run has come."""

    state: engine.TrainState
    history: list[dict[str, Any]]  # see `history_entry`, epoch 0 first
    reconstructions: np.ndarray  # [epoch, split (train, test), image, *shape], stored as images are
    diverged: Divergence | None = None  # right after the last epoch of the history, if it did
    lane_runs: tuple[str, ...] = ()  # if it was vmapped in the last epoch, the run in each lane, itself among them

    @property
    def epoch(self) -> int:
        return self.history[-1]["epoch"]

    @property
    def past(self) -> Past:
        return Past(self.history, self.diverged, self.lane_runs)


def metrics_lines(progress: Progress | Past) -> list[str]:
    """What metrics.jsonl holds: a line an epoch, and one that says where the run diverged, if it did."""
    mark = [{"diverged": progress.diverged._asdict()}] if progress.diverged else []
    return [json.dumps(line) + "\n" for line in [*progress.history, *mark]]


def best(history: Sequence[dict[str, Any]]) -> int:
    """The epoch with the lowest loss, see `criterion`."""

    def loss(entry: dict[str, Any]) -> float:
        value = criterion(entry)
        return value if math.isfinite(value) else math.inf

    return min(history, key=loss)["epoch"]


def criterion(entry: Mapping[str, Any]) -> float:
    """What epochs of a run are compared by: the loss on the validation split, or where there is none on the test split;
    where that is another function from epoch to epoch, as a schedule changes its weights, −ELBO."""
    return entry.get("criterion", entry.get("validation", entry["test"])["loss"])


def history_entry(report: Epoch) -> dict[str, Any]:
    """What a history holds of an epoch: losses of both splits in nats per image, seconds; with a validation split its
    losses, and of a run that may stop early the epoch whose parameters it has kept, and whether it stopped."""
    losses = {"train": losses_json(report.train), "test": losses_json(report.test)}
    changes = has_schedule(report.run.objective) or has_schedule(report.run.vae)
    decisive = report.test if report.validation is None else report.validation
    own = {"criterion": float(decisive.reconstruction) + float(decisive.kl)} if changes else {}
    entry = {"epoch": report.epoch, **losses, **own, "seconds": round(report.seconds, 3)}
    if report.validation is not None:
        entry["validation"] = losses_json(report.validation)
    if report.state is not None and report.state.watch is not None:
        entry |= {"best": int(report.state.watch.epoch), "stopped": report.stopped}
    return entry


def losses_json(losses: Losses | None) -> dict[str, float] | None:
    """Losses as a history holds them: the named ones, then the objective's own terms."""
    if losses is None:
        return None
    named = {name: getattr(losses, name) for name in Losses._fields if name != "terms"} | dict(losses.terms)
    return {name: float(value) for name, value in named.items()}
