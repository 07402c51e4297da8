"""Which settings a search tries."""

import math

import numpy as np
import pytest
from scipy import stats

from jaxvae.errors import ConfigError
from jaxvae.search import settings


def numbers(space, option, count=256, seed=0):
    return np.array([float(setting[option]) for setting in settings(space, count, seed)])


def test_ranges_are_filled_evenly_on_their_scale():
    """More evenly than by chance: the distance from a uniform distribution is that of a sequence of low discrepancy."""
    drawn = numbers({"rate": ["1e-4..1e-1"]}, "rate")
    assert stats.kstest(np.log10(drawn), stats.uniform(-4, 3).cdf).statistic < 2 / len(drawn)
    drawn = numbers({"b1": ["uniform(0.5,0.9)"]}, "b1", 64)
    assert stats.kstest(drawn, stats.uniform(0.5, 0.4).cdf).statistic < 2 / len(drawn)
    pairs = settings({"a": ["1..10"], "b": ["0.1..10"]}, 256)
    corner = [float(p["b"]) < 1 for p in pairs if float(p["a"]) < math.sqrt(10)]
    assert abs(np.mean(corner) - 0.5) < 0.05  # independent of each other


def test_whole_numbers_have_both_ends_and_each_its_part_of_the_scale():
    drawn = numbers({"d": ["1..4"], "other": ["0.1..10"]}, "d", 512)
    values, counts = np.unique(drawn, return_counts=True)
    np.testing.assert_array_equal(values, [1, 2, 3, 4])
    shares = np.log(np.array([1.5, 2.5, 3.5, 4.5]) / np.array([0.5, 1.5, 2.5, 3.5])) / np.log(9)
    np.testing.assert_allclose(counts / 512, shares, atol=0.01)


def test_lists_are_taken_whole_if_they_are_short_and_drawn_from_if_not():
    space = {"a": ["x", "y", "z"], "b": ["1", "2"]}
    all_of_them = settings(space, 6)
    assert len({tuple(one.values()) for one in all_of_them}) == 6 == len(settings(space, 100))
    some = settings(space, 4)
    assert len({tuple(one.values()) for one in some}) == 4
    assert all(one in all_of_them for one in some)
    assert len(settings({"d": ["2..4"]}, 10)) == 3  # there are no more


def test_a_range_may_stand_anywhere_and_others_do_not_depend_on_what_was_chosen():
    space = {"optimiser": ["adam:b1=uniform(0.5,0.9),epsilon=1e-9..1e-7", "sgd"], "d": ["2..50"]}
    drawn = settings(space, 40)
    adam = [one["optimiser"] for one in drawn if one["optimiser"] != "sgd"]
    assert 15 <= len(adam) <= 25
    for text in adam:
        b1, epsilon = (float(part.split("=")[1]) for part in text.removeprefix("adam:").split(","))
        assert 0.5 <= b1 <= 0.9
        assert 1e-9 <= epsilon <= 1e-7
    plain = settings(space | {"optimiser": ["sgd", "adam:b1=uniform(0.5,0.9),epsilon=1e-9..1e-7"]}, 40)
    assert [len(set(one["d"] for one in each)) > 20 for each in (drawn, plain)] == [True, True]


def test_the_same_seed_has_the_same_settings_and_more_begin_with_the_fewer():
    space = {"a": ["0.1..10"], "b": ["1..9"]}
    assert settings(space, 8) == settings(space, 8) == settings(space, 20)[:8]
    assert settings(space, 8, seed=1) != settings(space, 8)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10..1", "must go from a lower number to a higher one"),
        ("0..1", r"has no logarithms; write uniform\(0,1\)"),
        ("-1..1", "has no logarithms"),
        ("uniform(2,2)", "must go from a lower number"),
        ("1..1e999", "must go from a lower number"),
    ],
)
def test_impossible_ranges_are_one_line(text, words):
    with pytest.raises(ConfigError, match=words):
        settings({"a": [text]}, 4)
