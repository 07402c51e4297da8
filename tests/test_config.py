"""What a run is: its checks, its JSON, its name, the program that it compiles to; and configurations of old formats."""

import dataclasses
import json
import math
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments.protocols import AdamFromOne
from jaxvae import parts
from jaxvae.config import RunConfig, differences
from jaxvae.errors import ConfigError
from jaxvae.formats import old_name
from jaxvae.models import MLP, VAE, Conv, MLPDecoder
from jaxvae.objectives import ELBO, IWAE, DReG
from jaxvae.optimisers import Adam, Stages
from tests.classic import classic, vae

PUBLISHED = RunConfig(
    vae("linear", 50, hidden=(200, 100), activation="tanh", output_bias="data"), IWAE(5),
    AdamFromOne(Stages(1e-3), 0.99, 5e-6, second_moment=0.0025), batch_size=20, binarize="dynamic",
)  # fmt: skip
CONFIG = classic("conv", 5, precision="bfloat16", batch_size=64, epochs=3, learning_rate=2e-4, beta=4.0, seed=7)

OLD = {
    "model": {"architecture": "conv", "latent_dim": 5, "precision": "bfloat16"},
    "train": {"batch_size": 64}, "epochs": 3, "learning_rate": 2e-4, "beta": 4.0, "seed": 7,
}  # fmt: skip
OLD_PUBLISHED = {
    "model": {"architecture": "linear", "latent_dim": 50, "hidden": [200, 100], "activation": "tanh"},
    "train": {
        "batch_size": 20, "objective": "iwae", "importance_samples": 5, "binarize": "dynamic", "adam_b1": 0.99,
        "adam_epsilon": 5e-6, "adam_second_moment": 0.0025, "output_bias": "data",
    },
    "schedule": "stages",
}  # fmt: skip


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_json_round_trip_is_the_identity():
    for one in (CONFIG, PUBLISHED):
        assert RunConfig.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_what_has_a_default_may_be_left_out():
    data = {"vae": {"part": "vae", "latent_dim": 2, "encoder": {"part": "network/mlp"}}, "seed": 3}
    assert RunConfig.from_json(data) == classic(seed=3)


# ── formats 1 and 2 ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_fields_that_older_files_lack_have_their_defaults():
    older = {"model": {"architecture": "linear", "latent_dim": 2}, "train": {"batch_size": 100}, "seed": 3}
    assert RunConfig.from_json(older) == classic(seed=3)
    assert RunConfig.from_json({"model": {"architecture": "conv", "latent_dim": 3}}) == classic("conv", 3)


def test_old_configurations_are_runs_of_parts():
    """An old file does not say whether its precision was asked for: it counts as the machine's own choice."""
    automatic = dataclasses.replace(CONFIG, vae=dataclasses.replace(CONFIG.vae, precision="auto:bfloat16"))
    assert RunConfig.from_json(OLD) == automatic
    assert RunConfig.from_json(OLD_PUBLISHED) == PUBLISHED
    dreg = {"model": OLD["model"], "train": {"objective": "iwae-dreg", "importance_samples": 9}}
    assert RunConfig.from_json(dreg).objective == DReG(9)
    assert RunConfig.from_json(RunConfig.from_json(OLD).to_json()) == automatic


def test_old_names_are_what_old_versions_called_a_run():
    assert old_name(RunConfig.from_json(OLD)) == "conv-5-beta4-lr0.0002-seed7"
    assert old_name(RunConfig.from_json(OLD_PUBLISHED)) == "linear-50-iwae5"
    dreg = {"model": OLD["model"], "train": {"objective": "iwae-dreg", "importance_samples": 9}, "learning_rate": 1e-5}
    assert old_name(RunConfig.from_json(dreg)) == "conv-5-iwae-dreg9-lr1e-05"
    wide = {"model": {"architecture": "linear", "latent_dim": 2, "hidden": [8]}, "train": {"batch_size": 20}}
    assert old_name(RunConfig.from_json(wide)) == "linear-2"


