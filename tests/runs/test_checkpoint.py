import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvae
from jaxvae.errors import CheckpointError, InputError, StorageError
from jaxvae.runs import checkpoint, manifest, run_folder
from jaxvae.runs.history import Progress
from jaxvae.training import engine
from tests.classic import classic

CONFIG = classic(epochs=1)
LOSSES = {"reconstruction": 2.0, "kl": 1.0, "loss": 3.0}
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 28, 28), np.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run's folder after its first epoch, and what was put into it."""
    folder = tmp_path_factory.mktemp("sweep") / "linear-2"
    state = jax.jit(engine.init)(CONFIG.program((28, 28)), 4)
    history = [{"epoch": e, "train": LOSSES if e else None, "test": LOSSES, "seconds": 1.5} for e in range(2)]
    run_folder.write_config(folder, CONFIG, {"dataset": {"name": "blobs"}})
    checkpoint.save(folder, Progress(state, history[:1], np.zeros((1, 2, 3, 28, 28), np.uint8)))
    progress = Progress(state._replace(step=jnp.int32(6)), history, np.ones((2, 2, 3, 28, 28), np.uint8))
    checkpoint.save(folder, progress)
    return folder, progress


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved[0], tmp_path / "linear-2")


def test_what_is_read_is_what_was_saved(saved):
    folder, progress = saved
    read = checkpoint.read(folder, 1)
    assert read.epoch == 1
    assert read.history == progress.history
    np.testing.assert_array_equal(read.reconstructions, progress.reconstructions)
    assert jax.tree.structure(read.state) == jax.tree.structure(progress.state)
    for a, b in zip(jax.tree.leaves(read.state), jax.tree.leaves(progress.state), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


def test_the_newest_checkpoints_stay_and_the_best_and_metrics_follow(saved, tmp_path):
    folder, progress = saved
    for epoch, loss in enumerate((5.0, 4.0, 2.0, 3.0, float("nan"), 4.0)):
        entry = {"epoch": epoch, "train": None, "test": {**LOSSES, "loss": loss}, "seconds": 1.0}
        before = [] if epoch == 0 else progress.history
        pictures = np.zeros((epoch + 1, 2, 3, 28, 28), np.uint8)
        progress = progress._replace(history=[*before, entry], reconstructions=pictures)
        if epoch == 0:
            run_folder.write_config(tmp_path / "run", CONFIG, {})
        checkpoint.save(tmp_path / "run", progress)
    assert checkpoint.epochs(tmp_path / "run") == [2, 4, 5]
    assert jaxvae.load(tmp_path / "run", epoch="best").metrics[-1]["epoch"] == 2
    assert len(jaxvae.load(tmp_path / "run", epoch=4).metrics) == 5
    with pytest.raises(CheckpointError, match=r"no checkpoint of epoch 3; there are: 2, 4, 5"):
        jaxvae.load(tmp_path / "run", epoch=3)
    folder, progress = saved
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == progress.history


def test_an_unfinished_checkpoint_is_not_seen(folder):
    shutil.copytree(folder / "checkpoints" / "1", folder / "checkpoints" / ".part-77")
    assert checkpoint.epochs(folder) == [0, 1]
    assert jaxvae.load(folder).metrics[-1]["epoch"] == 1


@pytest.mark.slow
def test_a_loaded_run_computes_what_its_parameters_say(saved):
    folder, progress = saved
    run = jaxvae.load(folder)
    vae, params, x = CONFIG.vae.bind((28, 28)), progress.state.params, engine.to_float(jnp.asarray(IMAGES))
    q = vae.encode(params, x)
    np.testing.assert_allclose(run.encode(IMAGES).mean, q.mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run.encode(np.asarray(x)).log_std, q.log_std, rtol=1e-5, atol=1e-6)
    p = jax.nn.sigmoid(vae.decode(params, q.mean))
    np.testing.assert_allclose(run.decode(q.mean), p, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run.reconstruct(IMAGES), p, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        run.sample(jax.random.key(3), 5), run.decode(jax.random.normal(jax.random.key(3), (5, 2))), rtol=1e-6
    )
    assert run.config == CONFIG
    assert run.metrics == progress.history
    assert run.parameters == 404_244
    assert run.about == {"dataset": {"name": "blobs"}}


def test_many_images_are_encoded_as_few_are(saved):
    run = jaxvae.load(saved[0])
    many = np.concatenate([IMAGES] * 150)  # more than two batches, and not a whole number of them
    mean = np.asarray(run.encode(many).mean)
    assert mean.shape == (1050, 2)
    few = np.asarray(run.encode(IMAGES).mean)
    np.testing.assert_array_equal(mean[:7], few)
    np.testing.assert_allclose(mean, np.concatenate([few] * 150), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda run: run.encode(IMAGES[0]), r"shape \[n, 28, 28\], not \[28, 28\]"),
        (lambda run: run.encode(IMAGES.astype(int)), "bytes"),
        (lambda run: run.encode(IMAGES.astype(np.float32)), r"\[0, 1\]"),
        (lambda run: run.encode(np.full((1, 28, 28), np.nan)), r"\[0, 1\]"),
        (lambda run: run.decode(np.zeros((3, 5))), r"\[n, 2\], not \[3, 5\]"),
        (lambda run: run.decode(np.zeros(2)), r"\[n, 2\], not \[2\]"),
    ],
)
def test_arrays_of_the_wrong_kind_are_refused(saved, call, says):
    with pytest.raises(InputError, match=says):
        call(jaxvae.load(saved[0]))


