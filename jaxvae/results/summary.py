"""What is printed at the end of a sweep: losses of its runs, or of many runs their means, and the original's claims.

In: results. Out: tables for the console.
"""

from __future__ import annotations

from rich.table import Table

from jaxvae.results.claims import Mean
from jaxvae.results.results import Results
from jaxvae.results.settings import Setting, ranked

MAX_ROWS = 40  # of a table of means; the file has them all


def summary(results: Results) -> list[Table]:
    return [table_of_settings(results) if results.too_many else table_of_runs(results), table_of_claims(results)]


def table_of_runs(results: Results) -> Table:
    table = Table(title=f"Test losses, nats per image – {results.caption()}", title_justify="left")
    table.add_column("run")
    for heading in ("parameters", "epochs", "reconstruction", "KL", "loss", "sum over 100"):
        table.add_column(heading, justify="right", no_wrap=heading == "epochs")
    for outcome, last in zip(results.outcomes, results.finals.values(), strict=True):
        losses = f"{last.reconstruction:.2f}", f"{last.kl:.2f}", f"{last.loss:.2f}", f"{last.batch_sum:,.0f}"
        ended = f"{last.epochs}, then {outcome.diverged}" if outcome.diverged else str(last.epochs)
        table.add_row(last.name, f"{last.parameters:,}", ended, *losses)
    return table


def table_of_settings(results: Results) -> Table:
    """The settings with the lowest −ELBO, if there are too many for a screen."""
    settings, count = results.settings, len(results.settings)
    title = f"Test losses, nats per image, means over seeds with 95 % intervals – {results.caption()}"
    if count > MAX_ROWS:
        settings = ranked(settings)[:MAX_ROWS]
        title += f"\nthe {MAX_ROWS} with the lowest −ELBO of {count:,} settings; means.csv has all"
    table = Table(title=title, title_justify="left")
    table.add_column("setting")
    for heading in ("seeds", "reconstruction", "KL", "−ELBO", "loss"):
        table.add_column(heading, justify="right")
    for setting in settings:
        losses = [_with_interval(setting.mean(part)) for part in ("reconstruction", "kl", "negative_elbo", "loss")]
        table.add_row(results.labels[setting.config.name], _seeds(setting), *losses)
    return table


def _seeds(setting: Setting) -> str:
    """How many seeds a mean is over."""
    diverged = len(setting.diverged)
    return f"{setting.seeds - diverged}, {diverged} diverged" if diverged else str(setting.seeds)


def _with_interval(mean: Mean | None) -> str:
    if mean is None:
        return "–"
    return f"{mean.mean:.2f}" + (f" ± {mean.interval[1] - mean.mean:.2f}" if mean.interval else "")


def table_of_claims(results: Results) -> Table:
    _, why = results.comparable
    title = f"The original experiment's claims about MNIST, on {results.caption()}" + (f"; {why}" if why else "")
    table = Table(title=title, title_justify="left")
    for heading in ("", "claim", "verdict", "holds in"):
        table.add_column(heading)
    for claim in results.claims:
        table.add_row(str(claim.number), claim.statement, claim.verdict, claim.holds)
    return table
