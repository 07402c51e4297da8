"""The benchmarks' arithmetic, and that what is compared is the same model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import (
    growth,
    jax_programs,
    lanes,
    machine,
    models,
    own_networks,
    precision,
    products,
    pytorch,
    scale,
    speeds,
    stock_flax,
    streaming,
    training,
    watched,
)
from benchmarks import sweep as sweeps
from benchmarks.contenders import BASELINE, Contender, contenders
from benchmarks.products import Product
from benchmarks.speeds import Timed
from benchmarks.watched import Watched
from benchmarks.workers import Gemm, Settings, Unavailable, Workers
from jaxvae.models import parameter_count
from jaxvae.objectives import Context
from jaxvae.training import engine, make_mesh
from tests.classic import classic, vae

ROOT = Path(__file__).parent.parent
HEAD = "run,architecture,latent_dim,seed,epoch,split,reconstruction,kl,loss\n"


def sweep(folder, losses):
    """A metrics.csv with `losses` of conv-2, by seed, at epoch 10 of 10; other rows are there to mislead."""
    folder.mkdir()
    rows = "".join(
        f"conv-2,conv,2,{seed},9,test,0,0,{loss + 50}\nconv-2,conv,2,{seed},10,train,0,0,{loss - 50}\n"
        f"conv-2,conv,2,{seed},10,test,0,0,{loss}\n"
        for seed, loss in losses.items()
    )
    (folder / "metrics.csv").write_text(HEAD + rows)
    return folder


def test_differences_are_paired_by_seed_at_the_last_epoch(tmp_path):
    one = sweep(tmp_path / "one", {0: 100.0, 1: 140.0, 2: 120.0, 7: 1.0})
    other = sweep(tmp_path / "other", {2: 123.0, 0: 101.0, 1: 142.0, 8: 1.0})
    found = precision.compare(one, other)
    assert found.keys() == {("conv", 2)}
    seeds, mean, half_width = found["conv", 2]
    assert (seeds, mean) == (3, 2.0)
    assert half_width == pytest.approx(4.302653 * 1.0 / np.sqrt(3), rel=1e-6)  # Student's t with two degrees of freedom


def test_folders_without_results_or_seeds_are_one_clear_line(tmp_path, capsys):
    one = sweep(tmp_path / "one", {0: 1.0})
    for second, says in ((tmp_path / "missing", "finished sweeps"), (one, "two seeds or more")):
        assert precision.main([str(one), str(second)]) == 2
        assert says in capsys.readouterr().err


# ── products ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def products_in(jaxpr) -> int:
    """Floating-point operations of all products of a traced program, also those of programs within it."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            terms = np.prod([equation.invars[0].aval.shape[axis] for axis in contracted])
            total += int(2 * equation.outvars[0].aval.size * terms)
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            total += products_in(inner) if hasattr(inner, "eqns") else 0
    return total


@pytest.mark.parametrize("latent_dim", [3, 50])
@pytest.mark.parametrize("architecture", ["linear", "conv"])
def test_counted_operations_are_those_of_a_traced_training_step(architecture, latent_dim):
    program, batch = classic(architecture, latent_dim).program((28, 28)), 10  # for more, CPUs multiply less in float32
    state = jax.eval_shape(lambda: engine.init(program, 0))
    images = jax.ShapeDtypeStruct((batch, 28, 28), jnp.float32)
    traced = jax.make_jaxpr(lambda s, x: engine.train_step(program, s, x, Context(batch)))(state, images)
    # the first layer's input gradient is traced; nothing reads it and XLA drops it
    unread = {"linear": 2 * 256 * 784 * batch, "conv": 2 * 32 * (4 * 4) * (14 * 14 * batch)}[architecture]
    # two layers are cut into slabs: their three products have columns for 8 × 7 positions instead of 7 × 7
    slabs = {"linear": 0, "conv": 2 * 3 * 2 * 64 * (4 * 4 * 32) * (7 * batch)}[architecture]
    assert products.step_flops(architecture, latent_dim, batch) == products_in(traced.jaxpr) - unread - slabs


