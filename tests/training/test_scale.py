"""The model on paper of a large study, and the figures it rests on."""

import jax
import pytest

from benchmarks import lanes, scale
from benchmarks.scale import Rates, cost
from jaxvae.models import parameter_count
from jaxvae.training import compiled
from tests.classic import classic, vae

SHAPE = (28, 28)

FREE = Rates(flops=1e30, memory=1e30, link=1e30, disk=1e30, save_seconds=0.0, table_seconds=0.0, closing_seconds=0.0)


def test_a_study_takes_as_long_as_what_it_waits_for():
    """Of what goes on at the same time only the longest counts; tables come after."""
    computing = FREE._replace(flops=1e12)
    flops = 10 * 3 * scale.mean_over_models(scale.epoch_flops)
    assert cost(10, 3, 1, 1, computing).total == pytest.approx(flops / 1e12)
    assert cost(10, 3, 8, 1, computing).total == pytest.approx(flops / 8e12)
    assert cost(10, 3, 8, 2, FREE._replace(save_seconds=0.5)).total == pytest.approx(10 * 4 * 0.5 / 2)
    assert cost(10, 3, 8, 8, FREE._replace(table_seconds=2.0, closing_seconds=7.0)).total == pytest.approx(27)
    both = cost(10, 3, 8, 2, computing._replace(save_seconds=0.5, table_seconds=2.0))
    assert both.total == pytest.approx(max(flops / 8e12, 10) + 20)
    assert cost(10, 3, 1, 1, FREE._replace(disk=1e3)).bound == "writing"


def test_more_runs_than_fit_come_in_waves():
    room = FREE._replace(memory=10.5 * scale.LANE_BYTES["conv"])
    assert scale.waves("conv", 160, 8, room) == (10, 2)
    assert scale.waves("conv", 161, 8, room) == (10, 3)
    assert scale.waves("conv", 1, 8, room._replace(memory=1.0)) == (1, 1)


def test_the_model_s_constants_are_the_code_s(monkeypatch):
    monkeypatch.setenv("PJRT_NPROC", "64")  # as on accelerators, convolutions are patches there
    compiled.bytes_expected.cache_clear()
    for architecture, sizes in scale.PARAMETERS.items():
        for latent_dim, count in sizes.items():
            shapes = jax.eval_shape(vae(architecture, latent_dim).bind(SHAPE).init, jax.random.key(0))
            assert parameter_count(shapes) == count
        expected = compiled.bytes_expected(compiled.abstract(classic(architecture, 50).program(SHAPE)))
        assert scale.LANE_BYTES[architecture] == pytest.approx(expected, rel=0.01)


def test_bad_arguments_are_one_line(capsys):
    for arguments, says in (
        (["--devices", "1", "8"], "--devices and --processes must be as many numbers"),
        (["--tflops", "0"], "rates must be positive"),
        (["--tflops", "nan"], "rates must be positive"),
        (["--runs", "0"], "--runs must be at least 1, not 0"),
    ):
        assert scale.main(arguments) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert says in err
    assert scale.main([]) == 0
    assert "64 in 64" in capsys.readouterr().out


def test_lanes_a_second_are_counted_over_all_lanes():
    timed = lanes.Timed("linear", 8, [2.0, 1.0, 4.0], 10, 1.0, 7e6)
    assert timed.rate == 8 * 10 / 2.0
    table = lanes.as_table([timed._replace(lanes=1, seconds=[1.0]), timed])
    assert [cell.strip() for cell in table.splitlines()[-1].strip("|").split("|")] == [
        "8", "40", "4.00", "25.000", "7.0", "1.0",
    ]  # fmt: skip
    assert lanes.main(["--counts", "0"]) == 2
