"""What a sweep trains: every combination of the options, or the runs of a study.

In: options, and the dataset, as what is not said is what suits it. Out: the runs.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from jaxvae.commands.study_file import read_runs
from jaxvae.errors import ConfigError, quoted

if TYPE_CHECKING:
    from jaxvae.config import RunConfig
    from jaxvae.data import Dataset

CLASSIC: dict[str, Any] = {  # the experiment, on the data that it is meant for
    "architectures": ("linear", "conv"), "latent_dims": (2, 3, 5, 10, 50), "betas": (None,), "learning_rates": (None,),
    "seeds": (0,), "epochs": 15, "batch_size": 100, "likelihood": "bernoulli", "objective": "elbo",
    "importance_samples": 1, "optimiser": "adam", "prior": "normal", "posterior": "normal", "condition": "none",
    "binarize": "none", "validation": None, "stopping": "none",
}  # fmt: skip
VALIDATION = 0.1  # share of the training examples, where a run may stop early and nothing is said
PRECISIONS = ("float32", "bfloat16")
KINDS = {  # of parts, by the options that name them
    "architectures": "network", "likelihood": "likelihood", "prior": "prior", "posterior": "posterior",
    "condition": "condition", "objective": "objective", "optimiser": "optimiser", "stopping": "stopping",
}  # fmt: skip


class ListParts(argparse.Action):
    """Prints every part that an option can name, with its fields and their defaults."""

    def __init__(self, **options: Any):
        super().__init__(nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from jaxvae.config import RunConfig  # noqa: F401 – it imports all parts
        from jaxvae.naming import described

        for option, kind in KINDS.items():
            print(f"--{option}")
            print("".join(f"  {line}\n" for line in described(kind)))
        print("in place of a number, in brackets: linear(0,1,length=10)")
        print("".join(f"  {line}\n" for line in described("schedule")))
        parser.exit()


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to train; options that are not given are absent."""
    add_parts(parser)
    study = parser.add_argument_group("study: runs from a file, instead of grid, parts and training")
    study.add_argument(
        "--study", metavar="FILE",
        help="a Python file, which is run and defines runs, a list of jaxvae.config.RunConfig; or a JSON list of their "
        'configurations: [{"vae": {"part": "vae", "latent_dim": 2, "encoder": {"part": "network/mlp"}}, "epochs": 5}]',
    )  # fmt: skip


def add_parts(parser: argparse.ArgumentParser, *, ranges: bool = False) -> None:
    """What a run is made of.

    Args:
        ranges: whether values may be ranges, and every option several values.
    """
    whole, real, several = (str, str, "+") if ranges else (int, _number_or_schedule, None)
    group = partial(parser.add_argument_group, argument_default=argparse.SUPPRESS)
    all_ = "of which each may have several values or a range, 0.1..10" if ranges else "the same for all runs"
    options = group(f"numbers, {all_}" if ranges else "grid: every combination is a run")
    options.add_argument(
        "--architectures", nargs="+", metavar="A",
        help="networks, such as linear, conv or linear:hidden=512x256 (default: both; linear alone for what are no "
        "pictures of 16 pixels a side)",
    )  # fmt: skip
    options.add_argument(
        "--latent-dims", nargs="+", type=whole, metavar="D", help="latent sizes (default: 2 3 5 10 50)"
    )
    options.add_argument(
        "--betas", "--beta", nargs="+", type=real, metavar="B",
        help="weights of the KL term, each a number or a schedule such as 'linear(0,1,length=10)' (default: 1)",
    )  # fmt: skip
    options.add_argument(
        "--learning-rates", "--learning-rate", nargs="+", type=real, metavar="R",
        help="of the optimiser, as --betas (default: the optimiser's own; Adam's is 0.001)",
    )  # fmt: skip
    options.add_argument("--seeds", nargs="+", type=int, metavar="S", help="default: 0")
    model = group(f"parts, {all_}; each a name, and fields as in name:field=value,field=value")
    model.add_argument(
        "--likelihood", nargs=several, metavar="L",
        help="of the data: bernoulli, continuous-bernoulli, gaussian, laplace, poisson or another; such as "
        "gaussian:scale=learned (default: bernoulli for pictures of bytes, else what suits the data)",
    )  # fmt: skip
    model.add_argument("--prior", nargs=several, metavar="P", help="of the codes (default: normal)")
    model.add_argument("--posterior", nargs=several, metavar="Q", help="of the codes (default: normal)")
    model.add_argument(
        "--condition", metavar="C",
        help="what the model is given of each example beside it, such as labels:classes=10, for the objective m2 with "
        "a network, labels:classes=10,network=linear(hidden=500) (default: none)",
    )  # fmt: skip
    model.add_argument(
        "--objective", nargs=several, metavar="O",
        help="elbo; iwae: the importance-weighted bound; iwae-dreg: the same with the doubly reparameterised gradient; "
        "m2: semi-supervised, of data with some labels; such as iwae:importance_samples=50 (default: elbo)",
    )  # fmt: skip
    model.add_argument(
        "--optimiser", nargs=several, metavar="O",
        help="such as adamw:weight_decay=0.1 or 'clip:max_norm=5,optimiser=sgd(momentum=0.5)' (default: adam)",
    )  # fmt: skip
    model.add_argument("--parts", action=ListParts, help="list the parts of each kind with their fields, and exit")
    train = group("training, the same for all runs")
    train.add_argument(
        "--epochs", type=int, metavar="N",
        help="passes over the data "
        + ("of the settings that are trained to the end (default: 27)" if ranges else
           "(default: 15; of your own data enough for 6,000 steps, from 15 to 100)"),
    )  # fmt: skip
    train.add_argument(
        "--batch-size", type=whole, nargs=several, metavar="N",
        help="examples a step (default: 100; of few data a tenth of them)",
    )  # fmt: skip
    train.add_argument(
        "--importance-samples", type=int, metavar="K", help="K of the importance-weighted bound (default: 1)"
    )
    train.add_argument(
        "--binarize", metavar="B",
        help="pixels: none, grey levels; dynamic, black or white drawn anew at each step, the test split once; static, "
        "both splits drawn once from a fixed key (default: none)",
    )  # fmt: skip
    train.add_argument(
        "--validation", type=float, metavar="SHARE",
        help="hold this share of the training examples out, and look at the loss on them after each epoch (default: "
        + ("0.1)" if ranges else "0; 0.1 with --stopping)"),
    )  # fmt: skip
    train.add_argument(
        "--stopping", metavar="S",
        help="end a run early, such as patience:epochs=10, once its loss on the validation split has not fallen for so "
        "many epochs, with the parameters of the best one (default: none)",
    )  # fmt: skip