def test_operations_of_the_linear_model_by_hand():
    first, hidden, heads, latent = 784 * 256, 256 * 784, 2 * 256 * 10, 10 * 256
    assert products.step_flops("linear", 10, 100) == 2 * 100 * (2 * first + 3 * (hidden + heads + latent))


def test_probes_hold_each_models_largest_products():
    found = products.probes(["linear", "conv"], 10, 100)
    assert max(p.flops for p in products.products("conv", 10, 100)) in {p.flops for p in found}
    assert {Product(256, 784, 100), Product(2048, 2048, 2048)} <= set(found)


# ── speeds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def timed_as(name, ms, family="PyTorch", **fields):
    return Timed(Contender(name, "linear", family, steps=5, **fields), ms, first_call_s=1.0)


def test_ratios_are_medians_over_rounds_and_models_are_held_against_like():
    eager = timed_as(BASELINE, [4.0, 8.0, 40.0])
    autocast = timed_as("autocast", [3.0, 6.0, 5.0], precision="bfloat16")
    apart = timed_as("apart", [2.0, 2.0, 2.0], strategy="side by side")
    ours = timed_as("ours", [2.0, 2.0, 8.0], "jaxvae")
    both = timed_as("both", [1.0, 1.0, 4.0], "jaxvae", strategy="side by side")
    gflops = {"float32": 100.0, "bfloat16": 200.0}
    rows = {r.timed.contender.name: r for r in speeds.speeds([eager, autocast, apart, ours, both], gflops, 10, 100)}
    assert rows["ours"].against_eager == 4.0  # of 2, 4 and 5, though the medians' ratio is 4 as well
    assert rows["autocast"].against_eager == pytest.approx(4 / 3)  # of 4/3, 4/3 and 8
    assert rows["ours"].against_best == 1.5  # autocast's: of 1.5, 3 and 0.625
    assert rows["both"].against_best == 2.0  # apart's: of 2, 2 and 0.5
    assert rows["ours"].images_per_s == 50_000
    least_ms = products.step_flops("linear", 10, 100) / 100e9 * 1e3
    assert rows["ours"].of_the_limit == pytest.approx(least_ms / 2)
    assert rows["autocast"].of_the_limit == pytest.approx(least_ms / 2 / 5)  # half the time allowed, median 5


def test_what_is_missing_is_a_dash_and_padding_does_not_count_as_work():
    lone = timed_as("jaxvae float32, vmap", [1.0], "jaxvae", strategy="vmap")
    (row,) = speeds.speeds([lone], {"float32": 100.0}, 10, 100)
    assert row.against_eager is row.against_best is None
    useful = np.mean([products.step_flops("linear", dim, 100) for dim in (2, 3, 5, 10, 50)])
    assert row.of_the_limit == pytest.approx(useful / 100e9 * 1e3)
    assert speeds.as_table([row]).splitlines()[2].count("–") == 3  # two ratios and the range's own


class Turns:
    """A pool in which every call takes a second more than the one before, and one contender fails at its third."""

    def __init__(self, failing):
        self.failing, self.calls = failing, []

    def seconds(self, task):
        self.calls.append(task)
        if task == self.failing and self.calls.count(task) == 3:
            raise Unavailable("no compiler")
        return float(len(self.calls))


