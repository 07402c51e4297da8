"""Parsers under arbitrary input: what was written is read again, anything else is refused as bad input or is equal."""

import contextlib
import copy
import gzip
import json
import struct
import tracemalloc
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from experiments.protocols import AdamFromOne
from jaxvae import results
from jaxvae.config import BINARIZATIONS, RunConfig
from jaxvae.data.published import LARGEST, read_idx
from jaxvae.errors import CheckpointError, ConfigError, DataError, InputError
from jaxvae.evaluation import records
from jaxvae.formats import FORMAT, old_name
from jaxvae.models.checks import PRECISIONS
from jaxvae.models.mlp import ACTIVATIONS, NORMS, OUTPUT_BIASES
from jaxvae.naming import shortest
from jaxvae.page import run_table
from jaxvae.results import losses
from jaxvae.runs import manifest, run_folder
from tests.classic import classic

pytestmark = pytest.mark.usefixtures("as_users_have_it")
fuzz = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

# deep trees of everything that JSON holds, and what Python's reader takes beyond that
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from([10**400, 2**63, -1, "../../x", "a\0b", "<script>"])
)  # fmt: skip
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
RATES = st.floats(0, 1e30)


@st.composite
def configs(draw):
    """The JSON of a possible configuration, with all its fields."""
    layers = {
        "hidden": draw(st.lists(st.integers(1, 1000), min_size=1, max_size=3)),
        "activation": draw(st.sampled_from([*ACTIVATIONS])), "norm": draw(st.sampled_from(NORMS)),
    }  # fmt: skip
    channels = {"channels": layers["hidden"], "kernel": draw(st.sampled_from([1, 3, 5])), "residual": 1}
    decoder = {"part": "decoder/mlp"} | layers | {"output_bias": draw(st.sampled_from(OUTPUT_BIASES))}
    samples, rate = draw(st.integers(1, 50)), draw(RATES)
    return {
        "part": "run",
        "vae": {
            "part": "vae", "latent_dim": draw(st.integers(1, 1000)),
            "encoder": draw(st.sampled_from([{"part": "network/conv"} | channels, {"part": "network/mlp"} | layers])),
            "decoder": draw(st.sampled_from([None, {"part": "decoder/conv"} | channels, decoder])),
            "posterior": {"part": "posterior/normal"}, "prior": {"part": "prior/normal"},
            "likelihood": {"part": "likelihood/bernoulli"}, "precision": draw(st.sampled_from(PRECISIONS)),
        },
        "objective": draw(st.sampled_from([
            {"part": "objective/elbo", "beta": draw(RATES)},
            *({"part": f"objective/{name}", "importance_samples": samples} for name in ("iwae", "iwae-dreg")),
        ])),
        "optimiser": {
            "part": "optimiser/adam",
            "learning_rate": draw(st.sampled_from([rate, {"part": "schedule/stages", "initial": rate}])),
            "b1": draw(st.floats(0, 0.99)), "epsilon": draw(RATES),
        },
        "batch_size": draw(st.integers(1, 1000)), "binarize": draw(st.sampled_from(BINARIZATIONS)),
        "epochs": draw(st.integers(0, 10**6)), "seed": draw(st.integers(0, 2**32 - 1)),
        "validation": draw(st.floats(0, 0.99)),
    }  # fmt: skip


@st.composite
def old_configs(draw):
    """The same as formats 1 and 2 wrote it."""
    conv, elbo = draw(st.booleans()), draw(st.booleans())
    widths = [256] if conv else draw(st.lists(st.integers(1, 1000), min_size=1, max_size=3))
    return {
        "model": {
            "architecture": "conv" if conv else "linear", "latent_dim": draw(st.integers(1, 1000)),
            "precision": draw(st.sampled_from(["float32", "bfloat16"])), "hidden": widths,
            "activation": "relu" if conv else draw(st.sampled_from([*ACTIVATIONS])),
        },
        "train": {
            "batch_size": draw(st.integers(1, 1000)), "objective": "elbo" if elbo else "iwae-dreg",
            "importance_samples": 1 if elbo else draw(st.integers(1, 50)),
            "binarize": draw(st.sampled_from(BINARIZATIONS)), "adam_b1": draw(st.floats(0, 0.99)),
            "adam_epsilon": draw(RATES), "adam_second_moment": draw(RATES),
            "output_bias": "zero" if conv else draw(st.sampled_from(OUTPUT_BIASES)),
        },
        "epochs": draw(st.integers(0, 10**6)), "learning_rate": draw(RATES), "beta": draw(RATES) if elbo else 1.0,
        "seed": draw(st.integers(0, 2**32 - 1)), "schedule": draw(st.sampled_from(["constant", "stages"])),
    }  # fmt: skip


