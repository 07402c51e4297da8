"""A run's folder: what was trained on what, how it went, and the newest state to go on from or to use.

In: a run's configuration and what each epoch reports. Out: the folder, and from it a run to be continued or loaded.

    config.json            configuration, dataset, versions, device
    metrics.jsonl          a line an epoch, written anew from the checkpoint's own history
    checkpoints/<epoch>/   state/ (Orbax), config.json, history.json, reconstructions.npy, and manifest.json with the
                           SHA-256 of the others

A checkpoint is written beside its place and renamed into it, so it is there whole or not at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jaxvae import engine, model
from jaxvae.config import ConfigError, InputError, RunConfig, differences
from jaxvae.distributions import Normal

FORMAT = 1
BATCH = 500
FILES = ("config.json", "history.json", "reconstructions.npy")  # beside the state, in each checkpoint


class CheckpointError(InputError):
    """A run's folder that is missing, damaged or from another format."""


class Progress(NamedTuple):
    """How far a run has come."""

    state: engine.TrainState
    history: list[dict[str, Any]]  # {"epoch", "train", "test", "seconds"}, epoch 0 first; losses in nats per image
    reconstructions: np.ndarray  # uint8 [epoch, split (train, test), digit, 28, 28]

    @property
    def epoch(self) -> int:
        return self.history[-1]["epoch"]


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_config(folder: Path, config: RunConfig, about: dict[str, Any]) -> None:
    """`about` says on which data, with which versions and on which device the run is trained."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.json", json.dumps({"format": FORMAT, "config": config.to_json(), **about}, indent=2))


def save(folder: Path, progress: Progress) -> None:
    """Adds the checkpoint of `progress.epoch`, removes the older ones."""
    checkpoints = folder.absolute() / "checkpoints"
    part = checkpoints / f".part-{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        checkpointer.save(part / "state", args=ocp.args.StandardSave(progress.state))
    config, _ = read_config(folder)
    (part / "config.json").write_text(json.dumps(config.to_json()))
    (part / "history.json").write_text(json.dumps(progress.history))
    np.save(part / "reconstructions.npy", progress.reconstructions, allow_pickle=False)
    (part / "manifest.json").write_text(json.dumps(_digests(part), indent=1))
    final = checkpoints / str(progress.epoch)
    shutil.rmtree(final, ignore_errors=True)
    part.replace(final)
    settle(folder, progress)


def settle(folder: Path, progress: Progress) -> None:
    """Makes the folder agree with its newest checkpoint, also after a run was killed right after saving it."""
    for old in (folder / "checkpoints").iterdir():
        if old.name != str(progress.epoch):
            shutil.rmtree(old, ignore_errors=True)
    write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in progress.history))


def write_text(path: Path, text: str) -> None:
    """Replaces the file at once, so that a reader finds the old text or the new."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / "manifest.json")
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_config(folder: Path) -> tuple[RunConfig, dict[str, Any]]:
    """A run's configuration, and all that its `config.json` says.

    Raises:
        CheckpointError: no such folder, no or damaged `config.json`, or another format.
    """
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise CheckpointError(f"{path} has format {content['format']!r}; this version of jaxvae reads {FORMAT}")
        return RunConfig.from_json(content["config"]), content
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} is no run: it has no config.json; `python -m experiments.sweep` trains runs"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from None
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({type(error).__name__}: {error}); train the run again") from None


def newest(folder: Path) -> Path | None:
    """The checkpoint with the most epochs, if there is one."""
    checkpoints = folder / "checkpoints"
    found = [path for path in checkpoints.iterdir() if path.name.isdecimal()] if checkpoints.is_dir() else []
    return max(found, key=lambda path: int(path.name), default=None)


def read(folder: Path) -> Progress | None:
    """The newest checkpoint's content after its files have been compared with their checksums; None if there is none.

    Raises:
        CheckpointError: the checkpoint is damaged; names the file.
    """
    config, _ = read_config(folder)
    checkpoint = newest(folder)
    if checkpoint is None:
        return None
    _verify(checkpoint)
    # compared here, because a restore that fails half-way leaves Orbax's coroutines behind
    if conflicts := differences(RunConfig.from_json(json.loads((checkpoint / "config.json").read_text())), config):
        raise CheckpointError(f"{checkpoint} does not fit {folder / 'config.json'} ({'; '.join(conflicts)})")
    history = json.loads((checkpoint / "history.json").read_text())
    reconstructions = np.load(checkpoint / "reconstructions.npy", allow_pickle=False)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
        jax.eval_shape(partial(engine.init, config.model, config.seed, config.train)),
    )
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        state = checkpointer.restore((checkpoint / "state").absolute(), args=ocp.args.StandardRestore(target))
    return Progress(state, history, reconstructions)


