"""Parts: frozen dataclasses that are hashable, pytrees and JSON; and names that no two runs share."""

import dataclasses
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.protocols import AdamFromOne
from jaxvae import parts
from jaxvae.config import RunConfig
from jaxvae.errors import ConfigError
from jaxvae.models import MLP, VAE, Bernoulli, Conv, ConvDecoder, DiagonalNormal, MLPDecoder, StandardNormal
from jaxvae.objectives import ELBO, IWAE, Context, DReG
from jaxvae.optimisers import EMA, Adam, Clip, Stages
from jaxvae.parts import Number, bound, from_json, nested, part, static, to_json, traced
from jaxvae.schedules import Cosine, at_epoch

SHAPE = (28, 28)


@part("thing/of-tests-inner")
class Inner:
    weight: Number = traced(default=2.0, name="w")
    width: int = static(default=3, name="width")

    def check(self):
        parts.require_whole(self, "width", 1, 100)


@part("thing/of-tests-outer")
class Outer:
    """A field of each kind."""

    size: int
    rate: Number = traced(default=1.0)
    inner: Inner = nested(default=Inner())
    widths: tuple[int, ...] = (4, 5)
    word: str | None = None
    shape: tuple[int, ...] = bound(default=())
    used: int | None = bound(default=None, data=True)


@part("network/of-tests")
class Network(nn.Module):
    width: int = 3
    precision: str = bound(default="float32")


# ── registration ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_part_is_a_frozen_hashable_dataclass_with_a_name_and_a_label():
    assert (Outer.part_name, Outer.part_label) == ("thing/of-tests-outer", "of-tests-outer")
    assert (MLP.part_name, MLP.part_label) == ("network/mlp", "linear")
    assert hash(Outer(2)) == hash(Outer(2))
    assert len({Outer(2), Outer(2), Outer(3), Outer(2, inner=Inner(3.0)), Network(), Network(4)}) == 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        Outer(2).size = 3
    assert parts.of_kind("thing") == {"of-tests-inner": Inner, "of-tests-outer": Outer}
    assert parts.named("thing", "of-tests-inner") is Inner


@pytest.mark.parametrize("name", ["Thing", "thing/", "/thing", "thing/a/b", "thing_a", "1thing", "", "thing/é", "a\n"])
def test_a_name_is_kind_and_word(name):
    with pytest.raises(ConfigError, match="a part's name must be such as prior/mixture, in lower case, not"):
        part(name)


def test_a_name_is_taken_once_but_a_cell_of_a_notebook_may_run_again():
    def define(suffix):
        class Again:
            value: int = 1

        Again.__qualname__ = f"Again{suffix}"
        return part("thing/of-tests-again")(Again)

    try:
        first, second = define(""), define("")
        assert parts.REGISTERED["thing/of-tests-again"] is second is not first
        with pytest.raises(ConfigError, match=r"the name thing/of-tests-again .*: .*Again and .*Other"):
            define("Other")
        with pytest.raises(ConfigError, match=r"the label of-tests-again: .*Again and .*Twin"):
            part("thing/other", label="of-tests-again")(type("Twin", (), {}))
    finally:
        del parts.REGISTERED["thing/of-tests-again"]


def test_a_part_that_inherits_from_another_has_fields_and_leaves_of_its_own():
    @part("objective/of-tests-child")
    class Child(ELBO):
        extra: Number = traced(default=5.0)

    try:
        assert [leaf for leaf in jax.tree.leaves(Child(2.0))] == [2.0, 5.0]
        assert from_json(to_json(Child(2.0, 3.0))) == Child(2.0, 3.0)
        assert (ELBO.part_name, Child.part_name) == ("objective/elbo", "objective/of-tests-child")
        assert Child(1.0) != ELBO(1.0)
    finally:
        del parts.REGISTERED["objective/of-tests-child"]