def requested_runs(options: argparse.Namespace, dataset: Dataset | None = None) -> list[RunConfig]:
    """The runs of the study, or of the grid; a precision that the options name is that of all.

    Args:
        dataset: decides what holds where the options say nothing; by default, what the classic experiment has.
    """
    if options.precision not in (None, "auto", *PRECISIONS):
        raise ConfigError(f"precision must be auto, {' or '.join(PRECISIONS)}, not {quoted(options.precision)}")
    if options.study is None:
        runs = _grid(argparse.Namespace(**_defaults(options, dataset) | vars(options)))
    elif given := [name for name in CLASSIC if name in vars(options)]:
        raise ConfigError(f"--study and --{given[0].replace('_', '-')} exclude each other: a study says what to train")
    else:
        runs = read_runs(options.study)
    if options.precision not in PRECISIONS:
        return runs
    return [replace(run, vae=replace(run.vae, precision=options.precision)) for run in runs]


def _defaults(options: argparse.Namespace, dataset: Dataset | None) -> dict[str, Any]:
    """What holds where nothing is said: the classic experiment on its data, on others what suits them."""
    from jaxvae.study import suitable

    if dataset is None or is_classic(dataset):
        return CLASSIC

    sizes = tuple(d for d in CLASSIC["latent_dims"] if d <= max(2, math.prod(dataset.shape)))
    network, likelihood = suitable.network(dataset).value, suitable.likelihood(dataset).value
    batch_size = getattr(options, "batch_size", suitable.batch_size(dataset))
    return CLASSIC | {
        "architectures": tuple(dict.fromkeys(("linear", network.part_label))),
        "latent_dims": sizes,
        "likelihood": likelihood.part_label,
        "batch_size": batch_size,
        "epochs": suitable.epochs(dataset, batch_size) if isinstance(batch_size, int) and batch_size > 0 else 1,
    }


def choices(options: argparse.Namespace, runs: Sequence[RunConfig], dataset: Dataset) -> list[str]:
    """What was chosen as it suits the data, a line each, and why."""
    from jaxvae.study import suitable

    if options.study is not None or is_classic(dataset):
        return []
    one, said = runs[0], []
    if "architectures" not in options:
        own = dict.fromkeys(run.architecture for run in runs)
        said.append(f"networks: {', '.join(own)}, for {suitable.network(dataset).why}")
    if "likelihood" not in options:
        said.append(f"likelihood: {one.vae.likelihood.part_label}, for {suitable.likelihood(dataset).why}")
    if "epochs" not in options or "batch_size" not in options:
        steps = len(dataset.train_images) // one.batch_size
        epochs = "1 epoch" if one.epochs == 1 else f"{one.epochs} epochs"
        said.append(f"{epochs} of {steps} steps, each on {one.batch_size} examples")
    return said


def is_classic(dataset: Dataset | None) -> bool:
    """Whether the classic experiment is meant for these data."""
    from jaxvae.data import PUBLISHED

    return dataset is None or dataset.name in (*PUBLISHED, "digits")


def _grid(options: argparse.Namespace) -> list[RunConfig]:
    """Every combination, by seed, architecture, latent size, β and learning rate."""
    from jaxvae.config import RunConfig
    from jaxvae.models import VAE
    from jaxvae.naming import number_or_schedule, parsed

    betas, rates = (_each(map(number_or_schedule, given)) for given in (options.betas, options.learning_rates))
    networks = [parsed("network", given, "architecture") for given in dict.fromkeys(options.architectures)]
    part = {kind: parsed(kind, getattr(options, kind)) for kind in ("likelihood", "prior", "posterior")}
    part["condition"] = None if options.condition == "none" else parsed("condition", options.condition)
    stopping = None if options.stopping == "none" else parsed("stopping", options.stopping)
    validation = (VALIDATION if stopping else 0.0) if options.validation is None else options.validation
    k = options.importance_samples
    objectives = [parsed("objective", options.objective, beta=beta, importance_samples=k) for beta in betas]
    optimisers = [parsed("optimiser", options.optimiser, learning_rate=rate) for rate in rates]
    axes = options.seeds, networks, options.latent_dims, objectives, optimisers
    return [
        RunConfig(
            VAE(d, network, **part),
            objective, optimiser, options.batch_size, options.binarize, options.epochs, seed, validation, stopping,
        )
        for seed, network, d, objective, optimiser in product(*map(_each, axes))
    ]  # fmt: skip


def _number_or_schedule(given: str) -> float | str:
    """What becomes a schedule once parts may be imported stays a text."""
    if "(" in given:
        return given
    try:
        return float(given)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid float value: {given!r}") from None


def _each(values: Iterable[Any]) -> list[Any]:
    """The different ones, in order."""
    return list(dict.fromkeys(values))
