"""Many runs at once: runs that can share a compiled program are vmapped, the others are dealt over the devices.

In: run configurations, a dataset, states to continue from. Out: the final states; every epoch is reported on the way.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae import engine
from jaxvae.config import ConfigError, Hypers, ModelConfig, RunConfig, TrainConfig
from jaxvae.data import Dataset
from jaxvae.engine import TrainState
from jaxvae.model import resize_latent
from jaxvae.objectives import Losses

STRATEGIES = ("auto", "vmap", "loop")
POLL_SECONDS = 0.002


class Epoch(NamedTuple):
    """What a run reports after each epoch, and once before training as epoch 0."""

    run: RunConfig
    epoch: int
    state: TrainState
    train: Losses | None  # running means of the epoch; none before training
    test: Losses
    seconds: float  # from the epoch's dispatch to its results, shared by the runs of a vmapped group


def sweep(
    runs: Sequence[RunConfig],
    dataset: Dataset,
    *,
    strategy: str = "auto",
    states: Mapping[str, TrainState] | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    devices: Sequence[Any] | None = None,
) -> dict[str, TrainState]:
    """Trains `runs` and returns their final states by name.

    Args:
        strategy: `loop` trains each run by itself, as many at a time as there are devices; `vmap` trains runs of one
            architecture and batch size as one program, latent sizes padded to the largest; `auto` loops on CPU, where
            a prototype's step of five conv models took 57 ms looped and 82 ms vmapped; it vmaps elsewhere,
            which no GPU has confirmed yet.
        states: for a run to be continued, its state after a whole number of epochs.
        on_epoch: called in the calling thread, in the order in which epochs end, while the devices go on.
        devices: of type `jax.Device`; default all local ones.

    Raises:
        ConfigError: see `check`.
    """
    check(runs, dataset, strategy)
    devices = devices or jax.local_devices()
    vmapped = strategy == "vmap" or (strategy == "auto" and devices[0].platform != "cpu")
    images = len(dataset.train_images)
    waiting = deque(_Group(members, vmapped, images) for members in _grouped(runs, states or {}, vmapped))
    devices = devices[: len(waiting)]
    data = {device: jax.device_put((dataset.train_images, dataset.test_images), device) for device in devices}
    finished: dict[str, TrainState] = {}

    idle: deque[Any] = deque(devices)
    busy: list[_Group] = []
    while waiting or busy:
        while waiting and idle:
            device = idle.popleft()
            busy.append(waiting.popleft())
            busy[-1].begin(device, *data[device])
        group = next((group for group in busy if group.ready()), None)
        if group is None:
            time.sleep(POLL_SECONDS)
            continue
        for report in group.reports():
            on_epoch(report)
        # only now: a device takes its work in order, and what the callback asks of it would wait for the epoch's end
        if not group.proceed():
            busy.remove(group)
            idle.append(group.device)
            finished |= group.states()
    return {run.name: finished[run.name] for run in runs}


def check(runs: Sequence[RunConfig], dataset: Dataset, strategy: str) -> None:
    """Says what is wrong with a sweep before it starts.

    Raises:
        ConfigError: two runs of one name, a batch larger than the training set, an unknown strategy.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(f"strategy must be one of {', '.join(STRATEGIES)}, not {strategy!r}")
    names = [run.name for run in runs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"two runs are named {twice[0]}: a name may differ only in architecture, latent size, seed")
    images = len(dataset.train_images)
    for run in runs:
        if run.train.batch_size > images:
            raise ConfigError(f"batch_size {run.train.batch_size} is larger than the training set of {images} images")


def _grouped(runs: Sequence[RunConfig], states: Mapping[str, TrainState], vmapped: bool):
    """Lists of (run, state or None) that train together.

    First one of each architecture, so that the time left can soon be told; then the longest-running, so that the
    devices end together.
    """
    groups: dict[object, list[tuple[RunConfig, TrainState | None]]] = {}
    first = {run.model.architecture: run.name for run in reversed(runs)}
    for run in sorted(runs, key=lambda run: (run.name not in first.values(), run.model.architecture != "conv")):
        state = states.get(run.name)
        at = -1 if state is None else int(state.step)
        model = dataclasses.replace(run.model, latent_dim=1)
        together = (model, run.train, run.epochs, at) if vmapped else run.name
        groups.setdefault(together, []).append((run, state))
    return groups.values()