def test_every_contender_has_its_turn_in_every_round_and_a_failure_leaves_the_others():
    tasks = contenders("linear", 1)
    pool = Turns(failing=tasks[1])
    samples = training.measure(pool, list(tasks), rounds=4)
    n = len(tasks)
    assert pool.calls[:n] == tasks
    rounds = [set(pool.calls[n : 2 * n]), set(pool.calls[2 * n : 3 * n]), set(pool.calls[3 * n : 4 * n - 1])]
    assert rounds == [set(tasks), set(tasks), set(tasks) - {tasks[1]}]
    assert pool.calls[n : 2 * n] != tasks
    assert samples.unavailable == {tasks[1]: "no compiler"}
    assert set(samples.rounds) == set(tasks) - {tasks[1]}
    assert {len(seconds) for seconds in samples.rounds.values()} == {4}
    assert samples.first[tasks[0]] == 1.0


def test_on_a_gpu_all_take_the_same_steps_by_themselves():
    tasks = contenders("linear", 7, "gpu")
    assert tasks[0].name == BASELINE
    assert {task.steps for task in tasks} == {7}
    assert {task.strategy for task in tasks} == {"alone", "vmap"}
    assert [task.name for task in tasks if "graphs" in task.options] == ["PyTorch compile, CUDA graphs"]
    assert len(set(tasks)) == len(tasks)


def test_a_machine_without_a_gpu_is_told_so_before_anything_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "require_torch", lambda: None)
    assert training.main(["--device", "gpu", "--out", str(tmp_path / "x.json")]) == 2
    assert capsys.readouterr().err == (
        "error: --device gpu needs an NVIDIA GPU, and nvidia-smi finds none; leave --device out\n"
    )


def test_samples_become_milliseconds_of_one_models_step_and_rates():
    one = Contender("one", "conv", "jaxvae", steps=50)
    apart = Contender("apart", "conv", "jaxvae", steps=50, strategy="side by side")
    padded = Contender("padded", "conv", "jaxvae", steps=10, strategy="vmap")
    gemms = [Gemm("bfloat16", Product(100, 100, 100), repeats=r) for r in (1000, 500)]
    samples = training.Samples([one, apart, padded, *gemms])
    samples.rounds = {one: [1.0], apart: [1.0], padded: [1.0], gemms[0]: [2.0, 1.0], gemms[1]: [0.1]}
    samples.first = dict.fromkeys(samples.rounds, 9.0)
    assert [t.ms for t in training.timed(samples, "conv", cores=4)] == [[20.0], [5.0], [20.0]]
    assert training.best_rates(samples) == {"float32": 0.0, "bfloat16": pytest.approx(10.0)}  # 500 × 2e6 in 0.1 s


@pytest.mark.slow
def test_a_process_survives_what_it_cannot_do():
    settings = Settings(2, 5, np.zeros((10, 28, 28), np.uint8))
    workers = Workers("jax", [machine.cores()[:1]], settings)
    try:
        with pytest.raises(Unavailable, match="ValueError: negative dimensions"):
            workers.seconds(Gemm("float32", Product(-2, 3, 4), 1))
        assert workers.seconds(Gemm("bfloat16", Product(2, 3, 4), 1)) > 0
    finally:
        workers.close()
    with pytest.raises(Unavailable, match="died"):
        workers.seconds(Gemm("float32", Product(2, 3, 4), 1))


# ── the models compared are the same ─────────────────────────────────────────────────────────────────────────────────


def torch_weights(architecture, params):
    """jaxvae's parameters under PyTorch's names, in PyTorch's layouts."""
    encoder, decoder = params["encoder"], params["decoder"]
    layers = {"mean": encoder["mean"], "log_std": encoder["log_std"], "decoder.0": decoder["latent"]}
    if architecture == "linear":
        layers |= {"trunk.1": encoder["hidden"], "decoder.2": decoder["pixels"]}
    else:
        layers |= {f"trunk.{2 * i}": encoder[f"conv{i + 1}"] for i in range(3)}
        layers |= {f"decoder.{2 * i + 3}": decoder[f"conv{i + 1}"] for i in range(3)}
    found = {}
    for name, layer in layers.items():
        kernel = np.asarray(layer["kernel"])
        if kernel.ndim == 2:
            kernel = kernel.T
        elif name.startswith("trunk"):
            kernel = kernel.transpose(3, 2, 0, 1)
        else:  # PyTorch's is the adjoint of a convolution; Flax convolves with the kernel as stored
            kernel = kernel[::-1, ::-1].transpose(2, 3, 0, 1)
        found |= {f"{name}.weight": kernel.copy(), f"{name}.bias": np.asarray(layer["bias"])}
    return found


