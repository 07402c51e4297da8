"""A sweep that was stopped, or is asked for more, goes on to the bits of one that was not."""

import itertools
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

import jaxvae
from benchmarks.faults import kills
from benchmarks.faults.ground import changed
from benchmarks.faults.kills import difference
from jaxvae.errors import ConfigError
from jaxvae.formats import old_name
from jaxvae.models import MLP
from jaxvae.runs import checkpoint, manifest
from jaxvae.study import resume
from jaxvae.study.study import Study
from jaxvae.training import groups
from tests.classic import classic

# vmapped, they are four lanes on the two devices that tests have
RUNS = [
    classic("linear", d, hidden=(8,), batch_size=20, epochs=3, seed=seed)
    for d, seed in ((2, 1), (2, 2), (3, 1), (3, 2))
]


def train(folder, dataset, strategy, runs=RUNS):
    study = Study(folder, runs, dataset)
    study.train(strategy, quiet=True)
    return study.how["epochs_trained"]


@pytest.fixture(scope="module")
def wholes(small, tmp_path_factory):
    """By strategy, the folder of a sweep that nothing disturbed."""
    folders = {strategy: tmp_path_factory.mktemp(strategy) / "sweep" for strategy in ("loop", "vmap")}
    for strategy, folder in folders.items():
        assert train(folder, small, strategy) == 12
    return folders


def stopping(monkeypatch, after):
    """Has the saving of a checkpoint interrupted once, when `after` have been saved."""
    save, count = checkpoint.save, itertools.count()

    def stopped(folder, progress):
        if next(count) == after:
            raise KeyboardInterrupt
        save(folder, progress)

    monkeypatch.setattr(checkpoint, "save", stopped)


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 6, 13])
@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_stopped_between_two_saves_it_goes_on_to_the_same_bits(wholes, strategy, after, small, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        stopping(patched, after)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "sweep", small, strategy)
    left = {run.name: checkpoint.epochs(tmp_path / "sweep" / run.name) for run in RUNS}
    assert sum(epochs[-1] + 1 for epochs in left.values() if epochs) == after
    train(tmp_path / "sweep", small, strategy)
    assert difference(wholes[strategy], tmp_path / "sweep") is None


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_lanes_find_their_companions_after_a_damaged_checkpoint(wholes, strategy, small, tmp_path):
    """One falls back to the epoch before; vmapped, its companions go back with it."""
    folder = shutil.copytree(wholes[strategy], tmp_path / "sweep")
    (folder / RUNS[1].name / "checkpoints" / "3" / "history.json").write_text("{}")
    assert train(folder, small, strategy) == (1 if strategy == "loop" else 4)
    assert difference(wholes[strategy], folder) is None


def as_format_2(folder, runs):
    """Rewrites runs' folders as the code of format 2 wrote them, under its names, which said less."""
    names = {run.name: old_name(run) for run in runs}
    for run in runs:
        (folder / run.name).rename(own := folder / names[run.name])
        config = {
            "model": {
                "architecture": "linear", "latent_dim": run.latent_dim, "precision": "float32",
                "hidden": list(run.vae.encoder.hidden), "activation": "relu",
            },
            "train": {
                "batch_size": run.batch_size, "objective": "elbo", "importance_samples": 1, "binarize": run.binarize,
                "adam_b1": 0.9, "adam_epsilon": 1e-8, "adam_second_moment": 0.0, "output_bias": "zero",
            },
            "epochs": run.epochs, "learning_rate": 1e-3, "beta": 1.0, "seed": run.seed, "schedule": "constant",
        }  # fmt: skip
        for path in (own / "config.json", *own.glob("checkpoints/*/config.json")):
            changed(path, lambda content, config=config: without_shape(content) | {"format": 2, "config": config})
        for inner in (own / "checkpoints").iterdir():
            changed(inner / "history.json", lambda content: {
                "epochs": content["epochs"], "diverged": content["diverged"],
                "together": [names[name] for name in content["lane_runs"]],
            })  # fmt: skip
            manifest.write_manifest(inner)


def without_shape(content):
    return content | {"dataset": {name: value for name, value in content["dataset"].items() if name != "shape"}}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_begun_by_an_earlier_version_it_goes_on_to_the_same_bits(wholes, strategy, small, tmp_path):
    """Two of four lanes stand an epoch ahead of the others, as an interruption leaves them."""
    folder, shorter = tmp_path / "sweep", [replace(run, epochs=2) for run in RUNS]
    train(folder, small, strategy, shorter)
    as_format_2(folder, shorter)
    for name in ("linear-2-seed1", "linear-3-seed2"):
        shutil.rmtree(folder / name / "checkpoints" / "2")
    assert sorted(path.name for path in folder.iterdir()) == [old_name(run) for run in RUNS]
    assert train(folder, small, strategy) == (6 if strategy == "loop" else 8)
    assert difference(wholes[strategy], folder) is None
    for run in RUNS:
        epochs = checkpoint.read(folder / run.name, 3).lane_runs
        assert epochs == (tuple(run.name for run in RUNS) if strategy == "vmap" else ())


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_runs_that_differ_in_what_names_did_not_say_lie_beside_each_other(strategy, small, tmp_path):
    """Batch size, width, precision; each is trained as it would be by itself."""
    one = RUNS[0]
    others = [
        replace(one, batch_size=30),
        replace(one, vae=replace(one.vae, encoder=MLP((4,)))),
        replace(one, vae=replace(one.vae, precision="bfloat16")),
    ]
    assert {old_name(run) for run in [one, *others]} == {"linear-2-seed1"}
    assert train(tmp_path / "sweep", small, strategy, [one, *others]) == 4 * 3
    for run in [one, *others]:
        assert train(tmp_path / "alone", small, strategy, [run]) == 3
        own, alone = (jaxvae.load(tmp_path / place / run.name) for place in ("sweep", "alone"))
        assert own.config == run
        jax.tree.map(np.testing.assert_array_equal, own.params, alone.params)
    binary = replace(one, binarize="static")
    assert old_name(binary) == old_name(one) != binary.name
    with pytest.raises(ConfigError, match="must see the same images, not binarize none and binarize static"):
        train(tmp_path / "mixed", small, strategy, [one, binary])


