"""Runs on data that stay in their file are those on the same data in memory."""

import threading
from dataclasses import replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvae
from jaxvae import data
from jaxvae.config import RunConfig
from jaxvae.data import rows
from jaxvae.data.file_array import FileArray
from jaxvae.errors import ConfigError, DataError
from jaxvae.models import MLP, VAE, Gaussian, Labels, Side
from jaxvae.objectives import ELBO, M2, Losses
from jaxvae.optimisers import EMA
from jaxvae.parts import part
from jaxvae.schedules import Linear
from jaxvae.training import compiled, engine, make_mesh, streaming
from jaxvae.training.checks import check, vmaps
from jaxvae.training.sweep import sweep
from tests.classic import classic

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 200, (230, 6, 5), np.uint8)
epoch_order = jax.jit(engine.epoch_order, static_argnums=2)
CHUNK = 1000  # bytes: three batches of ten bytes images, less than one of float32


@part("objective/of-tests-streaming")
class Coupled:
    """Takes from each loss a share of the batch's mean, and is not finite where a batch has a certain number."""

    codes: ClassVar[int] = 1
    coupled: ClassVar[bool] = True

    def __call__(self, vae, params, x, noise, context):
        losses = ELBO()(vae, params, x, noise, context)
        mean = x.mean() * len(x)
        return Losses(losses.reconstruction, losses.kl, losses.loss + jnp.where((x == 1).any(), jnp.nan, mean))


def run(**changes):
    return classic("linear", 2, **{"hidden": (8,), "batch_size": 10, "epochs": 3} | changes)


def in_file(path, array, **how):
    np.save(path, array)
    return data.from_arrays(np.load(path, mmap_mode="r"), **how)


@pytest.fixture(autouse=True)
def chunks(monkeypatch):
    monkeypatch.setattr(streaming, "CHUNK", CHUNK)
    monkeypatch.setattr(rows, "BLOCK", CHUNK)


def trained(config, dataset, **how):
    reports = []
    states = sweep([config], dataset, on_epoch=reports.append, **{"strategy": "loop"} | how)
    return states[config.name], reports


def same_bits(one, other):
    jax.tree.map(np.testing.assert_array_equal, *((s.params, s.opt_state, s.step) for s in (one, other)))


def with_gaussian(config):
    return config.__class__(config.vae.__class__(2, config.vae.encoder, likelihood=Gaussian(), precision="float32"),
                            batch_size=10, epochs=3)  # fmt: skip


def conditional(condition):
    return RunConfig(VAE(2, MLP((8,)), condition=condition), batch_size=10, epochs=3)


CASES = {
    "grey": (run(), BYTES),
    "drawn anew at each step": (run(binarize="dynamic"), BYTES),
    "drawn once, and batches that do not divide": (run(binarize="static", batch_size=17), BYTES),
    "dequantised": (with_gaussian(run()), BYTES),
    "standardised": (with_gaussian(run()), RNG.normal(3, 2, (230, 7))),
    "given classes": (conditional(Labels(3)), BYTES),
    "given numbers": (conditional(Side(2)), BYTES),
    "classes of some": (
        RunConfig(VAE(2, MLP((8,)), condition=Labels(3, MLP((8,)))), M2(), batch_size=10, epochs=3),
        BYTES[:207],
    ),
    "coupled": (run().__class__(run().vae, Coupled(), batch_size=10, epochs=3), BYTES),
    "by step, and averaged": (replace(run(beta=Linear(0, 1, 50, by="step")), optimiser=EMA(decay=0.9)), BYTES),
}


BESIDE = {  # by case, what a dataset has beside its examples
    "given classes": {"labels": np.arange(len(BYTES)) % 3},
    "classes of some": {
        "labels": np.where(np.arange(207) % 5 < 2, np.arange(207) % 3, -1),
        "test": BYTES[207:],
        "test_labels": np.arange(23) % 3,
    },
    "given numbers": {"condition": RNG.normal(size=(len(BYTES), 2))},
}
FAST = ("grey", "coupled", "given classes")


@pytest.mark.parametrize("case", [pytest.param(c, marks=[] if c in FAST else pytest.mark.slow) for c in CASES])
def test_states_and_losses_are_those_in_memory_to_the_bit_and_go_on_to_the_same(case, tmp_path):
    config, array = CASES[case]
    beside = BESIDE.get(case, {})
    here, there = data.from_arrays(array, **beside), in_file(tmp_path / "x.npy", array, **beside)
    if array.dtype != np.uint8:
        here, there = data.standardized(here), data.standardized(there)
    expected, in_memory = trained(config, here)
    state, streamed = trained(config, there)
    same_bits(state, expected)
    for one, other in zip(streamed, in_memory, strict=True):
        jax.tree.map(np.testing.assert_array_equal, (one.test, one.train), (other.test, other.train))
    first = streamed[1].state
    again, reports = trained(config, there, states={config.name: first})
    assert [report.epoch for report in reports] == [2, 3]
    same_bits(again, expected)