@pytest.mark.parametrize("architecture", ["linear", "conv"])
def test_pytorchs_loss_is_the_negative_elbo(architecture, small):
    torch = pytest.importorskip("torch")
    from benchmarks import pytorch_vae

    program, key = classic(architecture, 3).program((28, 28)), jax.random.key(1)
    params = jax.jit(program.vae.init)(key)
    leaves, tree = jax.tree.flatten(params)
    moved = [a + 0.05 * jax.random.normal(jax.random.fold_in(key, i), a.shape) for i, a in enumerate(leaves)]
    params = jax.tree.unflatten(tree, moved)  # biases too
    images = engine.to_float(jnp.asarray(small.train_images))
    noise = engine.codes_noise(program, key, len(images))
    ours = jax.jit(program.objective)(program.vae, params, images, noise, Context(len(images)))

    theirs = pytorch_vae.MODELS[architecture](3)
    weights = {name: torch.tensor(value) for name, value in torch_weights(architecture, params).items()}
    theirs.load_state_dict(weights)  # strict: no parameter is left out
    with torch.no_grad():
        losses = pytorch_vae.negative_elbo(
            theirs, pytorch_vae.pixels(small.train_images), torch.tensor(np.array(noise[0]))
        )
    assert float(losses.reconstruction) == pytest.approx(float(ours.reconstruction.mean()), rel=1e-5)
    assert float(losses.kl) == pytest.approx(float(ours.kl.mean()), rel=1e-5)
    assert float(losses.loss) == pytest.approx(float(ours.loss.mean()), rel=1e-5)


def test_pytorch_evaluates_every_image_once(small):
    torch = pytest.importorskip("torch")
    from benchmarks import pytorch_vae

    vae = pytorch_vae.MODELS["linear"](2)
    with torch.no_grad():  # a posterior without width: the losses are known without their noise
        vae.log_std.weight.zero_()
        vae.log_std.bias.fill_(-30)
        images = pytorch_vae.pixels(small.test_images)
        exact = pytorch_vae.negative_elbo(vae, images, torch.zeros(len(images), 2))
    found = pytorch_vae.evaluate(vae, images, batch=10)  # 25 images: 10, 10, 5
    assert float(found.loss) == pytest.approx(float(exact.loss), rel=1e-5)


@pytest.mark.parametrize(("architecture", "latent_dim", "count"), [
    ("linear", 2, 404_244), ("linear", 50, 441_204), ("conv", 2, 228_677), ("conv", 50, 523_685),
])  # fmt: skip
def test_all_have_the_same_number_of_parameters(architecture, latent_dim, count):
    if architecture == "conv":
        state = jax.eval_shape(lambda: stock_flax.init(latent_dim, jax.random.key(0)))
        assert parameter_count(state.params) == count
    params = jax.eval_shape(vae(architecture, latent_dim).bind((28, 28)).init, jax.random.key(0))
    assert parameter_count(params) == count
    pytest.importorskip("torch")
    from benchmarks import pytorch_vae

    assert pytorch_vae.parameter_count(pytorch_vae.MODELS[architecture](latent_dim)) == count


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_runs_of_benchmarks_are_the_classic_experiments(architecture):
    for precision_ in models.PRECISIONS:
        expected = classic(architecture, 5, precision=precision_, batch_size=20)
        assert models.classic_run(architecture, 5, precision_, 20) == expected


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["alone", "vmap"])
def test_a_contenders_call_is_epochs_of_the_training_engine(strategy, small, monkeypatch):
    """The states that its program leaves for the next call, against each model's own."""
    monkeypatch.setattr("benchmarks.contenders.VMAPPED", (2, 3))
    task = Contender("ours", "linear", "jaxvae", steps=3, strategy=strategy)
    settings = Settings(3, 20, small.train_images)
    call = jax_programs.build(task, settings)
    call()
    call()
    (state,) = (cell.cell_contents for cell in call.__closure__ if isinstance(cell.cell_contents, engine.TrainState))
    for lane, latent_dim in enumerate(task.latent_dims(3)):
        program = classic("linear", latent_dim, batch_size=20).program((28, 28))
        alone = jax.jit(engine.init)(program, 0)
        epoch = jax.jit(engine.train_epoch)
        for _ in range(2):
            alone, *_ = epoch(program, alone, jnp.asarray(small.train_images))
        own = state.params if strategy == "alone" else jax.tree.map(lambda leaf, lane=lane: leaf[lane], state.params)
        kernel = np.asarray(own["decoder"]["latent"]["kernel"])
        np.testing.assert_allclose(kernel[:latent_dim], alone.params["decoder"]["latent"]["kernel"], atol=1e-5)
        np.testing.assert_array_equal(kernel[latent_dim:], 0)


