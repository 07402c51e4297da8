"""A picture of training speeds: rows of the table in, a Matplotlib figure out."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.speeds import Speed

COLOURS = {"jaxvae": "#1f5f99", "PyTorch": "#e08214", "stock Flax": "0.6"}
LOG_FROM = 8.0  # the slowest over the fastest, from which on a linear axis hides the fast ones


def speed_figure(found: Mapping[str, Sequence[Speed]], machine: str, batch: int) -> Figure:
    """A panel for each architecture: the median of each contender, fastest on top, and the range of its rounds."""
    heights = [len(rows) + 1.6 for rows in found.values()]
    figure = Figure(figsize=(10.5, 0.9 + 0.31 * sum(heights)), dpi=110, layout="constrained")
    panels = figure.subplots(len(found), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (architecture, rows) in zip(panels, found.items(), strict=True):
        rows = sorted(rows, key=lambda row: row.timed.median)
        medians = [row.timed.median for row in rows]
        highest = max(max(row.timed.ms) for row in rows)
        spread = [
            [row.timed.median - min(row.timed.ms) for row in rows],
            [max(row.timed.ms) - row.timed.median for row in rows],
        ]
        colours = [COLOURS[row.timed.contender.family] for row in rows]
        ax.barh(range(len(rows)), medians, 0.7, color=colours, xerr=spread, error_kw={"lw": 1.2, "capsize": 2.5})
        for y, row in enumerate(rows):
            at, text = (max(row.timed.ms), y), _three_digits(row.timed.median)
            ax.annotate(text, at, (5, 0), textcoords="offset points", va="center", fontsize=9)
        ax.set_yticks(range(len(rows)), [row.timed.contender.name for row in rows], fontsize=9)
        ax.invert_yaxis()
        if logarithmic := highest / medians[0] >= LOG_FROM:
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.set_xlim(min(min(row.timed.ms) for row in rows) / 2, highest * 2)
        else:
            ax.set_xlim(0, highest * 1.12)
        ax.set_xlabel("ms a training step of one model" + (", logarithmic" if logarithmic else ""))
        ax.set_title(f"{architecture} VAE", fontsize=11)
        ax.grid(axis="x", alpha=0.25)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    families = dict.fromkeys(row.timed.contender.family for rows in found.values() for row in rows)
    handles = [Patch(color=COLOURS[family], label=family) for family in families]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.suptitle(f"A training step on {machine}, batch {batch}: bars are medians, lines from min to max")
    return figure


def _three_digits(value: float) -> str:
    return f"{value:,.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"
