"""The files of a sweep's folder beside its figures and its page, written from results and read back.

In: results. Out: metrics.csv, metrics.parquet, means.csv, claims.json, digits.json and sweep.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jaxvae.config import RunConfig
from jaxvae.errors import CheckpointError, Remedy, UnknownPartError, quoted, reason
from jaxvae.formats import old_name
from jaxvae.results.losses import means_csv, metrics_csv, metrics_parquet, read_metrics
from jaxvae.results.results import PARTS, Results, final
from jaxvae.runs import Divergence, Outcome, load, run_folder, write

SWEEP = "sweep.json"
# what comes of reading a table that is not what it should be
DAMAGE = (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)


def divergence(outcome: Outcome) -> dict[str, Any]:
    """How tables mark a run that diverged; nothing for any other."""
    return {"diverged": outcome.diverged._asdict()} if outcome.diverged else {}


def _best(outcome: Outcome) -> dict[str, Any]:
    """The epoch whose parameters a run ends with, where that may not be the last."""
    return {} if outcome.best is None else {"best_epoch": outcome.best}


def claims_json(results: Results) -> str:
    """The claims with their numbers. Runs that diverged took no part in them, nor did those that were trained in
    another way than the original, which is said where there are some."""
    diverged = {one.config.name: one.diverged._asdict() for one in results.outcomes if one.diverged}
    claims = [_plain(claim) | {"certain": claim.certain} for claim in results.claims]
    content = {"dataset": results.data["name"], "fingerprint": results.data["fingerprint"], "claims": claims}
    if diverged:
        content["diverged"] = diverged
    if why := results.comparable[1]:
        content["checked"] = why
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """Named tuples within dictionaries as dictionaries."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return _plain(value._asdict()) if hasattr(value, "_asdict") else value


def write_tables(folder: Path, results: Results) -> None:
    """Everything but sweep.json; digits.json only where something was classified."""
    write(folder / "metrics.csv", metrics_csv(results))
    write(folder / "metrics.parquet", metrics_parquet(results))
    write(folder / "means.csv", means_csv(results))
    write(folder / "claims.json", claims_json(results))
    if results.digits is not None:
        write(folder / "digits.json", json.dumps(results.digits, ensure_ascii=False) + "\n")


def write_sweep(folder: Path, results: Results, about: dict[str, Any], sweep: dict[str, Any]) -> None:
    """sweep.json, if it is not there already with these results: it says when and where they were trained.

    Args:
        about: data, versions and device, see `jaxvae.results.about`.
        sweep: what else is to be said of how the runs were trained.
    """
    rows = [
        final(outcome)._asdict() | {"seconds": round(outcome.seconds, 1)} | divergence(outcome) | _best(outcome)
        for outcome in results.outcomes
    ]
    runs = [run.to_json() for run in results.runs]
    content = {"runs": runs, **sweep, **about, "results": rows}
    earlier = read_sweep(folder)
    if earlier and earlier[0] == results.runs and _unnamed(earlier[1].get("results")) == _unnamed(rows):
        if earlier[1]["results"] == rows:
            return
        content = earlier[1] | {"runs": runs, "results": rows}  # an earlier version called runs otherwise
    write(folder / SWEEP, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _unnamed(rows: Any) -> Any:
    """Results without their runs' names."""
    return [{**row, "name": None} for row in rows or []]


def read_sweep(folder: Path) -> tuple[list[RunConfig], dict[str, Any]] | None:
    """The runs in a folder's sweep.json and everything that it says; None if there is none.

    Raises:
        CheckpointError: it is damaged.
    """
    path = folder / SWEEP
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        runs = [RunConfig.from_json(run) for run in content["runs"]]
        if not runs or not isinstance(content.get("dataset", {}), dict):
            raise ValueError
        return runs, content
    except UnknownPartError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (OSError, RecursionError, ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{path} is damaged; {Remedy.START_ANEW}, or {Remedy.ANOTHER_FOLDER}") from None


def read_json(path: Path) -> Any:
    """A file's content, None if there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def read_results(folder: Path) -> Results:
    """The results in a finished sweep's folder: in its sweep.json, metrics.csv and digits.json; or in a run's folder.

    Raises:
        CheckpointError: the folder holds no finished sweep and no run, or a damaged table.
    """
    sweep = read_sweep(folder)
    if sweep is None and run_folder.run_around(folder) == folder.absolute():
        run = load(folder)
        return Results((run.outcome,), run.trained_on)
    if sweep is None:
        raise CheckpointError(f"{folder} holds no finished sweep: it has no {SWEEP}; {Remedy.STUDY} writes it")
    runs, content = sweep
    histories = read_metrics(folder)
    try:
        outcomes, now, digits = [], {}, read_json(folder / "digits.json")
        for run, row in zip(runs, content["results"], strict=True):
            if row["name"] != run.name and row["name"] != old_name(run):
                raise ValueError(f"{SWEEP} calls {run.name} {quoted(row['name'])}")
            parts, losses = histories[row["name"]]
            if row["epochs"] != len(losses) - 1:
                raise ValueError(f"{SWEEP} and metrics.csv differ in the epochs of {run.name}")
            diverged = Divergence(**row["diverged"]) if row.get("diverged") else None
            outcome = Outcome(run, row["parameters"], losses, row["seconds"], diverged, parts, row.get("best_epoch"))
            outcome.final[: len(PARTS)] = [row[part] for part in PARTS]  # of metrics.csv but the first six decimals
            outcomes.append(outcome)
            now[row["name"]] = run.name
        if digits:
            digits["runs"] = {now[name]: readings for name, readings in digits["runs"].items()}
        return Results(tuple(outcomes), content["dataset"], digits)
    except DAMAGE as error:
        raise damaged(folder, error) from None


def damaged(folder: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{folder} holds a damaged table ({reason(error)}); {Remedy.TRAIN_AGAIN}")