CONFIG = classic(hidden=(2,))


def places(content):
    """Where the values of nested JSON are, each as a path of keys."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [(), *((key, *rest) for key, value in inner for rest in places(value))]


@st.composite
def altered(draw, content):
    """The content with a value put in the place of another, or removed."""
    content = copy.deepcopy(content)
    *way, last = draw(st.sampled_from(places(content)[1:]))
    inner = content
    for key in way:
        inner = inner[key]
    if draw(st.booleans()):
        inner[last] = draw(JSON)
    else:
        del inner[last]
    return content


@st.composite
def mutated(draw, content: bytes):
    """The bytes with a few replaced, removed or put in between."""
    for _ in range(draw(st.integers(1, 3))):
        at, length = draw(st.integers(0, len(content))), draw(st.integers(0, 4))
        content = content[:at] + draw(st.binary(max_size=4)) + content[at + length :]
    return content


def refused(kind, call, *arguments):
    """What the call returns, or None if it refuses its arguments in one line."""
    try:
        return call(*arguments)
    except kind as error:
        lines = str(error)
    assert lines.isprintable()
    return None


# ── IDX ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

ARRAYS = st.integers(1, 3).flatmap(
    lambda rank: arrays.arrays(np.uint8, arrays.array_shapes(min_dims=rank, max_dims=rank, min_side=0, max_side=5))
)


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@fuzz
@given(ARRAYS)
def test_an_array_is_read_as_it_was_written(tmp_path, array):
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(array)))
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz", array.ndim), array)


@fuzz
@given(st.binary(max_size=40), st.integers(1, 3), st.sampled_from([bytes, gzip.compress]))
def test_arbitrary_bytes_are_an_array_or_refused(tmp_path, content, rank, pack):
    (tmp_path / "a.gz").write_bytes(pack(content))
    found = refused(DataError, read_idx, tmp_path / "a.gz", rank)
    assert found is None or idx(found) == content


@fuzz
@given(st.data(), ARRAYS)
def test_a_mutated_file_is_the_array_it_says_or_refused(tmp_path, data, array):
    """The gzip checksum finds all but changes to the parts of its header that say nothing of the content."""
    (tmp_path / "a.gz").write_bytes(data.draw(mutated(gzip.compress(idx(array)))))
    found = refused(DataError, read_idx, tmp_path / "a.gz", array.ndim)
    assert found is None or np.array_equal(found, array)


@fuzz
@given(st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 500), min_size=3, max_size=3))
def test_a_header_takes_no_more_memory_than_it_may_claim(tmp_path, shape):
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes((0, 0, 8, 3)) + struct.pack(">3I", *shape) + bytes(1000)))
    tracemalloc.start()
    found = refused(DataError, read_idx, tmp_path / "a.gz", 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is None or found.size == 1000
    assert peak < LARGEST + 2**20


# ── configurations ───────────────────────────────────────────────────────────────────────────────────────────────────


@fuzz
@given(configs())
def test_a_configuration_is_written_as_it_was_read(content):
    assert json.loads(json.dumps(RunConfig.from_json(content).to_json())) == content


def name_of_old(content):
    """What the code that wrote formats 1 and 2 called a run."""
    model, train = content["model"], content["train"]
    name = f"{model['architecture']}-{model['latent_dim']}"
    if train["objective"] != "elbo":
        name += f"-{train['objective']}{train['importance_samples']}"
    if content["beta"] != 1:
        name += f"-beta{shortest(content['beta'])}"
    if content["learning_rate"] != 1e-3:
        name += f"-lr{shortest(content['learning_rate'])}"
    return f"{name}-seed{content['seed']}" if content["seed"] else name


@fuzz
@given(old_configs())
def test_an_old_configuration_keeps_every_value(content):
    run = RunConfig.from_json(content)
    model, train, optimiser = content["model"], content["train"], run.optimiser
    assert (run.architecture, run.latent_dim, run.precision) == (*model.values(),)[:3]
    if run.architecture == "linear":
        assert [[*layers.hidden] for layers in run.vae.bind((28, 28)).networks] == [model["hidden"]] * 2
        assert {layers.activation for layers in run.vae.bind((28, 28)).networks} == {model["activation"]}
    assert run.vae.bind((28, 28)).starts_from_data == (train["output_bias"] == "data")
    own = {name: axis.value for name, axis in run.axes.items()}
    own = {"beta": 1.0, "importance_samples": 1} | own
    for name in ("batch_size", "binarize", "objective", "importance_samples"):
        assert own[name] == train[name]
    assert own["beta"] == content["beta"]
    assert (optimiser.b1, optimiser.epsilon) == (train["adam_b1"], train["adam_epsilon"])
    assert isinstance(optimiser, AdamFromOne) == (train["adam_second_moment"] != 0)
    assert getattr(optimiser, "second_moment", 0) == train["adam_second_moment"]
    rate = optimiser.learning_rate if content["schedule"] == "constant" else optimiser.learning_rate.initial
    assert rate == content["learning_rate"]
    assert (run.epochs, run.seed) == (content["epochs"], content["seed"])
    assert old_name(run) == name_of_old(content)
    assert RunConfig.from_json(json.loads(json.dumps(run.to_json()))) == run


@fuzz
@given((configs() | old_configs()).flatmap(altered))
def test_a_configuration_with_any_other_value_is_one_or_refused(content):
    found = refused(ConfigError, RunConfig.from_json, content)
    assert found is None or RunConfig.from_json(json.loads(json.dumps(found.to_json()))) == found


@fuzz
@given(JSON | st.dictionaries(st.sampled_from(["part", "model", *(field.name for field in fields(RunConfig))]), JSON))
def test_arbitrary_json_is_a_configuration_or_refused(content):
    found = refused(ConfigError, RunConfig.from_json, content)
    assert found is None or isinstance(found, RunConfig)


@fuzz
@given(JSON.filter(lambda value: not isinstance(value, dict)) | st.dictionaries(st.text(max_size=4), JSON, max_size=3))
def test_a_seal_is_opened_to_what_was_sealed(value):
    content = {"a": 1, "content": value}
    text = manifest.seal(content)
    assert manifest._text(manifest.unseal(text)) == manifest._text(content)


SEALED = manifest.seal(
    {"format": FORMAT, "config": CONFIG.to_json(), "dataset": {"name": "blobs", "fingerprint": "f" * 64}}
)


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_anywhere_breaks_the_seal(bit, tmp_path):
    (tmp_path / "config.json").write_text(SEALED)
    assert run_folder.read_config(tmp_path)[0] == CONFIG
    for at in range(len(SEALED)):
        content = bytearray(SEALED.encode())
        content[at] ^= 1 << bit
        (tmp_path / "config.json").write_bytes(content)
        with pytest.raises(CheckpointError):
            run_folder.read_config(tmp_path)


@fuzz
@given(st.data(), st.integers(0, len(SEALED) - 1), st.integers(0, 255))
def test_another_byte_anywhere_breaks_the_seal(tmp_path, data, at, byte):
    content = bytearray(SEALED.encode())
    content[at] = byte
    (tmp_path / "config.json").write_bytes(content)
    found = refused(CheckpointError, run_folder.read_config, tmp_path)
    assert (found is not None) == (content == SEALED.encode())


@fuzz
@given(st.data())
def test_a_sealed_configuration_of_any_content_is_one_or_refused(tmp_path, data):
    content = json.loads(SEALED)
    del content["sha256"]
    (tmp_path / "config.json").write_text(manifest.seal(data.draw(altered(content))))
    found = refused(CheckpointError, run_folder.read_config, tmp_path)
    assert found is None or isinstance(found[0], RunConfig)


# ── a folder's manifest ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "weights").write_bytes(bytes(100))
    (tmp_path / "history.json").write_text("[]")
    manifest.write_manifest(tmp_path)
    return tmp_path, (tmp_path / manifest.MANIFEST).read_bytes()


@fuzz
@given(st.data())
def test_a_mutated_manifest_is_refused_unless_it_is_the_same(folder, data):
    folder, sound = folder
    content = data.draw(mutated(sound))
    (folder / manifest.MANIFEST).write_bytes(content)
    verified = refused(InputError, lambda: manifest.verify(folder, ["history.json"]) or "sound")
    assert bool(verified) == (content == sound)


@fuzz
@given(st.data())
def test_a_manifest_that_lists_anything_else_is_refused(folder, data):
    folder, sound = folder
    listed = manifest.unseal(sound.decode())
    content = data.draw(altered(listed))
    (folder / manifest.MANIFEST).write_text(manifest.seal(content))
    with contextlib.suppress(InputError):
        manifest.verify(folder, ["history.json"])
        assert content["files"] == listed["files"]


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────

CSV = """\
run,architecture,latent_dim,seed,epoch,split,reconstruction,kl,loss
linear-2,linear,2,0,0,test,540.1,0.1,540.2
linear-2,linear,2,0,1,train,200.5,3.0,203.5
linear-2,linear,2,0,1,test,190.5,3.5,194.0
linear-2,linear,2,0,2,diverged at step 7,nan,nan,nan
"""


def test_the_table_of_losses_is_sound(tmp_path):
    (tmp_path / "metrics.csv").write_text(CSV)
    history = losses.read_metrics(tmp_path)["linear-2"].losses
    np.testing.assert_array_equal(history[:, 1], [[540.1, 0.1, 540.2], [190.5, 3.5, 194.0]])
    np.testing.assert_array_equal(history[:, 0], [[np.nan] * 3, [200.5, 3.0, 203.5]])


@fuzz
@given(mutated(CSV.encode()) | st.text().map(lambda text: text.encode("utf-8", "replace")))
def test_a_mutated_table_of_losses_is_a_table_or_refused(tmp_path, content):
    (tmp_path / "metrics.csv").write_bytes(content)
    for history in (refused(CheckpointError, losses.read_metrics, tmp_path) or {}).values():
        assert (history.losses.dtype, history.losses.shape[1:]) == (np.float64, (2, len(history.parts)))


SWEEP = {"runs": [CONFIG.to_json()], "dataset": {"name": "blobs", "fingerprint": "f" * 64}, "results": []}


@fuzz
@given(altered(json.loads(json.dumps(SWEEP))).map(lambda content: json.dumps(content).encode()) | st.binary())
def test_any_other_table_of_a_sweep_is_one_or_refused(tmp_path, content):
    (tmp_path / results.SWEEP).write_bytes(content)
    found = refused(CheckpointError, results.read_sweep, tmp_path)
    assert found is None or all(isinstance(run, RunConfig) for run in found[0])


RECORD = records.Record(
    "L_K", -98.7, 0.3, None, "nats", "importance weighting", 50, "test", 10_000, "none", "mnist", "f" * 64, "linear-2"
)
EVALUATION = json.loads(
    json.dumps({"config": CONFIG.to_json(), "epoch": CONFIG.epochs, "records": [RECORD._asdict()]})
)  # tuples as lists


@fuzz
@given(altered(RECORD._asdict()) | JSON)
def test_any_other_record_can_be_shown_or_is_refused(content):
    found = refused(InputError, records.from_json, content)
    if found is not None:
        assert records.from_json(json.loads(json.dumps(found._asdict()))).label == found.label
        assert records.table([found]).row_count == 1


@fuzz
@given(altered(EVALUATION) | st.builds(lambda of: {"evaluations": of}, st.lists(altered(EVALUATION)) | JSON) | JSON)
def test_any_other_evaluation_makes_columns_or_is_refused(tmp_path, content):
    (tmp_path / CONFIG.name).mkdir(exist_ok=True)
    (tmp_path / CONFIG.name / "evaluation.json").write_text(json.dumps(content))
    found = refused(CheckpointError, run_table.read_evaluations, tmp_path, [CONFIG], RECORD.fingerprint)
    if found is not None:
        assert found.keys() == {CONFIG.name}
        run_table.evaluation_columns(found)


def test_a_sound_evaluation_is_found(tmp_path):
    (tmp_path / "evaluation.json").write_text(json.dumps(EVALUATION))
    assert run_table.read_evaluations(tmp_path, [CONFIG], RECORD.fingerprint) == {CONFIG.name: [RECORD]}
