"""The list of metrics: what an entry becomes, what is left out, and how a rate without a closed form comes about."""

import dataclasses
import io
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from jaxvae import parts
from jaxvae.commands import evaluate
from jaxvae.errors import ConfigError
from jaxvae.evaluation import METRICS, NEEDS, Column, Evaluation, Measured, Plan, metric, records
from jaxvae.models import DiagonalNormal, Normal
from jaxvae.page.run_table import evaluation_columns
from jaxvae.results import about
from jaxvae.runs import Run
from tests.classic import classic

CONFIG = classic("linear", 3, hidden=(8,))
ALL = Plan(samples=(1,), ais_images=2, ais_steps=2, ais_chains=2)  # all metrics are computed
FEW = Plan(samples=(), codes=False)


def untrained(config, dataset) -> Run:
    """Its posteriors, with heads ten times as large as at the start, are not the prior."""
    params = config.vae.bind(dataset.shape).init(jax.random.key(0))
    for head in ("mean", "log_std"):
        params["encoder"][head]["kernel"] *= 10
    return Run(Path("somewhere"), config, about(dataset), params, [], np.zeros(0))


@pytest.fixture
def code_length():
    column = Column("length of codes", "tenths", scale=10, places=1)

    @metric("code length", "nats", "norm of the posterior means", "codes", column=column)
    def length(subject):
        yield Measured(np.linalg.norm(subject.codes.mean, axis=1), "posterior means")

    yield METRICS["code length"]
    del METRICS["code length"]


@pytest.fixture
def by_samples():
    """The diagonal normal posterior, whose KL nobody has worked out."""

    @parts.part("posterior/normal-by-samples")
    class BySamples:
        heads = Normal(mean=1, log_std=1)  # type: ignore[arg-type]

        def sample_and_log_prob(self, q, noise):
            return DiagonalNormal().sample_and_log_prob(q, noise)

        def log_prob(self, q, z):
            return DiagonalNormal().log_prob(q, z)

        def kl(self, q, prior):
            return None

        def marginals(self, q):
            return q

    yield BySamples()
    del parts.REGISTERED["posterior/normal-by-samples"]


# ── an entry ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_entry_is_a_record_a_row_and_a_column(code_length, small):
    run = untrained(CONFIG, small)
    report = Evaluation(Plan(samples=())).evaluate(run, small)
    (record,) = (record for record in report.records if record.metric == "code length")
    norms = np.linalg.norm(np.asarray(run.encode(small.test_images).mean), axis=1)
    assert record.value == pytest.approx(norms.mean())
    assert record.standard_error == pytest.approx(norms.std(ddof=1) / 5)
    assert (record.unit, record.estimator, record.samples) == ("nats", "posterior means", None)
    assert (record.split, record.images, record.binarization, record.run) == ("test", 25, "none", "somewhere")
    assert records.from_json(record._asdict()) == record
    out = io.StringIO()
    Console(file=out, width=160).print(records.table(report.records))
    row = next(line for line in out.getvalue().splitlines() if "code length" in line)
    assert f"{record.value:.2f} ({record.standard_error:.2f})" in row
    column = evaluation_columns({"linear-3": report.records})[-1]
    assert (column.title, column.unit, column.meaning) == ("length of codes", "tenths", code_length.meaning)
    written = f"{10 * record.value:.1f} ± {10 * record.standard_error:.1f}"
    assert column.cells == {"linear-3": (pytest.approx(10 * record.value), written)}


def test_an_entry_is_a_line_of_help_behind_the_others(code_length):
    lines = [line.split() for line in evaluate.parser().format_help().splitlines()]
    place = lines.index(["code", "length", *code_length.meaning.split()])
    last = [*METRICS][-2]
    assert lines[place - 1] == [*last.split(), *METRICS[last].meaning.split()]


def test_likelihoods_come_before_codes():
    assert [*METRICS][:4] == ["ELBO", "rate", "distortion", "L_K"]
    assert [*METRICS].index("bracket") < [*METRICS].index("active units")


def test_a_metric_of_samples_has_a_record_for_each_number_of_them(small):
    @metric("squares", "codes", "their number squared", "importance sampling", of_samples=True)
    def squares(subject):
        for k in subject.plan.ks:
            yield Measured(float(k**2), "arithmetic", k)

    try:
        report = Evaluation(Plan(samples=(1, 3), codes=False)).evaluate(untrained(CONFIG, small), small)
        own = [record for record in report.records if record.metric == "squares"]
        assert [(record.label, record.value) for record in own] == [("squares, K = 1", 1.0), ("squares, K = 3", 9.0)]
        assert [record.standard_error for record in own] == [None, None]  # of all images together
    finally:
        del METRICS["squares"]