def test_a_table_of_streaming_has_the_median_of_the_rounds_ratios(tmp_path):
    timed = [streaming.Timed("linear", "in memory", 100, [1.0, 2.0, 4.0])]
    timed += [streaming.Timed("linear", "streamed", 100, [2.0, 2.0, 5.0])]
    *_, row = streaming.as_table(timed).splitlines()
    assert [cell.strip() for cell in row.strip("| ").split("|")] == ["linear", "50", "50", "0.800", "0.50 to 1.00"]
    streaming.write_images(tmp_path / "x.npy", streaming.BLOCK + 3)
    images = np.load(tmp_path / "x.npy")
    assert images.shape == (streaming.BLOCK + 3, 28, 28)
    np.testing.assert_array_equal(images[:3], images[streaming.BLOCK :])


@pytest.mark.slow
def test_lanes_of_a_benchmark_are_epochs_of_copies():
    options = lanes.parser().parse_args(["--images", "100", "--mesh", "runs=1"])
    timed, epoch = lanes.prepared("linear", 2, make_mesh(options.mesh), options)
    epoch()
    assert (timed.lanes, timed.steps) == (2, 1)
    (state,) = (cell.cell_contents for cell in epoch.__closure__ if isinstance(cell.cell_contents, engine.TrainState))
    assert state.step.tolist() == [2, 2]
    first, second = (jax.tree.map(lambda leaf, lane=lane: leaf[lane], state.params) for lane in (0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, second)


# ── sweeps ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_sweeps_side_by_side():
    watched = {
        "jaxvae": [Watched(10.0, 2**31, None), Watched(30.0, 2**31, None), Watched(20.0, 2**30, None)],
        "PyTorch": [Watched(50.0, 2**29, None)],
    }
    losses = {"jaxvae": {("conv", 2): 147.384, ("conv", 50): 98.9}, "PyTorch": {("conv", 50): 99.1, ("conv", 2): 147.0}}
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in sweeps.as_tables(watched, losses).splitlines()]
    assert ["jaxvae", "20", "2.00"] in cells
    assert ["PyTorch", "50", "0.50"] in cells
    assert ["PyTorch / jaxvae", "2.50", "0.25"] in cells
    assert ["conv, d = 50", "98.90", "99.10"] in cells


@pytest.mark.parametrize("count", [1, 2, 5, 7, 10, 20, 50, 100])
def test_a_grid_has_as_many_runs_as_asked_for(count):
    latent_dims, seeds = growth.grid(count)
    assert len(latent_dims) * len(seeds) == count
    assert len(set(latent_dims)) == len(latent_dims)