@pytest.mark.slow
def test_more_of_anything_trains_only_what_is_missing(wholes, small, tmp_path):
    whole, strategy = wholes["vmap"], "vmap"
    folder = shutil.copytree(whole, tmp_path / "sweep")
    more = [*RUNS, replace(RUNS[0], vae=replace(RUNS[0].vae, latent_dim=4)), replace(RUNS[0], seed=3)]
    assert train(folder, small, strategy, more) == 2 * 3
    assert train(folder, small, strategy, more) == 0
    for run in RUNS:
        for epoch in checkpoint.epochs(whole / run.name):
            file = f"{run.name}/checkpoints/{epoch}/manifest.json"
            assert (folder / file).read_bytes() == (whole / file).read_bytes()
    longer = [replace(run, epochs=5) for run in more]
    assert train(folder, small, strategy, longer) == 6 * 2


def test_a_group_that_stands_at_two_epochs_goes_back_by_one_and_no_more():
    names = tuple(run.name for run in RUNS)
    names, lane_runs = names[:3], dict.fromkeys(names[:3], names[:3])

    def ahead(*epochs, diverged=()):
        behind = {name: epoch for name, epoch in zip(names, epochs, strict=True) if epoch >= 0}
        return set(groups.ahead(RUNS, behind, {name: lane_runs[name] for name in behind}, diverged))

    a, b, c = names
    assert ahead(4, 4, 4) == ahead(-1, -1, -1) == set()
    assert ahead(5, 4, 4) == {a}
    assert ahead(5, 5, 4) == {a, b}
    assert ahead(0, -1, -1) == {a}
    assert ahead(5, 3, 3) == set()  # damaged, not interrupted
    assert ahead(5, 5, 2, diverged=[c]) == set()
    assert not groups.ahead(RUNS[:2], {a: 5, b: 4}, lane_runs, ())  # not all of them are here


def test_companions_stay_together_whoever_else_is_trained():
    names = tuple(run.name for run in RUNS)
    new = [replace(run, seed=7) for run in RUNS[:3]]
    behind = dict.fromkeys(names, 2)
    made = groups.grouped([*RUNS, *new], {}.__getitem__, behind, True, 2, dict.fromkeys(names, names), ())
    assert sorted((group.epoch, len(group.runs)) for group in made) == [(-1, 1), (-1, 2), (2, 4)]
    assert tuple(run.name for run in next(g for g in made if g.epoch == 2).runs) == names


def test_without_a_checkpoint_before_it_a_lane_stays_where_it_is(wholes, tmp_path):
    folder = shutil.copytree(wholes["vmap"], tmp_path / "sweep")
    name, companion = RUNS[0].name, RUNS[2].name
    shutil.rmtree(folder / name / "checkpoints" / "2")
    shutil.rmtree(folder / companion / "checkpoints" / "3")
    progress = {
        run.name: checkpoint.read(folder / run.name, checkpoint.epochs(folder / run.name)[-1]).past for run in RUNS
    }
    assert progress[name].lane_runs == tuple(run.name for run in RUNS)
    found = resume.with_companions(folder, RUNS, progress)
    assert [found[run.name].epoch for run in RUNS] == [3, 2, 2, 2]


@pytest.mark.slow
def test_killed_at_any_moment_a_sweep_ends_like_one_that_was_not(finished, cache, tmp_path):
    """The short form of `python -m benchmarks.faults`."""
    tally = kills.killed((kills.QUICK,), 4, tmp_path, cache, finished[0])
    assert tally.made == 4
    assert not tally.failures


@pytest.mark.slow
def test_a_difference_is_seen(wholes, tmp_path):
    """What all of the above rests on."""
    whole = wholes["loop"]
    folder = shutil.copytree(whole, tmp_path / "sweep")
    assert difference(whole, folder) is None
    metrics = folder / RUNS[0].name / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join([*lines, lines[-1]]))
    assert difference(whole, folder) == f"{RUNS[0].name}: the metrics differ"
    metrics.write_text("".join(lines))
    path = folder / RUNS[0].name
    own = checkpoint.read(path, 3)
    bias = own.state.params["decoder"]["pixels"]["bias"]
    params = {**own.state.params, "decoder": {**own.state.params["decoder"], "pixels": {
        **own.state.params["decoder"]["pixels"], "bias": bias.at[3].set(bias[3] * (1 + 1e-6) + 1e-30)}}}  # fmt: skip
    checkpoint.save(path, own._replace(state=own.state._replace(params=params)))
    assert difference(whole, folder) == f"{RUNS[0].name}: the state after epoch 3 differs"
