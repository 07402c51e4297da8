"""What a search writes when it has ended: its ranking as a table, two figures, and a page.

In: a search, its rungs, the runs in its folder. Out: search.csv, figures/*.png, report.html; a summary for a console.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from rich.table import Column, Table

from jaxvae import __version__, results
from jaxvae.figures import halving as figures
from jaxvae.page import document, image, number
from jaxvae.results import Words
from jaxvae.runs import write as write_file
from jaxvae.search.halving import Rank
from jaxvae.search.search import Rung, Search
from jaxvae.study import load
from jaxvae.system import machine

PAGE = "report.html"
SHOWN = 20  # settings of a summary


class Standing(NamedTuple):
    """How far a setting came."""

    rank: Rank  # at its last rung
    epochs: int
    place: int  # among all, 0 the best: first by how long it was trained


def standings(rungs: Sequence[Rung]) -> list[Standing]:
    """Of all settings, from the best."""
    found: dict[str, tuple[Rank, int]] = {}
    for rung in reversed(rungs):
        for rank in rung.ranks:
            found.setdefault(rank.setting, (rank, rung.epochs))
    return [Standing(*one, place) for place, one in enumerate(found.values())]


class Outputs:
    """The files of a search that has ended."""

    def __init__(self, search: Search, rungs: Sequence[Rung]):
        self.search, self.rungs, self.standings = search, rungs, standings(rungs)
        runs = [search.settings[one.rank.setting] for one in self.standings]
        about = results.about(search.dataset)["dataset"]
        self.words, self.caption = Words.of(about), results.caption(about, runs, shared=True)
        self.table = results.AxisTable(runs)
        self.labels = results.labels(runs)
        self.axes = self._axes(runs)

    def _axes(self, runs: Sequence[Any]) -> dict[str, list[Any]]:
        """By title the values that differ, in the order of the standings."""
        own = {"network": [run.architecture for run in runs], "latent size": [run.latent_dim for run in runs]}
        for name in self.table.varying:
            values = [row[name].value if name in row else "–" for row in self.table.rows]
            own[self.table.axes[name].title] = values
        return {title: values for title, values in own.items() if len(set(map(str, values))) > 1}

    # ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self) -> Path:
        """All of them; returns the page's path."""
        folder = self.search.folder
        drawn = {"rungs": self._rungs_figure()}
        if self.axes:
            losses, places = zip(*((one.rank.loss, one.place) for one in self.standings), strict=True)
            drawn["values"] = figures.parallel(self.axes, losses, places, self.caption, self.words)
        with machine.storage(folder):
            (folder / "figures").mkdir(exist_ok=True)
            pictures = {name: _png(figure) for name, figure in drawn.items()}
            for name, picture in pictures.items():
                write_file(folder / "figures" / f"{name}.png", picture)
            write_file(folder / "search.csv", self.csv())
            write_file(folder / PAGE, self._page(pictures))
        return folder / PAGE

    def csv(self) -> str:
        """A row for each setting and rung that it reached, from the best at the end; losses in nats."""
        file = io.StringIO()
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["setting", *self.axes, "epochs", "place", "loss", "behind", "error", "tied", "goes_on"])
        for i, standing in enumerate(self.standings):
            values = [axis[i] for axis in self.axes.values()]
            for rung in self.rungs:
                for place, rank in enumerate(rung.ranks):
                    if rank.setting == standing.rank.setting:
                        numbers = [f"{value:.6f}" for value in (rank.loss, rank.behind, rank.error)]
                        rows.writerow(
                            [rank.setting, *values, rung.epochs, place + 1, *numbers, rank.tied, rank.goes_on]
                        )
        return file.getvalue()

    def _rungs_figure(self) -> Figure:
        curves = []
        for standing in self.standings:
            losses = np.mean([self._validation(standing.rank.setting, seed) for seed in self.search.seeds], 0)
            if len(losses):
                curves.append(figures.Curve(np.arange(1, len(losses) + 1), losses, standing.place))
        return figures.rungs(curves, self.search.levels, self.caption, self.words)

    def _validation(self, setting: str, seed: int) -> np.ndarray:
        """Validation −ELBO after each epoch, nats; not a number from where a run diverged."""
        epochs = next(one.epochs for one in self.standings if one.rank.setting == setting)
        metrics = load(self.search.folder / self.search.run_of(setting, seed, epochs).name).metrics[1:]
        losses = [entry["validation"]["reconstruction"] + entry["validation"]["kl"] for entry in metrics]
        return np.array([*losses, *[math.nan] * (epochs - len(losses))])

    def _page(self, pictures: dict[str, bytes]) -> str:
        best, samples = self.standings[0].rank, self.search.samples
        trained = self.trained
        values = {
            "settings": len(self.standings), "caption": self.caption, "words": self.words,
            "bound": "" if samples == 1 else f" (L_K with K = {samples:,})",
            "best": {"about": self.labels[best.setting], "loss": number(best.loss)},
            "tied": [self.labels[rank.setting] for rank in self.rungs[-1].ranks[1:] if rank.tied],
            "trained": trained, "all": len(self.standings) * len(self.search.seeds) * self.search.levels[-1],
            "keep": self.search.keep, "seeds": len(self.search.seeds), "examples": self.examples,
            "rungs": [
                {"epochs": rung.epochs, "settings": len(rung.ranks), "go_on": sum(rank.goes_on for rank in rung.ranks),
                 "best": self.labels[rung.ranks[0].setting], "loss": number(rung.ranks[0].loss)}
                for rung in self.rungs
            ],
            "rungs_figure": image(pictures["rungs"]),
            "values_figure": image(pictures["values"]) if "values" in pictures else "",
            "headings": ["setting", "epochs", "validation −ELBO", "behind the best", "± error"],
            "rows": [
                {"about": self.labels[one.rank.setting], "cells": [
                    (one.epochs, str(one.epochs)), *(_cell(v) for v in (one.rank.loss, one.rank.behind, one.rank.error))
                ]}
                for one in self.standings
            ],
            "path": str(self.search.winner(self.rungs).folder), "version": __version__,
        }  # fmt: skip
        return document("search.html", ["page.js"], {"number": number}, values)

    @property
    def trained(self) -> int:
        """Epochs of all runs together."""
        return sum(one.epochs for one in self.standings) * len(self.search.seeds)

    @property
    def examples(self) -> int:
        return self.search.compared_examples

    # ── a console ────────────────────────────────────────────────────────────────────────────────────────────────────

    def summary(self) -> Table:
        """The settings of the last rung and the best of those before."""
        title = f"Validation −ELBO, nats per {self.words.example}, at each setting's last rung – {self.caption}"
        numbers = ["epochs", "loss", "behind the best", "± error"]
        table = Table("setting", *(Column(one, justify="right") for one in numbers), title=title, title_justify="left")
        for one in self.standings[:SHOWN]:
            mark = "" if one.place == 0 or not one.rank.tied else " (tied)"
            cells = [_cell(value)[1] for value in (one.rank.loss, one.rank.behind, one.rank.error)]
            table.add_row(self.labels[one.rank.setting] + mark, str(one.epochs), *cells)
        return table


def _cell(value: float) -> tuple[float | None, str]:
    return (value, number(value)) if math.isfinite(value) else (None, "diverged")


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