def test_memory_is_that_of_a_process_and_its_children():
    code = "import sys; data = bytearray(b'1') * 2**26; print(flush=True); sys.stdin.read()"
    before = watched.tree_bytes(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.readline()
    during = watched.tree_bytes(os.getpid())
    child.communicate()
    assert 2**26 < during - before < 2**26 + 2**25
    assert watched.tree_bytes(child.pid) == 0


def test_a_command_that_fails_says_why(tmp_path):
    assert watched.watch("json.tool", ["--help"], tmp_path).failure is None
    failure = watched.watch("json.tool", ["missing.json"], tmp_path).failure
    assert failure is not None
    assert "json.tool ended with status" in failure
    assert "missing.json" in failure


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────

COMMANDS = {
    "training": training, "pytorch": pytorch, "sweep": sweeps, "growth": growth, "lanes": lanes, "scale": scale,
    "streaming": streaming,
}  # fmt: skip


@pytest.mark.parametrize("name", ["training", "pytorch", "sweep"])
def test_without_pytorch_there_is_one_line_that_says_what_to_do(name, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert COMMANDS[name].main(["--out", str(tmp_path / "out.json")]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "PyTorch is not installed" in err
    assert "pip install -e '.[bench]'" in err


@pytest.mark.parametrize(("name", "arguments", "says"), [
    ("training", ["--steps", "0"], "--steps must be at least 1, not 0"),
    ("training", ["--rounds", "0"], "--rounds must be at least 1, not 0"),
    ("training", ["--architectures", "round"], "--architectures must be one of linear, conv, not 'round'"),
    ("training", ["--latent-dim", "0"], "latent sizes must be at least 1 and below 65536, not 0"),
    ("pytorch", ["--epochs", "0"], "--epochs must be at least 1, not 0"),
    ("pytorch", ["--architectures", "round"], "--architectures must be one of linear, conv, not 'round'"),
    ("sweep", ["--limit", "60"], "--limit must be at least 100, not 60"),
    ("growth", ["--counts", "3", "0"], "--counts must be at least 1, not 0"),
    ("lanes", ["--architectures", "round"], "--architectures must be one of linear, conv, not 'round'"),
    ("streaming", ["--images", "99"], "--images must be at least 100, not 99"),
    ("lanes", ["--precision", "float16"], "--precision must be one of float32, bfloat16, not 'float16'"),
])  # fmt: skip
def test_bad_arguments_are_one_line(name, arguments, says, capsys):
    assert COMMANDS[name].main(arguments) == 2
    assert capsys.readouterr() == ("", f"error: {says}\n")


def test_help_teaches_and_needs_neither_jax_nor_pytorch():
    """Nor do processes that choose JAX's platform or cache before they import it: `workers`, `lanes`, `watched`."""
    code = (
        f"import sys\nfrom benchmarks import page, screenshots, watched, workers, {', '.join(COMMANDS)}\n"
        f"for command in ({', '.join(COMMANDS)}): print(command.parser().format_help())\n"
        "print({'jax', 'torch', 'scipy', 'matplotlib'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in COMMANDS:
        assert (
            f"\n    python -m benchmarks.{name}\n" in done.stdout or f"    python -m benchmarks.{name} " in done.stdout
        )
    assert done.stdout.endswith("set()\n")


def test_json_carries_machine_and_versions(tmp_path):
    machine.write_json(tmp_path / "x.json", machine.about())
    found = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert found["versions"]["jax"] == jax.__version__
    assert found["machine"]["cores"] == len(machine.cores())


def test_own_networks_are_compared_with_equal_layers():
    shapes = {name: jax.eval_shape(vae.bind((32, 32, 3)).init, jax.random.key(0)) for name, vae in
              own_networks.models().items()}  # fmt: skip
    sizes = [sorted(leaf.shape for leaf in jax.tree.leaves(params)) for params in shapes.values()]
    assert sizes[0] == sizes[1] == sizes[2]