def old(model=(), train=(), **run):
    return OLD | {"model": OLD["model"] | dict(model), "train": OLD["train"] | dict(train), "beta": 1.0} | run


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (old({"architecture": "cnn"}), "architecture must be one of linear, conv, not 'cnn'"),
        (old({"architecture": ["conv"]}), "architecture must be one of"),
        (old({"precision": "float16"}), "precision"),
        (old({"hidden": [100]}), "hidden and activation are a linear model's"),
        (old({"activation": "tanh"}), "hidden and activation are a linear model's"),
        (old({"latent_dim": 0}), "latent_dim"),
        (old({"layers": 3}), "model has no field 'layers'; it has architecture, latent_dim"),
        (old(train={"momentum": 3}), "train has no field 'momentum'"),
        (old(train={"output_bias": "data"}), "output_bias can be data in linear models only"),
        (old({"architecture": "linear"}, {"output_bias": "mean"}), "output_bias"),
        (old(train={"objective": "elbow"}), "objective must be one of elbo, iwae, iwae-dreg, not 'elbow'"),
        (old(train={"objective": ["iwae"]}), "objective must be one of"),
        (old(train={"importance_samples": 2}), "importance_samples is 2, which needs the objective iwae"),
        (old(train={"importance_samples": 0}), "importance_samples is 0"),
        (old(train={"objective": "iwae", "importance_samples": 0}), "importance_samples"),
        (old(train={"objective": "iwae"}, beta=2.0), "beta must be 1 with the objective 'iwae', not 2.0"),
        (old(train={"adam_b1": 1.0}), "b1"),
        (old(train={"adam_second_moment": -1.0}), "second_moment"),
        (old(schedule="cosine"), "schedule must be one of constant, stages, not 'cosine'"),
        (old(schedule="stages", learning_rate=-1.0), "initial"),
        (old(betas=1), "a run has no field 'betas'; it has model, train"),
        ({"model": {"architecture": "conv"}}, "model lacks the field 'latent_dim'"),
        ({"model": 3}, "model must be a JSON object, not 3"),
        ({"model": OLD["model"], "train": []}, r"train must be a JSON object, not \[\]"),
    ],
)
def test_what_no_old_run_can_have_is_refused_by_name(data, names):
    with pytest.raises(ConfigError, match=names) as caught:
        RunConfig.from_json(data)
    assert "\n" not in str(caught.value)


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (classic("linear", 2), "linear-2"),
        (classic("conv", 50, seed=1), "conv-50-seed1"),
        (classic("conv", 10, beta=4.0, learning_rate=3e-4), "conv-10-beta4-lr0.0003"),
        (classic("linear", 50, objective="iwae", importance_samples=5), "linear-50-iwae5"),
        (classic("linear", 3, objective="iwae-dreg", importance_samples=50, seed=2), "linear-3-iwae-dreg50-seed2"),
        (classic("conv", 2, precision="auto:bfloat16"), "conv-2"),  # the machine's own choice
        (classic("conv", 2, epochs=3), "conv-2"),  # the same run, of which there is less
        (classic("linear", 2, beta=4, learning_rate=0.001), "linear-2-beta4"),
    ],
)
def test_classic_names_stay_what_they_were(run, name):
    assert run.name == name


def test_what_names_were_silent_about_is_in_them():
    assert CONFIG.name == "conv-5-bfloat16-beta4-lr0.0002-batch64-seed7"
    assert (
        classic("linear", 2, hidden=(8, 6), activation="tanh", binarize="static").name
        == "linear-2-hidden8x6-tanh-static"
    )
    for word in ("linear-50-", "hidden200x100", "tanh", "iwae5", "adam-from-one", "batch20", "dynamic"):
        assert word in PUBLISHED.name


# ── checks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: classic("conv", 0), "vae: latent_dim must be a whole number of at least 1"),
        (lambda: classic("conv", True), "latent_dim"),
        (lambda: classic("conv", 2, precision="float16"), "vae: precision must be one of float32, bfloat16"),
        (lambda: classic("linear", 2, hidden=()), "network/mlp: hidden must be a tuple of at least one width"),
        (lambda: classic("linear", 2, hidden=(0,)), "hidden"),
        (
            lambda: classic("linear", 2, activation="swish"),
            "network/mlp: activation must be one of relu, tanh, gelu, silu, elu, linear, not 'swish'",
        ),
        (lambda: RunConfig(VAE(2, Conv(()))), "network/conv: channels"),
        (lambda: RunConfig(VAE(2, Conv((2**16,)))), "channels"),
        (lambda: RunConfig(VAE(2, MLP(), MLPDecoder(output_bias="mean"))), "decoder/mlp: output_bias must be one of"),
        (lambda: RunConfig(VAE(2, None)), "vae: encoder must be"),
        (lambda: RunConfig(VAE(2, MLPDecoder())), "has no mirror image; give a decoder"),
        (lambda: classic(batch_size=0), "run: batch_size"),
        (
            lambda: RunConfig(vae(), objective="elbow"),
            "run: objective must be a part of the kind objective, not 'elbow'",
        ),
        (lambda: RunConfig(vae(), objective=Adam()), "run: objective must be a part of the kind objective"),
        (lambda: RunConfig(vae(), optimiser=ELBO()), "run: optimiser must be a part of the kind optimiser"),
        (lambda: RunConfig(VAE(2, MLP(), prior=ELBO())), "vae: prior must be a part of the kind prior"),
        (lambda: RunConfig(vae(), objective=IWAE(0)), "objective/iwae: importance_samples"),
        (lambda: RunConfig(vae(), objective=DReG(True)), "objective/iwae-dreg: importance_samples"),
        (lambda: classic(binarize="yes"), "run: binarize must be one of none, dynamic, static, not 'yes'"),
        (lambda: RunConfig(vae(), optimiser=Adam(b1=1.0)), "optimiser/adam: b1"),
        (lambda: RunConfig(vae(), optimiser=Adam(epsilon=-1.0)), "optimiser/adam: epsilon"),
        (lambda: RunConfig(vae(), optimiser=Adam(Stages(math.inf))), "schedule/stages: initial"),
        (lambda: classic(epochs=-1), "run: epochs"),
        (lambda: classic(seed=2**32), "run: seed"),
        (lambda: classic(learning_rate=float("nan")), "optimiser/adam: learning_rate must be a finite number"),
        (lambda: classic(learning_rate="fast"), "optimiser/adam: learning_rate"),
        (lambda: classic(beta=-1.0), "objective/elbo: beta must be a finite number of at least 0"),
        (lambda: classic(beta=True), "objective/elbo: beta"),
        (lambda: RunConfig.from_json([]), "JSON object"),
        (lambda: RunConfig.from_json({}), "'vae'"),
        (lambda: RunConfig.from_json({"part": "vae", "latent_dim": 2, "encoder": MLP()}), "must be of the part run"),
        (
            lambda: RunConfig.from_json(CONFIG.to_json() | {"betas": 1}),
            "run has no field 'betas'; it has vae",
        ),
    ],
)
def test_what_no_run_can_have_is_refused_by_name(make, names):
    with pytest.raises(ConfigError, match=names) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [2.0, "2", None, True, 0, 100, [2], 2**70])