@pytest.mark.parametrize("label", ["elbow", "", None, 3, ["elbo"]])
def test_an_unknown_label_is_told_with_those_there_are(label):
    with pytest.raises(ConfigError, match=r"^objective must be one of .*elbo, .*iwae, iwae-dreg.*, not"):
        parts.named("objective", label)
    with pytest.raises(ConfigError, match=r"^loss must be one of .*elbo"):
        parts.named("loss", label, "objective")


# ── pytrees ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_leaves_are_the_traced_numbers_and_paths_name_them():
    paths = jax.tree_util.tree_leaves_with_path(Outer(2, used=7))
    assert {jax.tree_util.keystr(path): leaf for path, leaf in paths} == {
        ".rate": 1.0,
        ".inner.weight": 2.0,
        ".used": 7,
    }


def test_structures_are_equal_for_two_values_of_a_traced_field_and_for_no_other():
    structure = jax.tree.structure
    plain = Outer(2)
    assert structure(plain) == structure(Outer(2, 5.0)) == structure(Outer(2, inner=Inner(weight=9.0)))
    for other in (
        Outer(3), Outer(2, widths=(4,)), Outer(2, word="a"), Outer(2, shape=(3,)), Outer(2, inner=Inner(width=4)),
        Outer(2, used=1),
    ):  # fmt: skip
        assert structure(plain) != structure(other)
    assert structure(VAE(2, MLP())) == structure(VAE(2, MLP((256,))))
    assert structure(VAE(2, MLP())) != structure(VAE(2, MLP((8,))))
    assert structure(VAE(2, MLP())) != structure(VAE(2, MLP()).bind(SHAPE))


def test_structures_of_two_parts_with_equal_fields_differ():
    @part("thing/of-tests-twin")
    class Twin:
        weight: Number = traced(default=2.0)
        width: int = 3

    @part("thing/of-tests-heir")
    class Heir(Inner):
        pass

    try:
        pairs = [(Inner(), Twin()), (Inner(), Heir()), (IWAE(5), DReG(5)), (Outer(2), Outer(2, inner=Twin()))]
        for one, other in pairs:
            assert jax.tree.structure(one) == jax.tree.structure(jax.tree.map(lambda leaf: 2 * leaf, one))
            assert jax.tree.structure(one) != jax.tree.structure(other), (one, other)
    finally:
        del parts.REGISTERED["thing/of-tests-twin"], parts.REGISTERED["thing/of-tests-heir"]


def test_two_betas_are_one_trace_and_another_model_another():
    traces = []

    @jax.jit
    def loss(objective, vae, params, x):
        traces.append(vae)
        noise = jnp.zeros((objective.codes, len(x), vae.latent_dim))
        return objective(vae, params, x, noise, Context(len(x))).loss

    x, vae = jnp.full((3, 6), 0.5), VAE(2, MLP((4,))).bind((6,))
    params = vae.init(jax.random.key(0))
    one, two, three = (loss(ELBO(beta), vae, params, x) for beta in (0.0, 1.0, 2.0))
    assert len(traces) == 1
    np.testing.assert_allclose(three - two, two - one, rtol=1e-4)  # linear in β
    assert (np.asarray(two - one) > 0).all()
    lanes = jax.vmap(loss, in_axes=(0, None, None, None))(ELBO(jnp.array([0.0, 1.0, 2.0])), vae, params, x)
    np.testing.assert_allclose(lanes, [one, two, three], rtol=1e-5)
    traces.clear()
    loss(ELBO(3.0), VAE(2, MLP((4,), "tanh")).bind((6,)), params, x)
    loss(ELBO(3.0), dataclasses.replace(vae, likelihood=Bernoulli()), params, x)  # the same as before
    assert len(traces) == 1