def test_two_metrics_of_one_name_and_unknown_needs_are_refused(code_length):
    with pytest.raises(ConfigError, match="two metrics are named rate"):
        metric("rate", "nats", "another")(lambda subject: ())
    with pytest.raises(ConfigError, match=r"metric colour: needs must be of labels, several images, .*, not colours"):
        metric("colour", "", "mean colour", "colours")
    again = metric("code length", "", "a notebook's cell, run again")  # replaces what the same function was
    again(code_length.compute)
    assert METRICS["code length"].meaning == "a notebook's cell, run again"


# ── what is left out ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plan", "lacks"),
    [
        (ALL, set()),
        (ALL._replace(images=1), {"several images"}),
        (ALL._replace(samples=()), {"importance sampling"}),
        (ALL._replace(ais_images=0), {"annealing"}),
        (ALL._replace(split="train"), {"test split"}),
        (ALL._replace(codes=False), {"codes"}),
        (FEW, {"codes", "importance sampling", "annealing"}),
    ],
)
def test_metrics_whose_needs_a_plan_does_not_meet_are_left_out(plan, lacks, small):
    report = Evaluation(plan).evaluate(untrained(CONFIG, small), small)
    there = {
        name for name, entry in METRICS.items() if not (lacks | {"bytes", "class reader"}) & {*entry.needs}
    }  # which a Bernoulli model without a condition lacks
    assert lacks <= NEEDS.keys()
    assert {record.metric for record in report.records} == there
    assert bool(report.digits) == (not lacks & {"codes", "several images"})


def test_without_labels_what_needs_them_is_left_out(small):
    """No classifier is trained, either."""
    unlabelled = small._replace(train_labels=None, test_labels=None)
    evaluation = Evaluation(Plan(samples=()))
    report = evaluation.evaluate(untrained(CONFIG, unlabelled), unlabelled)
    assert {record.metric for record in report.records} == {
        "rate", "active units", "collapsed units", "mutual information", "marginal KL", "Fréchet distance",
    }  # fmt: skip
    assert (report.digits, evaluation._readers) == ({}, {})
    assert len(report.kl_per_dimension) == 3


def test_what_holds_of_independent_codes_alone_is_left_out_for_other_posteriors(by_samples, small):
    config = dataclasses.replace(CONFIG, vae=dataclasses.replace(CONFIG.vae, posterior=by_samples))
    report = Evaluation(Plan(samples=())).evaluate(untrained(config, small), small)
    there = {record.metric for record in report.records}
    assert {"rate", "active units", "purity", "reading"} <= there
    assert not {"mutual information", "marginal KL", "Fréchet distance"} & there
    assert (report.kl_per_dimension, report.remarks) == ([], [])


def test_what_is_left_out_is_not_computed(small):
    @metric("refused", "", "never computed", "labels")
    def refused(subject):
        raise AssertionError

    try:
        unlabelled = small._replace(train_labels=None, test_labels=None)
        report = Evaluation(FEW).evaluate(untrained(CONFIG, unlabelled), unlabelled)
        assert "refused" not in {record.metric for record in report.records}
    finally:
        del METRICS["refused"]


# ── rates ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rate_without_a_closed_form_is_sampled_and_says_so(by_samples, small):
    config = dataclasses.replace(CONFIG, vae=dataclasses.replace(CONFIG.vae, posterior=by_samples))
    rates = [Evaluation(FEW._replace(seed=seed)).evaluate(untrained(config, small), small) for seed in range(6)]
    exact = Evaluation(FEW).evaluate(untrained(CONFIG, small), small).records
    (exact_rate,) = (record for record in exact if record.metric == "rate")
    sampled = [record for report in rates for record in report.records if record.metric == "rate"]
    assert exact_rate.estimator == "exact"
    assert {record.estimator for record in sampled} == {"mean over 100 codes from q(z|x)"}
    values = np.array([record.value for record in sampled])
    assert exact_rate.value > 1
    assert 0 < values.std() < 0.05 * exact_rate.value
    assert values.mean() == pytest.approx(exact_rate.value, abs=4 * values.std(ddof=1) / np.sqrt(len(values)))
    assert records.check_comparable([exact_rate, exact_rate]) is None
    with pytest.raises(ValueError, match="cannot be compared: estimator exact against mean over 100 codes"):
        records.check_comparable([exact_rate, sampled[0]])


def test_the_elbo_of_a_sampled_rate_is_near_the_exact_one(by_samples, small):
    plan = Plan(samples=(50,), codes=False, repeats=2)
    config = dataclasses.replace(CONFIG, vae=dataclasses.replace(CONFIG.vae, posterior=by_samples))
    found = {}
    for one in (CONFIG, config):
        by_label = {r.label: r for r in Evaluation(plan).evaluate(untrained(one, small), small).records}
        found[one] = by_label
        assert by_label["ELBO"].value == pytest.approx(-by_label["rate"].value - by_label["distortion"].value)
    np.testing.assert_allclose(found[config]["L_K, K = 50"].value, found[CONFIG]["L_K, K = 50"].value, rtol=1e-6)
    assert found[config]["distortion"].value == pytest.approx(found[CONFIG]["distortion"].value, rel=1e-6)
