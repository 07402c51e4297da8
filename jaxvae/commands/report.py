"""The command that writes a sweep's page anew, with what evaluations have found since.

In: a sweep's folder. Out: an exit code; report.html in the folder.
"""

from __future__ import annotations

import argparse

from jaxvae.commands import data_options
from jaxvae.commands.advice import command_line
from jaxvae.commands.command import Parser, add_debug, guarded, set_environment, start_jax
from jaxvae.errors import InputError
from jaxvae.system import as_path

SUMMARY = "writes report.html: a sweep's tables and curves, and models to explore, in one file"
EXAMPLES = """\
examples:
  %(prog)s results/mnist
      results/mnist/report.html, with all that the folder has: evaluations, checkpoints
  %(prog)s results/mnist-seeds --data-dir ~/data
      test images from ~/data/mnist; of several seeds the first one's models travel in the page
"""


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=command_line("report"),
        description="Writes report.html into a sweep's folder: one file with its tables, curves, reconstructions and\n"
        "a latent explorer, which opens in a browser by double click, without a server or a network. What\n"
        "a folder lacks – claims, evaluations, checkpoints – its page lacks, too.",
        epilog=EXAMPLES,
    )
    parser.add_argument("sweep", metavar="SWEEP", help="folder of a finished sweep, such as results/mnist")
    data_options.add_for_trained(parser)
    add_debug(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return guarded(lambda: run(options), "stopped; no page was written", debug=options.debug)


def run(options: argparse.Namespace) -> int:
    folder = as_path(options.sweep)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the folder of a finished sweep, such as results/mnist")
    set_environment()
    start_jax()

    from jaxvae import evaluation
    from jaxvae.page import report
    from jaxvae.results import read_results
    from jaxvae.runs import checkpoint, load, run_folder

    data_options.register_parts(options)
    results = read_results(folder)
    folders = [run_folder.folder_of(folder, run) for run in results.runs_to_plot]
    runs = [load(own) for own in folders if checkpoint.epochs(own)]
    page = folder / report.PAGE
    missing = len(results.runs_to_plot) - len(runs)
    if missing and page.exists() and 'id="explorer"' in page.read_text(encoding="utf-8", errors="replace"):
        raise InputError(f"{page} holds models whose checkpoints are not here; move it away to have one without them")
    dataset = None
    if runs:
        dataset = evaluation.data_of(runs[0], data_options.of_run(runs[0], options))
        dataset = runs[0].config.dataset_as_trained(dataset)
    report.write(results, folder, [run.in_trained_numbers() for run in runs], dataset)
    print(f"{page}, {page.stat().st_size / 1e6:.1f} MB: open it in a browser")
    if missing:
        count = len(results.runs_to_plot)
        print(f"{missing} of {count} runs have no checkpoint here: their models are not in the page")
    return 0
