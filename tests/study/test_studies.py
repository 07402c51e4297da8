"""Studies from files, and grids from options; bad ones are in benchmarks/faults/bad_flags.py."""

import json
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxvae.commands.study_file import read_runs
from jaxvae.commands.sweep import parser, requested_runs
from jaxvae.errors import ConfigError
from jaxvae.models import Conv, ConvDecoder
from jaxvae.optimisers import Adam, Stages
from jaxvae.study import Study
from jaxvae.training import check
from tests.blobs import small
from tests.classic import classic
from tests.command_line import ROOT

IMPORTS = "\n".join(f"from jaxvae.{name} import *" for name in ("config", "models", "objectives", "optimisers"))
PLACES = st.tuples(st.sampled_from(["linear", "conv"]), st.integers(1, 60), st.floats(0, 1e3), st.integers(0, 9))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(PLACES, min_size=1, max_size=5, unique=True))
def test_a_study_is_what_was_written(tmp_path, places):
    more = {"batch_size": 20, "epochs": 3, "learning_rate": 1e-4}
    runs = [classic(a, d, beta=beta, seed=seed, **more) for a, d, beta, seed in places]
    (tmp_path / "study.json").write_text(json.dumps([run.to_json() for run in runs]))
    assert read_runs(tmp_path / "study.json") == runs
    networks = {"linear": "MLP()", "conv": "Conv()"}
    lines = [
        f"RunConfig(VAE({d}, {networks[a]}), ELBO({beta!r}), Adam(1e-4), 20, epochs=3, seed={seed}),"
        for a, d, beta, seed in places
    ]
    (tmp_path / "study.py").write_text("\n".join([IMPORTS, "runs = [", *lines, "]"]))
    assert read_runs(tmp_path / "study.py") == runs


def test_a_run_whose_name_no_folder_can_have_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"a run's folder has its name, of at most 200 .*, not 'linear-2-hidden8x8"):
        Study(tmp_path / "out", [classic(hidden=(8,) * 100)], small())
    assert not [*tmp_path.iterdir()]


def test_runs_that_differ_in_one_thing_have_two_names(tmp_path):
    def of(**changes):
        return classic(**{"batch_size": 50} | changes)

    one = of()
    others = [
        of(batch_size=20), of(hidden=(8,)), of(hidden=(8, 4)), of(activation="tanh"),
        of(precision="bfloat16"), of(output_bias="data"), of(binarize="static"),
        of(binarize="dynamic"), of(objective="iwae"), of(learning_rate=Stages(1e-3)), of(seed=1),
        replace(one, optimiser=Adam(b1=0.5)), replace(one, optimiser=Adam(epsilon=1e-4)),
        replace(one, vae=replace(one.vae, encoder=Conv((4,)), decoder=ConvDecoder((4,)))), of(architecture="conv"),
    ]  # fmt: skip
    runs = [one, *others]
    assert len({run.name for run in runs}) == len(runs)
    (tmp_path / "study.json").write_text(json.dumps([run.to_json() for run in runs]))
    assert read_runs(tmp_path / "study.json") == runs
    alike = [run for run in runs if run.binarize == "none"]
    check(alike, small(), "loop")
    check(alike, small(), "vmap")
    with pytest.raises(ConfigError, match="must see the same images, not binarize none and static"):
        check([one, of(binarize="static")], small(), "loop")


def test_what_a_study_leaves_out_has_its_default(tmp_path):
    (tmp_path / "study.json").write_text('[{"model": {"architecture": "linear", "latent_dim": 2}, "beta": 4}]')
    assert read_runs(tmp_path / "study.json") == [classic(beta=4)]


def asked(*arguments):
    return requested_runs(parser().parse_args(arguments))


def test_a_grid_goes_by_seed_architecture_size_beta_and_learning_rate():
    runs = asked(
        "--seeds", "1", "0", "--latent-dims", "3", "2", "--betas", "1", "4", "1.0", "--learning-rates", "3e-4", "1e-3"
    )
    settings = [(r.seed, r.architecture, r.latent_dim, r.objective.beta, r.optimiser.learning_rate) for r in runs]
    assert settings == [*product((1, 0), ("linear", "conv"), (3, 2), (1, 4), (3e-4, 1e-3))]
    assert len({run.name for run in runs}) == len(runs)


def test_one_value_may_be_spelt_so():
    assert asked("--beta", "2", "--learning-rate", "0.01") == asked("--betas", "2", "--learning-rates", "0.01")
    assert asked()[0] == classic()


def test_a_precision_that_is_asked_for_is_that_of_all_runs(tmp_path):
    (tmp_path / "study.json").write_text(
        '[{"model": {"architecture": "conv", "latent_dim": 2, "precision": "bfloat16"}}]'
    )
    study = ["--study", str(tmp_path / "study.json")]
    assert [run.precision for run in asked(*study)] == ["bfloat16"]
    assert [run.precision for run in asked(*study, "--precision", "float32")] == ["float32"]


def test_the_studies_that_come_along_can_be_read():
    for path in (ROOT / "experiments" / "studies").iterdir():
        assert read_runs(path)
