"""One model for a user's own data, in one call.

In: an array or a dataset, and whatever the user wants to choose. Out: a trained `Run`; what was chosen is printed.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxvae import results, training
from jaxvae.config import RunConfig
from jaxvae.data import Dataset, checked, from_arrays
from jaxvae.errors import ConfigError, InputError
from jaxvae.jax_settings import own_settings
from jaxvae.models import VAE, Side
from jaxvae.objectives import ELBO
from jaxvae.optimisers import Adam
from jaxvae.runs import Divergence, criterion, history_entry
from jaxvae.study import suitable
from jaxvae.study.progress import Display
from jaxvae.study.resume import settle_precision
from jaxvae.study.run import Run, load
from jaxvae.study.study import Study
from jaxvae.system import as_path, console
from jaxvae.training import Epoch
from jaxvae.values import Number, Whole

LATENT_DIM = 10
VALIDATION = 0.1  # share of the training examples, where a run may stop early and nothing is said
OVERFITTED = 0.05  # by what share of the lowest test loss the last one is higher


@own_settings()
def fit(
    examples: Any,
    vae: VAE | None = None,
    *,
    latent_dim: Whole | None = None,
    labels: Any = None,
    test: Any = None,
    test_labels: Any = None,
    condition: Any = None,
    test_condition: Any = None,
    objective: Any = None,
    optimiser: Any = None,
    epochs: Whole | None = None,
    batch_size: Whole | None = None,
    validation: Number | None = None,
    stopping: Any = None,
    seed: Whole = 0,
    name: str = "data",
    standardize: bool = True,
    out: str | os.PathLike | None = None,
    quiet: bool = False,
) -> Run:
    """Trains a VAE on an array, with what suits the data wherever nothing is said, and prints what was chosen and why.

    Args:
        examples: [n, *shape], real numbers; bytes (uint8) stand for [0, 1]. Or a `jaxvae.data.Dataset`. Those of a
            memory map, `np.load(path, mmap_mode="r")`, stay in its file, which may be larger than memory; the run is
            the same to the bit.
        vae: the model; default, one of `latent_dim` dimensions (10, or as many as an example has numbers) with
            convolutions for pictures of at least 16 pixels a side, else fully connected layers; Bernoulli for
            bytes and for zeros and ones, Poisson for other counts, else a Gaussian with one learned scale.
        labels, test, test_labels: see `jaxvae.data.from_arrays`, which holds out a tenth if no test split is given.
        condition, test_condition: [n, size], numbers beside the examples, which the model is given as they are, see
            `jaxvae.models.Side`. Classes are given as `labels`, with a model that has the condition `Labels`.
        objective: default, `ELBO()`; `optimiser`: default, `Adam()`.
        epochs: default, enough for 6,000 steps, from 15 to 100.
        batch_size: default, 100, or less so that an epoch has ten batches.
        validation: share of the training examples that is held out, whose loss is looked at after each epoch; default,
            none, or a tenth with `stopping`.
        stopping: when the run ends early, such as `jaxvae.stopping.Patience(10)`; its parameters are the best epoch's.
        seed: of parameters, noise, order, and of what is held out.
        name: what folders and figures call the data.
        standardize: whether numbers that a likelihood of any real numbers is given are standardised, see
            `jaxvae.data.standardized`; those of a `Dataset` are not. The run takes and returns the numbers as they
            were given; losses are of the standardised ones.
        out: a folder for checkpoints, where the same call goes on after an interruption; default, none.
        quiet: nothing is printed.

    Returns:
        The run as it is after its last epoch.

    Raises:
        DataError: see `jaxvae.data.from_arrays`, and values that the likelihood takes no probability of.
        ConfigError: see `RunConfig` and `jaxvae.training.check`.

    Example:
        >>> run = fit(np.random.default_rng(0).normal(size=(200, 5)), latent_dim=2, epochs=3, quiet=True)
        >>> run.codes(np.zeros((4, 5))).mean.shape
        (4, 2)
    """
    if isinstance(examples, Dataset):
        if any(given is not None for given in (labels, test, test_labels, condition, test_condition)):
            raise InputError("a Dataset has its own labels, conditions and test split; give none beside it")
        dataset = checked(examples)
    else:
        dataset = from_arrays(
            examples, labels, test=test, test_labels=test_labels, condition=condition, test_condition=test_condition,
            name=name, seed=seed,
        )  # fmt: skip
    if condition is not None and isinstance(vae, VAE) and vae.condition is None:
        raise ConfigError("a condition was given, but the model has none; such as VAE(…, condition=Side(size))")
    if vae is not None and latent_dim is not None:
        raise ConfigError("give a model or latent_dim, not both: the model has its own")
    say = (lambda line: None) if quiet else console().print
    if vae is None:
        vae = _suitable_model(dataset, latent_dim, say)
    if standardize and not isinstance(examples, Dataset):
        dataset = suitable.in_suitable_numbers(dataset, [getattr(vae, "likelihood", None)])
    for line in [] if isinstance(examples, Dataset) else suitable.in_words(dataset):
        say(line)
    batch_size = suitable.batch_size(dataset) if batch_size is None else batch_size
    validation = (VALIDATION if stopping else 0.0) if validation is None else validation
    ends = {"seed": seed, "validation": validation, "stopping": stopping}
    config = RunConfig(vae, objective or ELBO(), optimiser or Adam(), batch_size, **ends)
    if epochs is None:
        epochs = suitable.epochs(dataset, config.batch_size)
        steps = len(dataset.train_images) // config.batch_size
        say(f"{epochs} epochs of {steps} steps, each on {config.batch_size} examples")
    config = dataclasses.replace(config, epochs=epochs)
    if out is None and (words := training.streaming.in_words(dataset)):
        say(words)
    if out is not None:
        run = _in_folder(config, dataset, out, quiet)
    else:
        run = _in_memory(settle_precision([config], None)[0], dataset, quiet)
    if not stopping and (words := _of_overfitting(run.metrics)):
        say(words)
    return run


def _of_overfitting(metrics: Sequence[Mapping[str, Any]]) -> str:
    """In which epoch the test loss was lowest, where the last one is higher by more than a twentieth."""
    losses = np.array([criterion(entry) for entry in metrics])
    if not np.isfinite(losses).all() or losses[-1] <= losses.min() + OVERFITTED * abs(losses.min()):
        return ""
    lowest = f"the test loss was lowest after epoch {losses.argmin()}, {losses.min():.2f} nats"
    return f"{lowest}: train for fewer epochs, or on more data"


def model_for(dataset: Dataset, latent_dim: Whole | None = None, **parts: Any) -> VAE:
    """The model that suits the data, with the parts that are given, if not None, in place of its own."""
    given = {name: part for name, part in parts.items() if part is not None}
    return dataclasses.replace(_suitable_model(dataset, latent_dim, lambda line: None), **given)


def _suitable_model(dataset: Dataset, latent_dim: Whole | None, say: Callable[[str], None]) -> VAE:
    network, likelihood = suitable.network(dataset), suitable.likelihood(dataset)
    for what, choice in (("network", network), ("likelihood", likelihood)):
        say(f"{what}: {choice.value.part_label}, for {choice.why}")
    size = min(LATENT_DIM, math.prod(dataset.shape)) if latent_dim is None else latent_dim
    condition = Side(dataset.conditions[0].shape[1]) if dataset.conditions else None
    return VAE(size, network.value, likelihood=likelihood.value, condition=condition)


def _in_folder(config: RunConfig, dataset: Dataset, out: str | os.PathLike, quiet: bool) -> Run:
    folder = as_path(out)
    (config,) = settle_precision([config], folder)
    Study(folder, [config], dataset).train(quiet=quiet)
    return dataclasses.replace(load(folder / config.name), data=dataset)


def _in_memory(config: RunConfig, dataset: Dataset, quiet: bool) -> Run:
    training.check([config], dataset, "loop")
    probes = results.probe_dataset(config.dataset_as_trained(dataset))
    shape = (2, *probes.train_images.shape)  # [split, image, *shape]
    history: list[dict[str, Any]] = []
    pictures: list[np.ndarray] = []
    state, diverged = None, None
    with Display(console(quiet=quiet), [config], {}, len(dataset.train_images)) as display:

        def on_epoch(report: Epoch) -> None:
            nonlocal state, diverged
            display.epoch(report)
            if report.diverged is not None:
                diverged = Divergence(report.epoch, report.diverged)
            if report.diverged is None or not history:
                state = report.state
                history.append(history_entry(report))
                pictures.append(np.reshape(report.reconstructions, shape))  # type: ignore[arg-type]

        training.train([config], dataset, strategy="loop", on_epoch=on_epoch, probes=probes)
    assert state is not None
    params = training.final_params(config.optimiser, state)
    return Run(
        Path(config.name), config, results.about(dataset), params, history, np.stack(pictures), diverged,
        data=dataset, state=state,
    )  # fmt: skip