# ── checks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_checks_reach_every_part_and_not_the_tracers_in_it():
    parts.check(Outer(2, rate=Stages(1e-3)))
    parts.check("no part")
    for wrong, says in (
        (Outer(2, rate="fast"), "thing/of-tests-outer: rate must be a finite number of at least 0 and below 3.4e"),
        (Outer(2, rate=-1.0), "thing/of-tests-outer: rate .* not -1.0"),
        (Outer(2, rate=Inner()), "thing/of-tests-outer: rate"),
        (Outer(2, rate=Stages(-1.0)), "schedule/stages: initial"),
        (Outer(2, inner=3), "thing/of-tests-outer: inner must be a part, not 3"),
        (Outer(2, inner=Inner(width=0)), "thing/of-tests-inner: width must be a whole number of at least 1 and below"),
        (Outer(2, inner=Inner(weight=float("inf"))), "thing/of-tests-inner: weight"),
    ):
        with pytest.raises(ConfigError, match=says):
            parts.check(wrong)
    jax.jit(lambda part: part.rate * part.inner.weight)(Outer(2))  # takes the part apart and puts it together again


# ── schedules ────────────────────────────────────────────────────────────────────────────────────────────────────────


@part("schedule/of-tests-linear")
class Linear:
    """From nothing to `end` in so many epochs."""

    end: float = 1.0
    epochs: int = 10

    def at(self, epoch):
        return self.end * min(1.0, epoch / self.epochs)


def test_a_part_in_an_epoch_has_numbers_where_it_had_schedules():
    one = Outer(2, rate=Linear(4.0), inner=Inner(weight=Linear(1.0, 2)))
    assert at_epoch(one, 0) == Outer(2, 0.0, Inner(0.0))
    assert at_epoch(one, 1) == Outer(2, np.float32(0.4), Inner(0.5))
    assert at_epoch(one, 50) == Outer(2, 4.0, Inner(1.0))
    assert {type(leaf) for leaf in jax.tree.leaves(at_epoch(Outer(2), 3))} == {np.float32}
    assert at_epoch(StandardNormal(), 3) == StandardNormal()
    assert parts.is_schedule(Linear())
    assert not parts.is_schedule(Inner())


def test_a_traced_field_with_a_schedule_is_the_program_of_one_with_a_number():
    """And its JSON and its name say it."""
    run, plain = (RunConfig(VAE(2, MLP()), ELBO(beta), Adam()) for beta in (Linear(4.0), 4.0))
    assert run.structure == plain.structure
    assert [run.program(SHAPE, epoch).objective.beta for epoch in (0, 5, 10, 99)] == [0, 2, 4, 4]
    assert RunConfig.from_json(json.loads(json.dumps(run.to_json()))) == run
    assert run.name not in (plain.name, RunConfig(VAE(2, MLP()), ELBO(Linear(3.0))).name)


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_json_and_back_is_the_identity():
    """What data and machine bring in is in no JSON."""
    one = Outer(2, rate=Linear(4.0, 3), inner=Inner(7, 8), widths=(), word="a", shape=(2,), used=3)
    data = json.loads(json.dumps(to_json(one)))
    assert data == {
        "part": "thing/of-tests-outer", "size": 2, "widths": [], "word": "a",
        "rate": {"part": "schedule/of-tests-linear", "end": 4.0, "epochs": 3},
        "inner": {"part": "thing/of-tests-inner", "weight": 7, "width": 8},
    }  # fmt: skip
    assert from_json(data) == dataclasses.replace(one, shape=(), used=None)
    assert to_json(Network(5, precision="bfloat16")) == {"part": "network/of-tests", "width": 5}
    assert from_json({"part": "thing/of-tests-outer", "size": 2}) == Outer(2)


