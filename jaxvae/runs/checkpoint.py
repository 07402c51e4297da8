"""A run's folder: what was trained on what, how it went, and the states to go on from or to use.

In: a run's configuration and what each epoch reports. Out: the folder, and from it the run as it was after an epoch.

    config.json            configuration, dataset, versions, device, and the SHA-256 of all this
    metrics.jsonl          a line an epoch, written anew from the checkpoint's own history
    checkpoints/<epoch>/   state/ (Orbax), config.json, history.json, reconstructions.npy, and manifest.json with the
                           SHA-256 of the others

A checkpoint is written beside its place and renamed into it, so it is there whole or not at all. Three are kept: the
newest, the one before it, to fall back on, and the one with the lowest test loss.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxvae.config import Program, RunConfig, differences
from jaxvae.errors import CheckpointError, InputError, StorageError, is_whole, quoted, reason
from jaxvae.formats import FORMAT
from jaxvae.jax_settings import local_devices, own_settings
from jaxvae.runs import manifest
from jaxvae.runs.history import Divergence, Past, Progress, best, metrics_lines
from jaxvae.runs.run_folder import check_format, read_config, shape_of
from jaxvae.training import engine

METRICS = "metrics.jsonl"
_ONE_AT_A_TIME = threading.Lock()
FILES = ("config.json", "history.json", "reconstructions.npy")  # beside the state, in each checkpoint


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@own_settings()
def save(folder: Path, progress: Progress) -> None:
    """Adds the checkpoint of `progress.epoch`, removes those that are no longer needed.

    Raises:
        StorageError: the disk is full or refuses, or the folder is no longer there; what was there stays.
    """
    checkpoints = folder.absolute() / "checkpoints"
    part = checkpoints / f".part-{os.getpid()}"
    try:
        checkpoints.mkdir(exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        _reserve(part / "space", progress)
        _write_parts(part, folder, progress)
        if (final := checkpoints / str(progress.epoch)).exists():
            _remove(final)
        part.replace(final)
        settle(folder, progress)
    except Exception as error:
        shutil.rmtree(part, ignore_errors=True)
        if not folder.is_dir():
            raise StorageError(f"{folder} is no longer there") from error
        if isinstance(error, OSError):
            where, why = error.filename or checkpoints, error.strerror or error
        elif code := re.search(r"os_error_code='(\d+)'", str(error)):  # as TensorStore says it
            where, why = checkpoints, os.strerror(int(code[1]))
        else:
            raise
        raise StorageError(f"{where} cannot be written ({why})") from error


def _reserve(path: Path, progress: Progress) -> None:
    """Asks the disk for room before Orbax does, whose threads report a full one in pages of tracebacks."""
    size = sum(leaf.nbytes for leaf in (progress.reconstructions, *jax.tree.leaves(progress.state)))
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size + 2**17)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise  # else the file system knows no reservations
    path.unlink()


def _write_parts(part: Path, folder: Path, progress: Progress) -> None:
    """All files of a checkpoint. State and key are plain arrays, which say nothing about devices."""
    state = _stored(progress.state._replace(key=jax.random.key_data(progress.state.key)))
    with _checkpointer() as checkpointer:
        checkpointer.save(part / "state", args=ocp.args.StandardSave(jax.tree.map(np.asarray, state)))
    about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    content = {"format": FORMAT, "config": about["config"], "dataset": about.get("dataset")}
    (part / "config.json").write_text(json.dumps(content), encoding="utf-8")
    diverged = progress.diverged and progress.diverged._asdict()
    history = {"epochs": progress.history, "diverged": diverged, "lane_runs": progress.lane_runs}
    (part / "history.json").write_text(json.dumps(history), encoding="utf-8")
    np.save(part / "reconstructions.npy", progress.reconstructions, allow_pickle=False)
    manifest.write_manifest(part)


def _stored(state: engine.TrainState) -> dict[str, Any]:
    """The fields that a state has, by name."""
    return {name: value for name, value in state._asdict().items() if value is not None}


@contextlib.contextmanager
def _checkpointer():
    """Of several processes, each saves and restores its own runs and waits for nobody."""
    alone = ocp.options.MultiprocessingOptions(0, active_processes={0}, barrier_sync_key_prefix="alone")
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
    with _as_first_process(), ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        yield checkpointer


@contextlib.contextmanager
def _as_first_process():
    """Orbax has plain arrays written by the first process alone, so in here it takes each for the first."""
    if jax.process_index() == 0:
        yield
        return
    with _ONE_AT_A_TIME:
        before, ocp.multihost.process_index = ocp.multihost.process_index, lambda: 0
        try:
            yield
        finally:
            ocp.multihost.process_index = before


def _remove(checkpoint: Path) -> None:
    """First renamed, so that a checkpoint never stands there half removed."""
    old = checkpoint.with_name(f".old-{checkpoint.name}")
    shutil.rmtree(old, ignore_errors=True)
    checkpoint.rename(old)
    shutil.rmtree(old, ignore_errors=True)


def settle(folder: Path, progress: Progress | Past) -> None:
    """Makes the folder agree with `progress`, also after a run was killed right after saving it."""
    before = [epoch for epoch in epochs(folder) if epoch < progress.epoch][-1:]
    kept = {str(epoch) for epoch in (progress.epoch, best(progress.history), *before)}
    for path in (folder / "checkpoints").glob(".*-*"):
        if path.name.startswith((".part-", ".old-")):
            shutil.rmtree(path, ignore_errors=True)
    for epoch in epochs(folder):  # nothing else that lies there is ours to remove
        if str(epoch) not in kept:
            _remove(folder / "checkpoints" / str(epoch))
    manifest.write(folder / METRICS, "".join(metrics_lines(progress)))


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def epochs(folder: Path) -> list[int]:
    """The epochs of which a run's folder has checkpoints, ascending."""
    checkpoints = folder / "checkpoints"
    names = [path.name for path in checkpoints.iterdir()] if checkpoints.is_dir() else []
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal() and str(int(name)) == name)