def _verify(checkpoint: Path) -> None:
    advice = "delete this checkpoint folder and run the sweep again"
    try:
        expected = json.loads((checkpoint / "manifest.json").read_text())
        assert isinstance(expected, dict)
        found = _digests(checkpoint)
    except FileNotFoundError:
        raise CheckpointError(f"{checkpoint / 'manifest.json'} is missing; {advice}") from None
    except (OSError, ValueError, AssertionError):
        raise CheckpointError(f"{checkpoint / 'manifest.json'} is damaged; {advice}") from None
    for name in sorted({*FILES, *expected, *found}):
        if name not in found:
            raise CheckpointError(f"{checkpoint / name} is missing; {advice}")
        if expected.get(name) != found[name]:
            raise CheckpointError(f"{checkpoint / name} is damaged: its SHA-256 is not the recorded one; {advice}")


# ── using ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained model with its configuration and its history."""

    folder: Path
    config: RunConfig
    about: dict[str, Any]  # dataset and its fingerprint, versions, device
    params: model.Params
    metrics: list[dict[str, Any]]  # {"epoch", "train", "test", "seconds"}; losses in nats per image
    reconstructions: np.ndarray  # uint8 [epoch, split (train, test), digit, 28, 28]

    @cached_property
    def parameters(self) -> int:
        return model.parameter_count(self.params)

    @property
    def dataset(self) -> str:
        """The name of the data that it was trained on, `auto` where its folder does not say."""
        return self.about.get("dataset", {}).get("name", "auto")

    def encode(self, images: Any) -> Normal:
        """q(z|x): mean and log-std, [n, d]. Images are [n, 28, 28], bytes or floats in [0, 1]."""
        return _encode(self.config.model, self.params, _images(images))

    def decode(self, z: Any) -> jax.Array:
        """The Bernoulli means of p(x|z), [n, 28, 28], for codes [n, d]."""
        z, d = jnp.asarray(z, jnp.float32), self.config.model.latent_dim
        if z.ndim != 2 or z.shape[1] != d:
            raise InputError(f"codes of {self.config.name} must have shape [n, {d}], not {list(z.shape)}")
        return _decode(self.config.model, self.params, z)

    def reconstruct(self, images: Any) -> jax.Array:
        """Images decoded from their posterior means, [n, 28, 28]."""
        return self.decode(self.encode(images).mean)

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """Bernoulli means decoded from n draws of the prior, [n, 28, 28]."""
        return self.decode(jax.random.normal(key, (n, self.config.model.latent_dim)))


def load(folder: str | os.PathLike) -> Run:
    """The run in `folder`, as its newest checkpoint holds it.

    Raises:
        CheckpointError: the folder is missing or damaged, or holds no checkpoint yet.
    """
    folder = Path(folder)
    config, about = read_config(folder)
    progress = read(folder)
    if progress is None:
        raise CheckpointError(f"{folder} holds no checkpoint yet; `python -m experiments.sweep` trains it")
    about = {key: value for key, value in about.items() if key not in ("format", "config")}
    return Run(folder, config, about, progress.state.params, progress.history, progress.reconstructions)


def _images(images: Any) -> jax.Array:
    images = np.asarray(images)
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise InputError(f"images must have shape [n, 28, 28], not {list(images.shape)}")
    if images.dtype == np.uint8:
        return engine.pixels(jnp.asarray(images))
    if not np.issubdtype(images.dtype, np.floating) or not ((images >= 0) & (images <= 1)).all():
        raise InputError("images must be bytes (uint8) or floats in [0, 1]")
    return jnp.asarray(images, jnp.float32)


def _batched(function):
    """Compiles `function(config, params, x)` and maps it over batches of x, so that memory does not grow with x."""

    @partial(jax.jit, static_argnums=0)
    def mapped(config, params, x):
        n = len(x)
        if n <= BATCH:
            return function(config, params, x)
        batches = jnp.pad(x, [(0, -n % BATCH)] + [(0, 0)] * (x.ndim - 1)).reshape(-1, BATCH, *x.shape[1:])
        out = jax.lax.map(partial(function, config, params), batches)
        return jax.tree.map(lambda y: y.reshape(-1, *y.shape[2:])[:n], out)

    return mapped


_encode = _batched(model.encode)
_decode = _batched(lambda config, params, z: jax.nn.sigmoid(model.decode(config, params, z)))
