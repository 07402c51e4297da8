"""What is printed at the end of a sweep: losses of its runs, or of many runs their means, and the original's claims.

In: what came of each run, the claims, a caption. Out: tables for the console.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from jaxvae.config import RunConfig
from jaxvae.results.claims import Claim, Mean
from jaxvae.results.grids import Setting, comparable, large, ranked
from jaxvae.results.tables import final, grouped, labels
from jaxvae.runs import Outcome

ROWS = 40  # of a table of means; the file has them all


def tables(outcomes: Sequence[Outcome], claims: Sequence[Claim], caption: str) -> list[Table]:
    found = grouped(outcomes)
    losses = of_settings(found, caption) if large(found) else of_runs(outcomes, caption)
    return [losses, of_claims(claims, [outcome.config for outcome in outcomes], caption)]


def of_runs(outcomes: Sequence[Outcome], caption: str) -> Table:
    table = Table(title=f"Test losses, nats per image – {caption}", title_justify="left")
    table.add_column("run")
    for heading in ("parameters", "epochs", "reconstruction", "KL", "loss", "sum over 100"):
        table.add_column(heading, justify="right", no_wrap=heading == "epochs")
    for outcome, last in zip(outcomes, map(final, outcomes), strict=True):
        losses = f"{last.reconstruction:.2f}", f"{last.kl:.2f}", f"{last.loss:.2f}", f"{last.batch_sum:,.0f}"
        ended = f"{last.epochs}, then {outcome.diverged}" if outcome.diverged else str(last.epochs)
        table.add_row(last.name, f"{last.parameters:,}", ended, *losses)
    return table


def of_settings(found: Sequence[Setting], caption: str) -> Table:
    """Those with the lowest −ELBO, if there are too many for a screen."""
    shown = ranked(found)[:ROWS] if len(found) > ROWS else found
    some = f"\nthe {ROWS} with the lowest −ELBO of {len(found):,} settings; means.csv has all" if shown != found else ""
    title = f"Test losses, nats per image, means over seeds with 95 % intervals – {caption}{some}"
    table = Table(title=title, title_justify="left")
    table.add_column("setting")
    for heading in ("seeds", "reconstruction", "KL", "−ELBO", "loss"):
        table.add_column(heading, justify="right")
    called = labels([setting.config for setting in found])
    for setting in shown:
        losses = [written(setting.mean(part)) for part in ("reconstruction", "kl", "negative_elbo", "loss")]
        table.add_row(called[setting.config.name], counted(setting), *losses)
    return table


def counted(setting: Setting) -> str:
    """How many seeds a mean is over."""
    lost = len(setting.diverged)
    return f"{setting.seeds - lost}, {lost} diverged" if lost else str(setting.seeds)


def written(mean: Mean | None) -> str:
    if mean is None:
        return "–"
    return f"{mean.mean:.2f}" + (f" ± {mean.interval[1] - mean.mean:.2f}" if mean.interval else "")


def of_claims(claims: Sequence[Claim], configs: Sequence[RunConfig], caption: str) -> Table:
    _, chosen = comparable(configs)
    title = f"The original experiment's claims about MNIST, on {caption}" + (f"; {chosen}" if chosen else "")
    table = Table(title=title, title_justify="left")
    for heading in ("", "claim", "verdict", "holds in"):
        table.add_column(heading)
    for claim in claims:
        table.add_row(str(claim.number), claim.statement, claim.verdict, claim.holds)
    return table