def test_each_example_is_trained_on_once_an_epoch_in_the_order_of_the_permutation(tmp_path, monkeypatch):
    there, config = in_file(tmp_path / "x.npy", BYTES), run(epochs=1)
    batches, train_steps = [], compiled.train_steps

    def seen(program, state, images, order, *rest):
        assert images.nbytes <= CHUNK
        batches.extend(np.asarray(images)[np.asarray(order)])
        return train_steps(program, state, images, order, *rest)

    monkeypatch.setattr(compiled, "train_steps", seen)
    _, (before, _) = trained(config, there)
    order = np.asarray(epoch_order(config.program((6, 5)), before.state, 207))
    assert len(np.unique(order)) == 200  # seven of 207 take part in another epoch
    np.testing.assert_array_equal(batches, there.train_images[order.ravel()].reshape(20, 10, 6, 5))


@pytest.mark.slow
def test_the_step_of_the_first_loss_that_is_not_finite_is_the_one_in_memory(tmp_path):
    config, array = CASES["coupled"][0], BYTES.copy()
    array[[20, 120]] = 255
    dataset = in_file(tmp_path / "x.npy", array, test=BYTES)
    _, in_memory = trained(config, data.from_arrays(array, test=BYTES))
    _, streamed = trained(config, dataset)
    order = np.asarray(epoch_order(config.program((6, 5)), in_memory[0].state, 230))
    assert in_memory[-1].diverged == streamed[-1].diverged == 1 + np.isin(order, [20, 120]).any(1).argmax()


@pytest.mark.slow
def test_no_more_of_a_file_is_read_at_a_time_than_a_chunk_or_a_block(tmp_path, monkeypatch):
    sizes, read = [], FileArray.read
    monkeypatch.setattr(
        FileArray, "read", lambda self, rows: (sizes.append(len(rows) * self.row_bytes), read(self, rows))[1]
    )
    monkeypatch.setattr(data.Rows, "__array__", None)
    monkeypatch.setattr("jaxvae.training.streaming.STARTING", 100 * 40)
    np.save(tmp_path / "x.npy", RNG.normal(size=(2000, 10)).astype(np.float32))
    there = np.load(tmp_path / "x.npy", mmap_mode="r")
    fitted = jaxvae.fit(there, latent_dim=2, epochs=1, batch_size=20, quiet=True)
    in_memory = jaxvae.fit(np.array(there), latent_dim=2, epochs=1, batch_size=20, quiet=True)
    jax.tree.map(np.testing.assert_array_equal, fitted.params, in_memory.params)
    assert max(sizes) <= 100 * 40  # a batch of an evaluation
    assert fitted.about == in_memory.about
    np.testing.assert_array_equal(fitted.codes(there).mean, in_memory.codes(np.array(there)).mean)


def test_a_file_that_changes_while_a_run_is_trained_ends_it_in_a_line(tmp_path):
    path = tmp_path / "x.npy"
    dataset, threads = in_file(path, BYTES), threading.active_count()

    def cut(report):
        with path.open("r+b") as file:
            file.truncate(1000)

    with pytest.raises(DataError, match=r"x\.npy has been changed since it was opened; open it again"):
        sweep([run()], dataset, on_epoch=cut)
    assert threading.active_count() == threads


def test_whoever_stops_waits_for_no_epoch(tmp_path):
    dataset, threads = in_file(tmp_path / "x.npy", BYTES), threading.active_count()

    def stop(report):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep([run(epochs=10**6), run(epochs=10**6, seed=1)], dataset, on_epoch=stop)
    assert threading.active_count() == threads


def test_runs_are_looped_and_what_cannot_be_is_said_before(tmp_path, capsys):
    dataset = in_file(tmp_path / "x.npy", BYTES)
    assert not vmaps("auto", make_mesh("runs=2"), dataset.on_disk)
    for how in ({"strategy": "vmap"}, {"strategy": "auto", "mesh": make_mesh("data=2")}):
        with pytest.raises(ConfigError, match="data stays in its file and is streamed to each run by itself"):
            check([run()], dataset, **how)
    jaxvae.fit(np.load(tmp_path / "x.npy", mmap_mode="r"), run().vae, epochs=1)
    assert "data stays in its file, and each run is given chunks of" in capsys.readouterr().out


@pytest.mark.slow
def test_processes_read_the_file_themselves_and_train_to_the_same_bits(tmp_path):
    here, there = data.from_arrays(BYTES), in_file(tmp_path / "x.npy", BYTES)
    runs = [run(), run(seed=1)]
    streamed, in_memory = (sweep(runs, dataset, workers=2, strategy="loop") for dataset in (there, here))
    for config in runs:
        same_bits(streamed[config.name], in_memory[config.name])
