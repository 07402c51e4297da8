"""What is wrong with a sweep, said before it starts.

In: run configurations, a dataset, how to train. Out: nothing, or an error of one line.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxvae.config import RunConfig
from jaxvae.data import Dataset, Limits, Rows, blocks, checked, held_out, limits, scaled
from jaxvae.errors import MAX_INT32, ConfigError, DataError, is_whole, quoted
from jaxvae.jax_settings import own_settings, platform
from jaxvae.models import Support, conditions_of
from jaxvae.objectives import reads_classes
from jaxvae.system import machine
from jaxvae.training import engine
from jaxvae.training.mesh import DATA, RUNS, layout_of
from jaxvae.training.processes import check_processes
from jaxvae.values import Whole

STRATEGIES = ("auto", "vmap", "loop")


@own_settings()
def check(
    runs: Sequence[RunConfig], dataset: Dataset, strategy: str, workers: Whole = 1, mesh: Mesh | None = None
) -> None:
    """Says what is wrong with a sweep before it starts.

    Raises:
        ConfigError: two runs of one name, a batch larger than the training set or not to be shared equally along the
            mesh, more steps than are counted, binarisations or measures that differ, an unknown strategy, worker
            processes that are fewer than one, more than the cores could serve, or have no CPU to work on; a mesh of
            another kind than the strategy or the workers ask for.
        DataError: see `jaxvae.data.checked`; a likelihood that gives no probability to these data; a condition that
            they do not have.
    """
    if not isinstance(strategy, str) or strategy not in STRATEGIES:
        raise ConfigError(f"strategy must be one of {', '.join(STRATEGIES)}, not {quoted(strategy)}")
    if not is_whole(workers, at_least=1):
        raise ConfigError(f"workers must be a whole number of at least 1, not {quoted(workers)}")
    if workers > (most := 2 * len(machine.cores())):
        raise ConfigError(f"workers must be at most {most}, two for each core, not {quoted(workers)}")
    if workers > 1 and (kind := platform()) != "cpu":
        raise ConfigError(f"workers must be 1 on a {kind}, which one process fills; {workers} are for a CPU")
    if mesh and mesh.axis_names != (RUNS, DATA):
        raise ConfigError(f"a mesh must have the axes {RUNS} and {DATA}, as jaxvae.training.make_mesh makes it")
    shards = mesh.shape[DATA] if mesh else 1
    if mesh and workers > 1:
        raise ConfigError(f"workers must be 1 on a mesh of devices ({layout_of(mesh)}), not {workers}")
    if mesh and (shards > 1 or jax.process_count() > 1) and not vmaps(strategy, mesh):
        raise ConfigError(f"the strategy loop gives each run a device of this process, not {layout_of(mesh)}; use vmap")
    if wrong := [run for run in runs if not isinstance(run, RunConfig)]:
        raise ConfigError(f"runs must be of type RunConfig, not {quoted(wrong[0])}")
    names = Counter(run.name for run in runs)
    if twice := sorted(name for name, count in names.items() if count > 1):
        raise ConfigError(f"two runs are named {twice[0]}: each setting of a sweep can be trained once")
    if len(kinds := sorted({run.sees for run in runs})) > 1:
        raise ConfigError(f"runs of one sweep must see the same images, not {' and '.join(kinds)}")
    if len(kinds := sorted({run.vae.likelihood.measure for run in runs})) > 1:
        raise ConfigError(f"runs of one sweep must have likelihoods of one measure, not {' and '.join(kinds)}")
    if len(shares := sorted({run.validation for run in runs})) > 1:
        raise ConfigError(f"runs of one sweep must have one validation split, not {' and '.join(map(str, shares))}")
    if workers > 1:
        check_processes(runs)
    dataset = checked(dataset)
    if dataset.on_disk and (strategy == "vmap" or shards > 1 or jax.process_count() > 1):
        raise ConfigError(
            f"{dataset.name} stays in its file and is streamed to each run by itself, as each has an order of its own: "
            "use the strategy loop, in one process and without shared batches"
        )
    images = len(dataset.train_images) - sum(held_out(len(dataset.train_images), share) for share in shares)
    for vae in dict.fromkeys(dataclasses.replace(run.vae, latent_dim=1) for run in runs):
        vae.bind(dataset.shape).check_networks()
    for likelihood in dict.fromkeys(run.vae.likelihood for run in runs):
        check_support(likelihood, scaled(dataset))
    for objective, condition in dict.fromkeys((run.objective, run.vae.condition) for run in runs):
        _check_known(objective, condition, dataset)
    for run in runs:
        if images < 1:
            raise ConfigError(f"{run.name} has a validation split that leaves nothing to train on")
        if run.batch_size > images:
            raise ConfigError(f"batch_size {run.batch_size} is larger than the training set of {images} images")
        if shards > 1 and run.objective.coupled:
            raise ConfigError(
                f"{run.name} has an objective that couples a batch, which cannot be shared along data={shards}"
            )
        if run.batch_size % shards:
            raise ConfigError(f"batch_size {run.batch_size} cannot be shared equally along data={shards}")
        if run.epochs * engine.steps_per_epoch(run.batch_size, images) >= MAX_INT32:
            raise ConfigError(f"{run.epochs} epochs are more than {MAX_INT32} steps, which cannot be counted")


def _check_known(objective: Any, condition: Any, dataset: Dataset) -> None:
    """Raises DataError where the dataset has no conditions, or training examples lack theirs and the objective does not
    take such."""
    train, _ = conditions_of(condition, dataset)
    known = getattr(condition, "known", None)
    if known is None or reads_classes(objective) or not (unknown := int((~known(train)).sum())):
        return
    one, all_ = objective.part_label, len(dataset.train_images)
    raise DataError(
        f"{dataset.name} has no label of {unknown:,} of {all_:,} training examples, which a condition needs under the "
        f"objective {one}; leave them out, or train with m2 and a condition that has a network"
    )


def check_support(likelihood: Any, dataset: Dataset) -> None:
    """Raises DataError where examples have numbers that the likelihood gives no probability."""
    support, name = getattr(likelihood, "support", Support()), likelihood.part_label
    in_bytes = dataset.train_images.dtype == np.uint8
    if in_bytes and support.whole:
        raise DataError(f"{dataset.name} has images of bytes, which stand for [0, 1]; for {name} give them as int32")
    if support.bytes and not in_bytes:
        raise DataError(f"{dataset.name} has images of {dataset.train_images.dtype}; {name} takes {support}")
    for split in ("train", "test"):
        images, before = getattr(dataset, f"{split}_images"), 0
        if in_bytes or support == Support() or (isinstance(images, Rows) and _holds(support, limits(images))):
            continue
        for block in blocks(images):
            wrong = (block < support.low) | (block > support.high)
            wrong |= block != np.rint(block) if support.whole else False
            if wrong.any():
                first, *where = np.unravel_index(int(wrong.argmax()), wrong.shape)
                place, value = ", ".join(map(str, [before + first, *where])), block[first, *where]
                what = f"{value:g} at [{place}] of its {split} images"
                raise DataError(f"{dataset.name} has {what}; {name} takes {support}")
            before += len(block)


def _holds(support: Support, limits: Limits) -> bool:
    inside = support.low <= limits.low and limits.high <= support.high
    return inside and (limits.whole or not support.whole)


def vmaps(strategy: str, mesh: Mesh | None = None, on_disk: bool = False) -> bool:
    """Whether runs that can be are trained as one program; not on data that stay on disk, which each run is given in an
    order of its own."""
    if on_disk:
        return False
    return strategy == "vmap" or (strategy == "auto" and (mesh is not None or platform() != "cpu"))