@pytest.mark.parametrize("value", [object(), {1: 2}, np.zeros(2), [1], {1}])
def test_what_is_no_json_is_refused(value):
    with pytest.raises(ConfigError, match="cannot be written as JSON"):
        to_json(Outer(2, word=value))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            {"part": "prior/unheard-of"},
            r"no part named 'prior/unheard-of'; import its module, or hand it in: parts=\[…\]",
        ),
        ({"part": "os.system"}, "there is no part named 'os.system'"),
        ({"part": 3}, "there is no part named 3"),
        ({"part": ["vae"]}, r"there is no part named \['vae'\]"),
        ({}, "a part must be an object with the key 'part', not {}"),
        ({"size": 2}, "a part must be an object with the key 'part'"),
        (
            {"part": "thing/of-tests-outer", "size": 2, "inner": {"a": 1}},
            "thing/of-tests-outer: inner must be an object",
        ),
        (
            {"part": "thing/of-tests-outer", "size": 2, "sise": 2},
            "no field 'sise'; it has size, rate, inner",
        ),
        ({"part": "thing/of-tests-outer", "size": 2, "shape": []}, "thing/of-tests-outer has no field 'shape'"),
        ({"part": "network/of-tests", "parent": None}, "network/of-tests has no field 'parent'; it has width"),
        ({"part": "thing/of-tests-outer"}, "thing/of-tests-outer lacks the field 'size'"),
    ],
)
def test_what_no_part_is_is_told_in_one_line(data, says):
    with pytest.raises(ConfigError, match=says) as caught:
        from_json(data)
    assert "\n" not in str(caught.value)


def test_parts_handed_in_are_looked_up_first():
    @part("thing/of-tests-handed-in")
    class HandedIn:
        value: int = 1

    del parts.REGISTERED["thing/of-tests-handed-in"]
    data = to_json(HandedIn(2))
    with pytest.raises(ConfigError, match="there is no part named 'thing/of-tests-handed-in'"):
        from_json(data)
    assert from_json(data, [HandedIn]) == HandedIn(2)
    assert "thing/of-tests-handed-in" not in parts.REGISTERED

    class Own(Inner):
        pass

    Own.part_name = Inner.part_name
    assert type(from_json(to_json(Inner()), [Own])) is Own
    for wrong in ([int], [Inner, int]):
        with pytest.raises(ConfigError, match=r"parts must be a list of classes decorated with jaxvae\.parts\.part"):
            from_json(data, wrong)


# ── names: random runs ───────────────────────────────────────────────────────────────────────────────────────────────


@part("prior/of-tests-student", label="student")
class StudentPrior:
    degrees: float = static(default=4.0, name="df")


@part("likelihood/of-tests-student", label="student")
class StudentLikelihood:
    degrees: float = static(default=4.0, name="df")


@part("posterior/of-tests-student", label="student")
class StudentPosterior(DiagonalNormal):
    degrees: float = static(default=4.0, name="df")


def mlp_decoder(hidden, activation, norm, bias):
    """Its arguments in the order that they are drawn in; `outputs` is bound."""
    return MLPDecoder(hidden, activation, norm, output_bias=bias)


@part("optimiser/of-tests-student", label="student")
class StudentOptimiser:
    learning_rate: Number = traced(default=0.1, name="lr")
    momentum: Number = traced(default=0.9)


@part("objective/of-tests-student", label="student")
class StudentObjective:
    beta: Number = traced(default=1.0, name="beta")
    momentum: float = 0.0


def call(kind, *arguments):
    """What `made` makes a part of: outside of strategies, as under test each part checks its types at random."""
    return st.tuples(st.just(kind), st.tuples(*arguments))


def made(drawn):
    if isinstance(drawn, tuple) and drawn and callable(drawn[0]):
        return drawn[0](*map(made, drawn[1]))
    return drawn


