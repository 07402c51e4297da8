"""What is printed at the end of a sweep: losses of its runs, or of many runs their means, and the original's claims.

In: results. Out: tables for the console.
"""

from __future__ import annotations

from rich.table import Column, Table

from jaxvae.results.claims import Mean
from jaxvae.results.results import Results
from jaxvae.results.settings import ranked

MAX_ROWS = 40  # of a table of means; the file has them all


def summary(results: Results) -> list[Table]:
    losses = table_of_settings(results) if results.too_many else table_of_runs(results)
    return [losses, table_of_claims(results)] if results.claims else [losses]


def table_of_runs(results: Results) -> Table:
    numbers = ["parameters", "epochs", "reconstruction", "KL", "loss"]
    original = bool(results.claims)  # which reports sums over a batch
    title = f"Test losses, nats per {results.words.example} – {results.caption()}"
    table = _table(title, "run", *numbers, *(["sum over 100"] if original else []))
    table.columns[2].no_wrap = True
    for outcome, last in zip(results.outcomes, results.finals.values(), strict=True):
        losses = [f"{last.reconstruction:.2f}", f"{last.kl:.2f}", f"{last.loss:.2f}"]
        losses += [f"{last.batch_sum:,.0f}"] if original else []
        best = "" if outcome.best in (None, last.epochs) else f", best {outcome.best}"
        ended = f"{last.epochs}{best}, then {outcome.diverged}" if outcome.diverged else f"{last.epochs}{best}"
        table.add_row(last.name, f"{last.parameters:,}", ended, *losses)
    return table


def table_of_settings(results: Results) -> Table:
    """The settings with the lowest −ELBO, if there are too many for a screen."""
    settings, count = results.settings, len(results.settings)
    title = f"Test losses, nats per {results.words.example}, means over seeds with 95 % intervals – {results.caption()}"
    if count > MAX_ROWS:
        settings = ranked(settings)[:MAX_ROWS]
        title += f"\nthe {MAX_ROWS} with the lowest −ELBO of {count:,} settings; means.csv has all"
    table = _table(title, "setting", "seeds", "reconstruction", "KL", "−ELBO", "loss")
    for setting in settings:
        losses = [_with_interval(setting.mean(part)) for part in ("reconstruction", "kl", "negative_elbo", "loss")]
        diverged = f", {len(setting.diverged)} diverged" if setting.diverged else ""
        table.add_row(results.labels[setting.config.name], f"{len(setting.finite)}{diverged}", *losses)
    return table


def _table(title: str, name: str, *numbers: str) -> Table:
    return Table(name, *(Column(heading, justify="right") for heading in numbers), title=title, title_justify="left")


def _with_interval(mean: Mean | None) -> str:
    if mean is None:
        return "–"
    return f"{mean.mean:.2f}" + (f" ± {mean.interval[1] - mean.mean:.2f}" if mean.interval else "")


def table_of_claims(results: Results) -> Table:
    _, why = results.comparable
    title = f"The original experiment's claims about MNIST, on {results.caption()}" + (f"; {why}" if why else "")
    table = Table("", "claim", "verdict", "holds in", title=title, title_justify="left")
    for claim in results.claims:
        table.add_row(str(claim.number), claim.statement, claim.verdict, claim.holds)
    return table