@own_settings()
def read(folder: Path, epoch: int, parts: Iterable[type] = ()) -> Progress:
    """A checkpoint's content, after its files have been compared with their checksums.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged or not this run's; names the file.
    """
    config, about = read_config(folder, parts)
    checkpoint = folder / "checkpoints" / str(epoch)
    if not checkpoint.is_dir():
        there = ", ".join(map(str, epochs(folder))) or "none"
        raise CheckpointError(f"{folder} has no checkpoint of epoch {epoch}; there are: {there}")
    manifest.verify(checkpoint, FILES)
    try:
        version = _check_origin(checkpoint, config, about, parts)
        shape = shape_of(about)
        history = json.loads((checkpoint / "history.json").read_text(encoding="utf-8"))
        if version == 1:
            history = {"epochs": history, "diverged": None}
        diverged = Divergence(**history["diverged"]) if history["diverged"] else None
        lane_runs = history.get("lane_runs", history.get("together", ()))  # as format 2 had it
        reconstructions = np.load(checkpoint / "reconstructions.npy", allow_pickle=False)
        _check_history(history["epochs"], diverged, reconstructions, shape)
        state = _restore(checkpoint, config.program(shape), config.seed, version)
        progress = Progress(state, history["epochs"], reconstructions, diverged, tuple(lane_runs))
        if progress.epoch != epoch:
            raise CheckpointError(f"{checkpoint} holds epoch {progress.epoch}")
        return progress
    except InputError:
        raise
    except Exception as error:  # the checksums are right, so it was written so
        raise CheckpointError(f"{checkpoint} cannot be read ({reason(error)})") from error


def _check_history(history: Any, diverged: Divergence | None, pictures: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raises ValueError on what nobody has written, though its checksum is right."""

    def sound(losses: Any) -> bool:
        named = losses is None or losses.keys() >= {"reconstruction", "kl", "loss"}
        return named and all(isinstance(value, int | float) for value in (losses or {}).values())

    for epoch, entry in enumerate(history):
        if entry["epoch"] != epoch or not (sound(entry["train"]) and entry["test"] and sound(entry["test"])):
            raise ValueError(f"epoch {epoch} of its history is {quoted(entry)}")
    if not all(isinstance(entry["seconds"], int | float) for entry in history):
        raise ValueError("its history has an epoch without a time")
    if diverged and not all(is_whole(count, at_least=0) for count in diverged):
        raise ValueError(f"it diverged in {quoted(tuple(diverged))}")
    of_each_epoch = pictures.shape[:2] == (len(history), 2) and pictures.shape[3:] == shape
    if pictures.dtype not in (np.uint8, np.float32) or not of_each_epoch:
        raise ValueError(f"its reconstructions are {pictures.dtype} {list(pictures.shape)}")


def _check_origin(checkpoint: Path, config: RunConfig, about: dict[str, Any], parts: Iterable[type]) -> int:
    """The checkpoint's format, if it is of this run on these data.

    Compared here, because a restore that fails half-way leaves Orbax's coroutines behind.
    """
    content = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    if "format" not in content:
        content = {"format": 1, "config": content}
    check_format(checkpoint, content["format"])
    if content["format"] == 1:
        content["dataset"] = about.get("dataset")  # which it does not say
    if why := conflicts(RunConfig.from_json(content["config"], parts), content, config, about):
        run_config = checkpoint.parent.parent / "config.json"
        raise CheckpointError(f"{checkpoint} does not fit {run_config} ({'; '.join(why)})")
    return content["format"]


def conflicts(there: RunConfig, origin: Mapping[str, Any], run: RunConfig, about: Mapping[str, Any]) -> list[str]:
    """What keeps `run`, on the data of `about`, from continuing the run `there`, on the data of `origin`."""
    data, ours = ((one.get("dataset") or {}).get("fingerprint") for one in (origin, about))
    other_data = [f"dataset {str(data)[:12]} there, {str(ours)[:12]} now"] if data != ours else []
    return differences(there, run) + other_data


def _restore(checkpoint: Path, program: Program, seed: int, version: int) -> engine.TrainState:
    """The state on this process's first device, wherever it was saved."""
    device = jax.sharding.SingleDeviceSharding(local_devices()[0])
    shapes = jax.eval_shape(engine.init, program, seed)
    if version > 1:
        shapes = shapes._replace(key=jax.eval_shape(jax.random.key_data, shapes.key))
    target = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), _stored(shapes))
    with _checkpointer() as checkpointer:
        stored = checkpointer.restore((checkpoint / "state").absolute(), args=ocp.args.StandardRestore(target))
    state = engine.TrainState(**stored)
    return state if version == 1 else state._replace(key=jax.random.wrap_key_data(state.key))
