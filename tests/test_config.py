import json

import pytest

from jaxvae import config
from jaxvae.config import ModelConfig, RunConfig, TrainConfig, differences
from jaxvae.errors import ConfigError

PUBLISHED = RunConfig(
    ModelConfig("linear", 50, hidden=(200, 100), activation="tanh"),
    TrainConfig(20, "iwae", 5, "dynamic", 0.99, 5e-6, 0.0025, "data"),
    schedule="stages",
)
CONFIG = RunConfig(ModelConfig("conv", 5, "bfloat16"), TrainConfig(64), epochs=3, learning_rate=2e-4, beta=4.0, seed=7)


def test_json_round_trip_is_the_identity():
    for one in (CONFIG, PUBLISHED):
        assert RunConfig.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_fields_that_older_files_lack_have_their_defaults():
    older = {"model": {"architecture": "linear", "latent_dim": 2}, "train": {"batch_size": 100}, "seed": 3}
    assert RunConfig.from_json(older) == RunConfig(ModelConfig("linear", 2), seed=3)


def test_names_tell_runs_of_a_sweep_apart():
    assert CONFIG.name == "conv-5-beta4-lr0.0002-seed7"
    assert RunConfig(ModelConfig("linear", 2)).name == "linear-2"
    assert PUBLISHED.name == "linear-50-iwae5"


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: ModelConfig("cnn", 2), "architecture"),
        (lambda: ModelConfig("conv", 0), "latent_dim"),
        (lambda: ModelConfig("conv", True), "latent_dim"),
        (lambda: ModelConfig("conv", 2, "float16"), "precision"),
        (lambda: ModelConfig("linear", 2, hidden=()), "hidden"),
        (lambda: ModelConfig("linear", 2, hidden=(0,)), "hidden"),
        (lambda: ModelConfig("linear", 2, activation="gelu"), "activation"),
        (lambda: ModelConfig("conv", 2, hidden=(100,)), "hidden"),
        (lambda: TrainConfig(0), "batch_size"),
        (lambda: TrainConfig(objective="elbow"), "objective"),
        (lambda: TrainConfig(importance_samples=2), "importance_samples"),
        (lambda: TrainConfig(objective="iwae", importance_samples=0), "importance_samples"),
        (lambda: TrainConfig(binarize="yes"), "binarize"),
        (lambda: TrainConfig(adam_b1=1.0), "adam_b1"),
        (lambda: TrainConfig(adam_epsilon=-1.0), "adam_epsilon"),
        (lambda: TrainConfig(output_bias="mean"), "output_bias"),
        (lambda: RunConfig(ModelConfig("conv", 2), TrainConfig(output_bias="data")), "output_bias"),
        (lambda: RunConfig(ModelConfig("conv", 2), TrainConfig(objective="iwae"), beta=2.0), "beta"),
        (lambda: RunConfig(ModelConfig("conv", 2), schedule="cosine"), "schedule"),
        (lambda: RunConfig(ModelConfig("conv", 2), epochs=-1), "epochs"),
        (lambda: RunConfig(ModelConfig("conv", 2), seed=2**32), "seed"),
        (lambda: RunConfig(ModelConfig("conv", 2), learning_rate=float("nan")), "learning_rate"),
        (lambda: RunConfig(ModelConfig("conv", 2), beta=-1.0), "beta"),
        (lambda: RunConfig.from_json([]), "JSON object"),
        (lambda: RunConfig.from_json({"model": 3}), "JSON object"),
        (lambda: RunConfig.from_json({}), "'model'"),
        (lambda: RunConfig.from_json(CONFIG.to_json() | {"betas": 1}), "'betas'"),
    ],
)
def test_what_no_run_can_have_is_refused_by_name(make, names):
    with pytest.raises(ConfigError, match=names) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [2.0, "2", None, True, 0])
def test_whole_numbers_are_whole(value):
    with pytest.raises(ConfigError, match="latent_dim"):
        config._whole("latent_dim", value, at_least=1)


def test_differences_name_what_keeps_a_run_from_going_on():
    other = RunConfig(
        ModelConfig("conv", 5, "bfloat16"), TrainConfig(32), epochs=9, learning_rate=2e-4, beta=4.0, seed=7
    )
    assert differences(CONFIG, other) == ["batch_size 64 there, 32 now"]