numbers = st.sampled_from([0.0, 1.0, 4.0, 0.1, 0.3, 1e-3, 3e-4, 1e-5, 1e22, 12345.678]) | st.floats(0, 1e30)
rates = (
    st.integers(0, 9)
    | numbers
    | call(Stages, numbers)
    | call(Linear, numbers, st.integers(1, 9))
    | call(Cosine, numbers, st.integers(5, 9), numbers, st.integers(0, 2), st.sampled_from(["epoch", "step"]))
)
widths = st.just((256,)) | st.lists(st.integers(1, 300), min_size=1, max_size=3).map(tuple)
activations, norms = st.sampled_from(["relu", "tanh", "silu", "linear"]), st.sampled_from(["none", "layer"])
kernels, blocks = st.sampled_from([3, 1, 5]), st.integers(0, 2)
encoders = call(MLP) | call(Conv) | call(MLP, widths, activations, norms) | call(Conv, widths, kernels, blocks)
decoders = (
    st.none()
    | call(mlp_decoder, widths, activations, norms, st.sampled_from(["zero", "data"]))
    | call(ConvDecoder, widths, kernels, blocks)
)
degrees = st.sampled_from([4.0, 3.0])
posteriors = call(DiagonalNormal) | call(StudentPosterior, degrees)
priors = call(StandardNormal) | call(StudentPrior, degrees)
likelihoods = call(Bernoulli) | call(StudentLikelihood, degrees)
precisions = st.sampled_from(["float32", "bfloat16", "auto:float32", "auto:bfloat16"])
vaes = call(VAE, st.integers(1, 100), encoders, decoders, posteriors, priors, likelihoods, precisions)
samples, below_one = st.integers(1, 60), st.sampled_from([0.9, 0.5, 0.99])
objectives = call(ELBO, rates) | call(IWAE, samples) | call(DReG, samples) | call(StudentObjective, rates, below_one)
optimisers = (
    call(Adam, rates, below_one, below_one)
    | call(AdamFromOne, rates, below_one, below_one, below_one)
    | call(StudentOptimiser, rates, below_one)
)
optimisers = optimisers | call(Clip, optimisers, numbers)
optimisers = optimisers | call(EMA, optimisers, below_one)
binarizations = st.sampled_from(["none", "dynamic", "static"])
runs = call(
    RunConfig, vaes, objectives, optimisers, st.sampled_from([100, 20, 1]), binarizations, st.integers(0, 20),
    st.integers(0, 3),
)  # fmt: skip


def trained_thing(run):
    """All that a name tells: not how long it is trained, nor a precision that the machine chose."""
    precision = "float32" if run.vae.precision.startswith("auto:") else run.vae.precision
    return dataclasses.replace(run, epochs=0, vae=dataclasses.replace(run.vae, precision=precision))


FIELDS = [f.name for f in dataclasses.fields(RunConfig) if f.name != "vae"]
VAE_FIELDS = [f.name for f in parts.fields(VAE)]


@pytest.mark.slow
@settings(max_examples=150)
@given(runs, runs, st.sampled_from([*FIELDS, *VAE_FIELDS]))
def test_two_runs_that_differ_in_anything_have_two_names(drawn, drawn_other, field):
    """In one field, of their own or of a part, or in any."""
    one, other = made(drawn), made(drawn_other)
    if field in FIELDS:
        near = dataclasses.replace(one, **{field: getattr(other, field)})
    else:
        near = dataclasses.replace(one, vae=dataclasses.replace(one.vae, **{field: getattr(other.vae, field)}))
    for two in (other, near):
        assert (one.name == two.name) == (trained_thing(one) == trained_thing(two))


@settings(max_examples=60)
@given(runs)
def test_runs_of_any_parts_are_json_hashable_and_have_the_name_of_a_folder(drawn):
    run = made(drawn)
    again = RunConfig.from_json(json.loads(json.dumps(run.to_json())))
    assert again == run
    assert hash(again) == hash(run)
    assert again.name == run.name
    assert run.name.isprintable()
    assert not {"/", " ", os.sep} & set(run.name)


def test_parts_of_two_kinds_may_share_a_label():
    """A prior, a posterior, a likelihood, an objective and an optimiser of one label are five runs."""
    classic = RunConfig(VAE(2, MLP()))
    five = [
        *(dataclasses.replace(classic, vae=dataclasses.replace(classic.vae, **{name: one()})) for name, one in
          (("prior", StudentPrior), ("posterior", StudentPosterior), ("likelihood", StudentLikelihood))),
        dataclasses.replace(classic, objective=StudentObjective()),
        dataclasses.replace(classic, optimiser=StudentOptimiser()),
    ]  # fmt: skip
    assert [run.name for run in five] == [
        "linear-2-prior=student", "linear-2-posterior=student", "linear-2-likelihood=student", "linear-2-student",
        "linear-2-optimiser=student",
    ]  # fmt: skip
