"""Studies from files, and grids from options; bad ones are in benchmarks/faults/bad_flags.py."""

import json
import pickle
import sys
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxvae import parts
from jaxvae.commands.grid import requested_runs
from jaxvae.commands.study_file import read_runs
from jaxvae.commands.sweep import parser
from jaxvae.errors import ConfigError, InputError
from jaxvae.models import Conv, ConvDecoder
from jaxvae.optimisers import Adam, Stages
from jaxvae.study import Study
from jaxvae.training import check
from tests.blobs import small
from tests.classic import classic
from tests.command_line import ROOT, run

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
    with pytest.raises(ConfigError, match="must see the same images, not binarize none and binarize static"):
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


OWN_PRIOR = """
from __future__ import annotations

from jaxvae.config import RunConfig
from jaxvae.models import MLP, VAE, StandardNormal
from jaxvae.parts import Number, part, traced


@part("prior/of-a-study")
class Own(StandardNormal):
    width: Number = traced(default=1.0)


runs = [RunConfig(VAE(2, MLP((4,)), prior=Own(width)), batch_size=20, epochs=1) for width in (1.0, 2.0)]
"""


@pytest.fixture
def own_prior(monkeypatch):
    """A study that defines a part; what reading it leaves behind in this process is taken back."""
    monkeypatch.setattr(parts, "REGISTERED", dict(parts.REGISTERED))
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield OWN_PRIOR
    for name in ("defines_a_prior", "study json", "study v1.2"):
        sys.modules.pop(name, None)


def test_a_study_may_define_parts(own_prior, tmp_path):
    path = tmp_path / "defines_a_prior.py"
    path.write_text(own_prior)
    for _ in range(2):  # as a notebook's cell, it may be read again
        runs = read_runs(path)
        assert [run.name for run in runs] == [f"linear-2-hidden4-prior=of-a-study{x}-batch20" for x in ("", ".width=2")]
    assert pickle.loads(pickle.dumps(runs)) == runs


def test_a_study_has_the_language_that_it_asks_for(tmp_path):
    path = tmp_path / "annotates.py"
    asks = "def own(x: int): ...\n\nseed = own.__annotations__['x']('3')"  # unless annotations are texts, as with us
    path.write_text(f"{IMPORTS}\n{asks}\nruns = [RunConfig(VAE(2, MLP()), seed=seed)]")
    assert read_runs(path) == [classic(seed=3)]


@pytest.mark.parametrize("name", ["json.py", "v1.2.py"])
def test_parts_that_worker_processes_could_not_find_are_refused(own_prior, tmp_path, name):
    (tmp_path / name).write_text("from tests.classic import classic\nruns = [classic()]")
    assert read_runs(tmp_path / name) == [classic()]
    (tmp_path / name).write_text(own_prior)
    with pytest.raises(InputError, match=f"{name} defines parts, and Python cannot import it as .*; rename the file"):
        read_runs(tmp_path / name)


@pytest.mark.slow
def test_parts_of_a_study_are_found_by_worker_processes(cache, tmp_path):
    (tmp_path / "defines_a_prior.py").write_text(OWN_PRIOR)
    study = ["--study", tmp_path / "defines_a_prior.py", "--workers", "2", "--quiet", "--out", tmp_path / "out"]
    code, _, err = run(["--dataset", "digits", "--limit", "60", *study], cache)
    assert (code, err) == (0, "")
    assert len([*(tmp_path / "out").glob("linear-*/checkpoints/1")]) == 2