def test_whole_numbers_are_whole(value):
    """With a class that is not checked for types, as nothing is outside of tests."""
    with pytest.raises(ConfigError, match=r"^thing: width must be a whole number of at least 1 and below 100, not "):
        parts.require_whole(SimpleNamespace(part_name="thing", width=value), "width", 1, 100)


@pytest.mark.parametrize("value", [(), [8], None, 8, "8", (8, 2.0), (8, True), (0,), (2**16,)])
def test_widths_are_a_tuple_of_whole_numbers(value):
    with pytest.raises(ConfigError, match=r"^thing: hidden must "):
        parts.require_widths(SimpleNamespace(part_name="thing", hidden=value), "hidden", 2**16)


def test_differences_name_what_keeps_a_run_from_going_on():
    other = classic("conv", 5, precision="bfloat16", batch_size=32, epochs=9, learning_rate=2e-4, beta=4.0, seed=7)
    assert differences(CONFIG, other) == ["batch_size 64 there, 32 now"]
    assert differences(CONFIG, dataclasses.replace(CONFIG, objective=ELBO(2.0))) == [
        "objective.beta 4.0 there, 2.0 now"
    ]
    chosen = dataclasses.replace(CONFIG, vae=dataclasses.replace(CONFIG.vae, precision="auto:bfloat16"))
    assert differences(CONFIG, chosen) == []
    found = differences(classic("linear", 2), classic("conv", 2))
    assert "vae.encoder 'network/mlp' there, 'network/conv' now" in found


# ── programs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_runs_that_differ_in_numbers_alone_are_one_program():
    """Latent sizes aside, which are padded; and what a machine chose is what somebody asked for."""
    plain = classic("linear", 2)
    for other in (
        {"seed": 3},
        {"beta": 4.0},
        {"learning_rate": 0.1},
        {"latent_dim": 5},
        {"learning_rate": Stages(1e-3)},
    ):
        assert classic("linear", **other).structure == plain.structure
    for other in (
        {"batch_size": 20}, {"hidden": (8,)}, {"activation": "tanh"}, {"precision": "bfloat16"},
        {"binarize": "dynamic"}, {"architecture": "conv"}, {"objective": "iwae"}, {"output_bias": "data"},
    ):  # fmt: skip
        assert classic(**other).structure != plain.structure
    assert classic(precision="auto:bfloat16").structure == classic(precision="bfloat16").structure


def test_a_program_s_leaves_are_the_numbers_of_its_epoch():
    program = classic("linear", 2, beta=4.0, learning_rate=Stages(1e-3)).program((28, 28), epoch=2, latent_dim=5)
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(program)}
    assert leaves.keys() == {".vae.used", ".objective.beta", ".optimiser.learning_rate"}
    assert (leaves[".vae.used"], leaves[".objective.beta"]) == (2, 4)
    assert leaves[".optimiser.learning_rate"] == np.float32(1e-3 * 10 ** (-1 / 7))
    assert (program.vae.latent_dim, program.vae.shape) == (5, (28, 28))