def _each_file():
    return [
        "config.json",
        "checkpoints/1/history.json",
        "checkpoints/1/reconstructions.npy",
        "checkpoints/1/manifest.json",
    ]


@pytest.mark.parametrize("name", _each_file())
@pytest.mark.parametrize("injury", ["remove", "cut", "flip"])
def test_damage_is_found_and_named(folder, name, injury):
    path = folder / name
    content = path.read_bytes()
    if injury == "remove":
        path.unlink()
    elif injury == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(b"\xff" + content[1:])
    with pytest.raises(CheckpointError) as caught:
        jaxvae.load(folder)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_never_had_all_its_files_is_found(folder):
    checkpoint_folder = folder / "checkpoints" / "1"
    for name in ("config.json", "manifest.json"):
        (checkpoint_folder / name).unlink()
    manifest.write_manifest(checkpoint_folder)
    with pytest.raises(CheckpointError, match=r"1/config.json is missing"):
        jaxvae.load(folder)


def test_one_flipped_bit_in_the_arrays_is_found(folder):
    state = folder / "checkpoints" / "1" / "state"
    largest = max((path for path in state.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 4
    largest.write_bytes(content)
    with pytest.raises(CheckpointError, match=largest.name):
        jaxvae.load(folder)


def test_a_configuration_of_another_model_is_found(folder):
    path = folder / "config.json"
    content = json.loads(path.read_text())
    content["config"]["vae"]["latent_dim"] = 3
    del content["sha256"]
    path.write_text(manifest.seal(content))
    with pytest.raises(CheckpointError, match=r"does not fit .*\(vae.latent_dim 2 there, 3 now\)"):
        jaxvae.load(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 99}, "format 99"),
        ({"config": {"model": {}}}, "config.json: model lacks the field 'architecture'"),
        ({"config": {"vae": {"part": "vae"}}}, "config.json: vae lacks the field 'latent_dim'"),
        ({"config": 3}, "config.json"),
    ],
)
def test_a_configuration_that_cannot_be_read_says_why(folder, change, says):
    path = folder / "config.json"
    content = json.loads(path.read_text()) | change
    del content["sha256"]
    path.write_text(manifest.seal(content))
    with pytest.raises(CheckpointError, match=says):
        jaxvae.load(folder)


def test_missing_folders_and_runs_without_a_checkpoint(folder, tmp_path):
    with pytest.raises(CheckpointError, match=r"is no run"):
        jaxvae.load(tmp_path / "nowhere")
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        jaxvae.load(folder)


def test_a_full_disk_that_only_tensorstore_hears_of_is_one_line(folder, saved, monkeypatch):
    message = "RESOURCE_EXHAUSTED: Error writing: Failed to write 1918455 bytes: No space left [os_error_code='28']"

    def write(part, folder, progress):
        raise ValueError(message)

    monkeypatch.setattr(checkpoint, "_write_parts", write)
    with pytest.raises(StorageError, match=r"linear-2/checkpoints cannot be written \(No space left on device\)"):
        checkpoint.save(folder, saved[1])
    assert checkpoint.epochs(folder) == [0, 1]
    assert not list((folder / "checkpoints").glob(".*"))


def test_a_folder_in_or_around_a_run_is_named_with_the_run_that_is_meant(folder):
    for given, says in (
        (folder / "checkpoints" / "1", f"a checkpoint of the run {folder}; load {folder}, epoch=1"),
        (folder / "checkpoints", f"where the run {folder} has its checkpoints; load {folder}"),
        (folder / "config.json", f"a file of the run {folder}; load {folder}"),
        (folder.parent, f"no run, but holds 1; load one of them, such as {folder}"),
    ):
        with pytest.raises(CheckpointError) as error:
            jaxvae.load(given)
        assert str(error.value) == f"{given} is {says}"


def test_a_folder_given_from_within_a_run_is_named_too(folder, monkeypatch):
    monkeypatch.chdir(folder / "checkpoints")
    with pytest.raises(CheckpointError, match=re.escape("1 is a checkpoint of the run ..; load .., epoch=1")):
        jaxvae.load("1")
    assert jaxvae.load("..", epoch=1).config == CONFIG


@pytest.mark.parametrize(
    "name", [".DS_Store", "state/.directory", ".ipynb_checkpoints/config.json", "history.json~", "state/Thumbs.db"]
)
def test_what_a_desktop_or_an_editor_leaves_in_a_checkpoint_is_passed_over(folder, name):
    stray = folder / "checkpoints" / "1" / name
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"\0")
    assert jaxvae.load(folder).metrics[-1]["epoch"] == 1


def test_a_hidden_file_that_the_manifest_names_is_compared(folder):
    checkpoint_folder = folder / "checkpoints" / "1"
    hidden = checkpoint_folder / ".hidden"
    hidden.write_bytes(b"1")
    manifest.write_manifest(checkpoint_folder)
    assert jaxvae.load(folder).metrics
    hidden.write_bytes(b"2")
    with pytest.raises(CheckpointError, match="hidden is damaged"):
        jaxvae.load(folder)
