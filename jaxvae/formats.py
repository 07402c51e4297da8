"""Configurations as earlier versions wrote them, made into those of today.

In: the JSON object of a run's configuration, of any format. Out: the JSON of parts. This table is the one place that
knows what formats 1 and 2 looked like; it is read for ever.
"""

from __future__ import annotations

from typing import Any

from jaxvae.errors import ConfigError, is_whole, quoted
from jaxvae.naming import text

FORMAT = 3  # of what is written now: configurations are parts, data say the shape of an example
OLD_SHAPE = (28, 28)  # of an example, in formats that do not say it
MODEL = {"architecture": None, "latent_dim": None, "precision": "float32", "hidden": [256], "activation": "relu"}
TRAIN = {
    "batch_size": 100, "objective": "elbo", "importance_samples": 1, "binarize": "none", "adam_b1": 0.9,
    "adam_epsilon": 1e-8, "adam_second_moment": 0.0, "output_bias": "zero",
}  # fmt: skip
RUN = {"model": None, "train": {}, "epochs": 15, "learning_rate": 1e-3, "beta": 1.0, "seed": 0, "schedule": "constant"}
BURDA = "optimiser/adam-from-one"  # the part in which experiments.published defines the second moment's start


def is_old(config: Any) -> bool:
    """Whether an object is a configuration of format 1 or 2."""
    return isinstance(config, dict) and "model" in config


def upgraded(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration of format 1 or 2 as format 3 has it.

    Raises:
        ConfigError: a field is missing or unknown, or the values contradict each other.
    """
    run = _filled("a run", config, RUN)
    model, train = _filled("model", run["model"], MODEL), _filled("train", run["train"], TRAIN)
    new = {name: run[name] for name in ("epochs", "seed")} | {name: train[name] for name in ("batch_size", "binarize")}
    parts = {"vae": _vae(model, train), "objective": _objective(run, train), "optimiser": _adam(run, train)}
    return {"part": "run"} | parts | new


def old_name(run: Any) -> str:
    """What formats 1 and 2 called a run: its objective, β, learning rate and seed, nothing else."""
    words, objective = [f"{run.architecture}-{run.latent_dim}"], run.objective.part_label
    if objective != "elbo":
        words.append(f"{objective}{getattr(run.objective, 'importance_samples', '')}")
    beta, rate = getattr(run.objective, "beta", 1), getattr(run.optimiser, "learning_rate", RUN["learning_rate"])
    rate = getattr(rate, "initial", rate)  # of stages, which formats 1 and 2 do not tell from a constant
    words += [f"beta{text(beta)}"] if beta != 1 else []
    words += [f"lr{text(rate)}"] if rate != RUN["learning_rate"] else []
    return "-".join([*words, *([f"seed{run.seed}"] if run.seed else [])])


def _vae(model: dict[str, Any], train: dict[str, Any]) -> dict[str, Any]:
    architecture = model["architecture"]
    if architecture not in ("linear", "conv"):
        raise ConfigError(f"architecture must be one of linear, conv, not {quoted(architecture)}")
    layers = {name: model[name] for name in ("hidden", "activation")}
    if architecture == "conv":
        if (model["hidden"], model["activation"]) not in (([256], "relu"), ((256,), "relu")):
            raise ConfigError("hidden and activation are a linear model's; a conv model's layers are fixed")
        if train["output_bias"] != "zero":
            raise ConfigError("output_bias can be data in linear models only: a conv model has one bias for all pixels")
    encoder = {"part": "network/mlp"} | layers if architecture == "linear" else {"part": "network/conv"}
    decoder = None
    if train["output_bias"] != "zero":
        decoder = {"part": "decoder/mlp"} | layers | {"output_bias": train["output_bias"]}
    # an old configuration does not say whether its precision was asked for or chosen by the machine; names lack it
    precision = "auto:bfloat16" if model["precision"] == "bfloat16" else model["precision"]
    networks = {"encoder": encoder, "decoder": decoder}
    return {"part": "vae", "latent_dim": model["latent_dim"]} | networks | {"precision": precision}


def _objective(run: dict[str, Any], train: dict[str, Any]) -> dict[str, Any]:
    name, k, beta = train["objective"], train["importance_samples"], run["beta"]
    if name == "elbo":
        if not is_whole(k, 1) or k > 1:
            raise ConfigError(f"importance_samples is {quoted(k)}, which needs the objective iwae or iwae-dreg")
        return {"part": "objective/elbo", "beta": beta}
    if beta != 1:
        raise ConfigError(f"beta must be 1 with the objective {quoted(name)}, not {quoted(beta)}")
    if name not in ("iwae", "iwae-dreg"):
        raise ConfigError(f"objective must be one of elbo, iwae, iwae-dreg, not {quoted(name)}")
    return {"part": f"objective/{name}", "importance_samples": k}


def _adam(run: dict[str, Any], train: dict[str, Any]) -> dict[str, Any]:
    rate = run["learning_rate"]
    if run["schedule"] not in ("constant", "stages"):
        raise ConfigError(f"schedule must be one of constant, stages, not {quoted(run['schedule'])}")
    if run["schedule"] == "stages":
        rate = {"part": "schedule/stages", "initial": rate}
    adam = {"part": "optimiser/adam", "learning_rate": rate, "b1": train["adam_b1"], "epsilon": train["adam_epsilon"]}
    second = train["adam_second_moment"]
    return adam if second == 0 else adam | {"part": BURDA, "second_moment": second}


def _filled(what: str, data: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    """The object with what it leaves out; a default of None says that it may not."""
    if not isinstance(data, dict):
        raise ConfigError(f"{what} must be a JSON object, not {quoted(data)}")
    if unknown := sorted(map(quoted, data.keys() - defaults.keys())):
        raise ConfigError(f"{what} has no field {unknown[0]}; it has {', '.join(defaults)}")
    if missing := [name for name, default in defaults.items() if default is None and name not in data]:
        raise ConfigError(f"{what} lacks the field {missing[0]!r}")
    return defaults | data