class _Group:
    """Runs that go through one program on one device, an epoch at a time."""

    def __init__(self, members: list[tuple[RunConfig, TrainState | None]], vmapped: bool, images: int):
        self.runs = [run for run, _ in members]
        self.fresh = members[0][1] is None
        self._states = [_init(run.model, np.uint32(run.seed)) if state is None else state for run, state in members]
        first = self.runs[0]
        self.vmapped, self.train, self.epochs = vmapped, first.train, first.epochs
        self.model = dataclasses.replace(first.model, latent_dim=max(run.model.latent_dim for run in self.runs))
        self.epoch = int(self._states[0].step) // engine.steps_per_epoch(self.train, images)

    def begin(self, device: Any, train_images: jax.Array, test_images: jax.Array) -> None:
        self.device, self._train_images, self._test_images = device, train_images, test_images
        hypers = [
            Hypers(np.float32(rate), np.float32(beta), np.int32(d))
            for rate, beta, d in (run.hypers for run in self.runs)
        ]
        states = self._states
        if self.vmapped:
            states = [resize_latent(state, self.model.latent_dim) for state in states]
            self._state = jax.device_put(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), device)
            self._hypers = jax.device_put(jax.tree.map(lambda *leaves: np.stack(leaves), *hypers), device)
        else:
            self._state, self._hypers = jax.device_put((states[0], hypers[0]), device)
        self._started = time.perf_counter()
        self._train_losses: Losses | None = None
        self._test_losses = self._evaluate() if self.fresh else None

    def ready(self) -> bool:
        return self._test_losses is None or self._test_losses.loss.is_ready()  # type: ignore[attr-defined]

    def reports(self) -> list[Epoch]:
        """What the epoch that has ended brought; nothing for runs that have only been taken up again."""
        if self._test_losses is None:
            return []
        seconds = time.perf_counter() - self._started
        train, test = jax.tree.map(np.asarray, (self._train_losses, self._test_losses))
        return [
            Epoch(run, self.epoch, self._lane(i, self._state), self._lane(i, train), self._lane(i, test), seconds)
            for i, run in enumerate(self.runs)
        ]

    def proceed(self) -> bool:
        """Starts the next epoch, if there is one."""
        if self.epoch >= self.epochs:
            return False
        self._started = time.perf_counter()
        self._state, self._train_losses = _train_epoch(
            self.model, self.train, self.vmapped, self._state, self._train_images, self._hypers
        )
        self.epoch += 1
        self._test_losses = self._evaluate()
        return True

    def states(self) -> dict[str, TrainState]:
        return {run.name: self._lane(i, self._state) for i, run in enumerate(self.runs)}

    def _evaluate(self) -> Losses:
        epoch = np.int32(self.epoch)
        return _evaluate(self.model, self.vmapped, self._state, self._test_images, self._hypers, epoch)

    def _lane(self, i: int, tree):
        """Run i's part of `tree`, its padding cut off."""
        if not self.vmapped:
            return tree
        return resize_latent(jax.tree.map(lambda leaf: leaf[i], tree), self.runs[i].model.latent_dim)


_init = jax.jit(engine.init, static_argnums=0)


@partial(jax.jit, static_argnames=("model", "train", "vmapped"))
def _train_epoch(model: ModelConfig, train: TrainConfig, vmapped: bool, state, images, hypers):
    epoch = partial(engine.train_epoch, model, train)
    epoch = jax.vmap(epoch, in_axes=(0, None, 0)) if vmapped else epoch
    return epoch(state, images, hypers)


@partial(jax.jit, static_argnames=("model", "vmapped"))
def _evaluate(model: ModelConfig, vmapped: bool, state, images, hypers, epoch):
    evaluate = partial(engine.evaluate, model)
    evaluate = jax.vmap(evaluate, in_axes=(0, None, 0, None)) if vmapped else evaluate
    return evaluate(state, images, hypers, epoch)
