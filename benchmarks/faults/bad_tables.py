"""Tables of a sweep, evaluations and published numbers that were damaged, or are not what they say.

In: nothing. Out: a case for each, as the commands that read them meet it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.faults.ground import MODEL, NESTED, RUN, Case, Command, changed, flip, with_value
from experiments import published
from jaxvae.commands import evaluate, report


def _table(name: str, what: str, change: Callable[[Any], Any] | str | bytes | None, says: str) -> Case:
    """A table of the sweep's folder, for the report; None: it is missing."""

    def prepare(folder: Path) -> Command:
        path = folder / "sweep" / name
        if callable(change):
            changed(path, change)
        elif change is None:
            path.unlink()
        else:
            path.write_bytes(change.encode() if isinstance(change, str) else change)
        return Command(report.main, ["sweep"])

    return Case(f"report: {name}: {what}", prepare, says)


def _read(what: str, change: Callable[[Any], Any] | str | bytes, says: str) -> Case:
    """An evaluation to be read again."""
    case = _table(f"{RUN.name}/evaluation.json", what, change, says)

    def prepare(folder: Path) -> Command:
        case.prepare(folder)
        return Command(evaluate.main, [MODEL, "--read"])

    return Case(f"evaluate --read: {what}", prepare, says)


def _published(what: str, content: str, says: str = "published.json is damaged; move it aside") -> Case:
    def prepare(folder: Path) -> Command:
        (folder / "sweep" / "published.json").write_text(content)
        return Command(published.main, ["--no-training", "--out", "sweep"])

    return Case(f"published.json: {what}", prepare, says)


def _spoilt(run: Path) -> Command:
    flip(run / MODEL / "checkpoints/1/history.json")
    return Command(report.main, ["sweep"])


HEAD = "run,architecture,latent_dim,seed,epoch,split,reconstruction,kl,loss\n"
ROW = f"{RUN.name},linear,2,0,0,test,1,1,2\n"
CASES = [
    _table("sweep.json", "no JSON", "{", "sweep.json is damaged"),
    _table("sweep.json", "not UTF-8", b"\xff", "sweep.json is damaged"),
    _table("sweep.json", "nested without end", NESTED, "sweep.json is damaged"),
    _table("sweep.json", "no runs", with_value("runs", []), "sweep.json is damaged"),
    _table("sweep.json", "a run out of the folder", with_value("runs", 0, "vae", "encoder", "part", "../../x"),
           "sweep.json: there is no part named '../../x'"),
    _table("sweep.json", "a dataset that is a list", with_value("dataset", ["mnist"]), "sweep.json is damaged"),
    _table("sweep.json", "markup for a run", with_value("results", 0, "name", "<script>alert(1)</script>"),
           "damaged table .ValueError: sweep.json calls linear-2"),
    _table("sweep.json", "a number without end", with_value("results", 0, "parameters", 10**400), "damaged table"),
    _table("sweep.json", "markup for a count", with_value("dataset", "train_images", "<b>"), "damaged table"),
    _table("sweep.json", "a time in words", with_value("wall_seconds", "long"), "damaged table"),
    _table("metrics.csv", "missing", None, "metrics.csv is missing"),
    _table("metrics.csv", "not UTF-8", b"\xff", "metrics.csv is damaged"),
    _table("metrics.csv", "too few columns", f"{HEAD}{RUN.name},linear,2,0,0\n", "metrics.csv is damaged"),
    _table("metrics.csv", "too many columns", f"{HEAD}{ROW[:-1]},3\n", "metrics.csv is damaged"),
    _table("metrics.csv", "epoch −1", f"{HEAD}{ROW}{ROW.replace('0,test', '-1,test')}", "metrics.csv is damaged"),
    _table("metrics.csv", "another split", f"{HEAD}{RUN.name},linear,2,0,0,epoch,1,1,2\n", "metrics.csv is damaged"),
    _table("metrics.csv", "a NUL", f"{HEAD}{RUN.name},linear,2,0,0,te\0st,1,1,2\n", "metrics.csv is damaged"),
    _table("metrics.csv", "an endless field", f'{HEAD}"{"x" * 200_000}', "metrics.csv is damaged"),
    _table("metrics.csv", "another run", f"{HEAD}linear-3,linear,3,0,0,test,1,1,2\n", "damaged table"),
    _table("claims.json", "no JSON", "[", "damaged table"),
    _table("claims.json", "nested without end", NESTED, "damaged table"),
    _table("claims.json", "numbers for claims", '{"claims": [1, 2]}', "damaged table"),
    _table("digits.json", "no confusion", with_value("runs", RUN.name, {}), "damaged table"),
    _table("digits.json", "a confusion of words", with_value("runs", RUN.name, "confusion", [["<b>"]]), "damaged"),
    _table(f"{RUN.name}/evaluation.json", "a record of strings", with_value("records", 0, "value", "<b>"),
           "evaluation.json is damaged"),
    _table(f"{RUN.name}/evaluation.json", "nested without end", NESTED, "evaluation.json is damaged"),
    Case("report: a damaged checkpoint", _spoilt, "history.json is damaged: its SHA-256 is not the recorded one"),
    _read("no JSON", "{", "evaluation.json cannot be used"),
    _read("not UTF-8", b"\xff", "evaluation.json cannot be used"),
    _read("a list", "[]", "evaluation.json cannot be used"),
    _read("nested without end", NESTED, "evaluation.json cannot be used .RecursionError"),
    _read("no records", with_value("records", []), "no record to put into a table"),
    _read("an unknown metric", with_value("records", 0, "metric", "FID"), "not a record of this version of jaxvae"),
    _read("a metric that is a list", with_value("records", 0, "metric", ["L_K"]), "not a record of this version"),
    _read("a bound without its K", with_value("records", 0, "samples", None), "not a record of this version"),
    _read("a value in words", with_value("records", 0, "value", "low"), "not a record of this version"),
    _read("KL in words", with_value("kl_per_dimension", ["low"]), "kl_per_dimension holds other things than numbers"),
    _read("no remarks", lambda content: {k: v for k, v in content.items() if k != "remarks"}, "KeyError: 'remarks'"),
    _published("a list", "[]"),
    _published("nested without end", NESTED),
    _published("an unknown row", '{"gan": {"records": []}}'),
    _published("of no epochs", json.dumps({"vae": {"epochs": 1, "of_epochs": 0, "records": []}})),
]  # fmt: skip
