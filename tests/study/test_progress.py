"""What a user sees while a sweep runs."""

import io

import jax.numpy as jnp
import pytest
from rich.console import Console

from jaxvae.objectives.base import Losses
from jaxvae.study.progress import Display, Stages
from jaxvae.training import engine
from jaxvae.training.devices import Epoch
from tests.classic import classic

RUNS = [classic("linear", d, epochs=4) for d in (2, 50)]


def epoch(run, number):
    losses = Losses(*map(jnp.float32, (100.0, 5.5, 105.5)))
    return Epoch(
        run, number, engine.init(run.program((28, 28)), 0), losses if number else None, losses, None, seconds=2.0
    )


@pytest.fixture(params=[True, False], ids=["terminal", "file"])
def console(request):
    return Console(file=io.StringIO(), force_terminal=request.param, width=90, highlight=False, markup=False)


def test_epochs_losses_and_rates_are_shown(console):
    with Display(console, RUNS, {"linear-2": 1}, images=6000) as display:
        for run, number in ((RUNS[0], 2), (RUNS[1], 0), (RUNS[1], 1)):
            display.epoch(epoch(run, number))
    shown = console.file.getvalue()
    for text in ("linear-2", "linear-50", "105.50 = 100.00 +  5.50 KL nats", "3,000 images/s", "3/8", " left"):
        assert text in shown
    assert "…" not in shown


def test_the_time_left_is_that_of_the_epochs_behind(console, monkeypatch):
    """Two epochs of a run took ten seconds of wall time; six of the eight lie ahead."""
    display = Display(console, RUNS, {}, images=6000)
    with display:
        display.epoch(epoch(RUNS[0], 1))
        monkeypatch.setattr("jaxvae.study.progress.time.perf_counter", lambda: display.started + 10)
        display.epoch(epoch(RUNS[0], 2))
        assert display._left() == "0:30 left"


@pytest.mark.slow
def test_of_many_runs_now_and_then_one_is_shown(console, monkeypatch):
    """A thousand runs, two epochs each, a tenth of a second apart: 200 s."""
    runs = [classic(epochs=2, seed=seed) for seed in range(1000)]
    clock = [0.0]
    monkeypatch.setattr("jaxvae.study.progress.time.perf_counter", lambda: clock[0])
    first = epoch(runs[0], 1)
    with Display(console, runs, {}, images=6000) as display:
        for number in (1, 2):
            for run in runs:
                clock[0] += 0.1
                display.epoch(first._replace(run=run, epoch=number))
        assert (display.behind, display.total, +display.ahead) == (2000, 2000, {})
    lines = console.file.getvalue().splitlines()
    if console.is_terminal:
        assert len(display.bars) == 1
    else:
        assert 200 / 5 <= len(lines) <= 200 / 5 + 2
        assert lines[-1].startswith("[2000/2000] linear-2-seed999")


def test_the_rate_of_a_group_is_that_of_all_its_runs():
    out = io.StringIO()
    with Display(Console(file=out, width=200), RUNS, {}, images=6000) as display:
        display.epoch(epoch(RUNS[0], 1)._replace(lane_runs=("linear-2", "linear-50", "linear-50", "linear-50")))
    assert "6,000 images/s" in out.getvalue()


def test_a_loss_that_is_no_sum_is_not_shown_as_one():
    weighted = classic(objective="iwae", importance_samples=5, epochs=4)
    out = io.StringIO()
    with Display(Console(file=out, width=200), [weighted], {}, images=6000) as display:
        report = epoch(weighted, 1)
        display.epoch(report._replace(test=report.test._replace(loss=jnp.float32(103.5))))
    assert "103.50 (100.00,  5.50 KL) nats" in out.getvalue()
    assert "=" not in out.getvalue()


def test_stages_of_an_evaluation_are_counted_to_their_end(console):
    with Stages(console) as stages:
        stages.begin("conv-2")
        stages.advance("importance sampling", 0, 200)
        for _ in range(40):
            stages.advance("importance sampling", 5, 200)
        stages.begin("conv-3")
        stages.advance("importance sampling", 0, 10)
    shown = console.file.getvalue()
    assert "conv-2: importance sampling" in shown
    assert "200/200" in shown
    assert "conv-3: importance sampling" in shown
    if not console.is_terminal:
        assert len(shown.splitlines()) == 1 + 10 + 1  # a line a tenth
        assert " left" in shown
