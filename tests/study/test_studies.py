"""Studies from files, and grids from options; bad ones are in benchmarks/faults/bad_flags.py."""

import json
from itertools import product

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxvae.commands.study_file import read_runs
from jaxvae.commands.sweep import parser, requested_runs
from jaxvae.config import ModelConfig, RunConfig, TrainConfig
from tests.command_line import ROOT

PLACES = st.tuples(st.sampled_from(["linear", "conv"]), st.integers(1, 60), st.floats(0, 1e3), st.integers(0, 9))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(PLACES, min_size=1, max_size=5, unique=True))
def test_a_study_is_what_was_written(tmp_path, places):
    runs = [RunConfig(ModelConfig(a, d), TrainConfig(20), 3, 1e-4, beta, seed) for a, d, beta, seed in places]
    (tmp_path / "study.json").write_text(json.dumps([run.to_json() for run in runs]))
    assert read_runs(tmp_path / "study.json") == runs
    (tmp_path / "study.py").write_text(f"from jaxvae.config import *\nruns = {runs!r}\n")
    assert read_runs(tmp_path / "study.py") == runs


def test_what_a_study_leaves_out_has_its_default(tmp_path):
    (tmp_path / "study.json").write_text('[{"model": {"architecture": "linear", "latent_dim": 2}, "beta": 4}]')
    assert read_runs(tmp_path / "study.json") == [RunConfig(ModelConfig("linear", 2), beta=4)]


def asked(*arguments):
    return requested_runs(parser().parse_args(arguments))


def test_a_grid_goes_by_seed_architecture_size_beta_and_learning_rate():
    runs = asked(
        "--seeds", "1", "0", "--latent-dims", "3", "2", "--betas", "1", "4", "1.0", "--learning-rates", "3e-4", "1e-3"
    )
    told = [(r.seed, r.model.architecture, r.model.latent_dim, r.beta, r.learning_rate) for r in runs]
    assert told == [*product((1, 0), ("linear", "conv"), (3, 2), (1, 4), (3e-4, 1e-3))]
    assert len({run.name for run in runs}) == len(runs)


def test_one_value_may_be_spelt_so():
    assert asked("--beta", "2", "--learning-rate", "0.01") == asked("--betas", "2", "--learning-rates", "0.01")
    assert asked()[0] == RunConfig(ModelConfig("linear", 2))


def test_a_precision_that_is_asked_for_is_that_of_all_runs(tmp_path):
    (tmp_path / "study.json").write_text(
        '[{"model": {"architecture": "conv", "latent_dim": 2, "precision": "bfloat16"}}]'
    )
    study = ["--study", str(tmp_path / "study.json")]
    assert [run.model.precision for run in asked(*study)] == ["bfloat16"]
    assert [run.model.precision for run in asked(*study, "--precision", "float32")] == ["float32"]


def test_the_studies_that_come_along_can_be_read():
    for path in (ROOT / "experiments" / "studies").iterdir():
        assert read_runs(path)
