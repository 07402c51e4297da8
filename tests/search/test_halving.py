"""Who goes on, and what cannot be told apart."""

import numpy as np
import pytest

from jaxvae.errors import ConfigError
from jaxvae.search import cost, rungs
from jaxvae.search.halving import INTERVAL, difference, ranked

RNG = np.random.default_rng(0)
EASY = 30 * RNG.normal(size=500)  # how hard each example is: far more than settings differ by


def losses(means, noise=0.5, seeds=1):
    return {
        f"s{i}": mean + EASY + noise * RNG.normal(size=(seeds, len(EASY))) + 0.0 * i for i, mean in enumerate(means)
    }


def test_one_in_three_goes_on_and_the_order_is_that_of_the_means():
    found = losses([5.0, 1.0, 3.0, 9.0, 2.0, 7.0])
    ranks = ranked(found, 3)
    assert [rank.setting for rank in ranks] == ["s1", "s4", "s2", "s0", "s5", "s3"]
    assert [rank.goes_on for rank in ranks] == [True, True, False, False, False, False]
    assert not any(rank.goes_on for rank in ranked(found, 3, last=True))
    assert ranks[0].behind == ranks[0].error == 0
    for rank in ranks[1:]:
        both = found[rank.setting][0] - found["s1"][0]
        assert rank.behind == pytest.approx(both.mean())
        assert rank.error == pytest.approx(both.std(ddof=1) / np.sqrt(len(both)))


def test_the_error_is_that_of_differences_between_the_same_examples():
    one, other = losses([1.0, 1.5]).values()
    behind, error = difference(other, one)
    assert 0.4 < behind < 0.6
    assert error == pytest.approx(0.5 * np.sqrt(2 / 500), rel=0.15)  # not 30 · √(2 / 500)


def test_seeds_add_their_own_error():
    of_seeds = np.array([[0.0], [1.0], [2.0]]) + np.zeros((3, 50))
    behind, error = difference(of_seeds + 5, np.zeros((1, 50)))
    assert behind == pytest.approx(6)
    assert error == pytest.approx(1 / np.sqrt(3))


def test_the_error_covers_what_it_says():
    """Of a hundred thousand settings that are equal, one in twenty is told apart."""
    outside = 0
    for _ in range(2000):
        one, other = RNG.normal(size=(2, 1, 100))
        behind, error = difference(one, other)
        outside += abs(behind) > INTERVAL * error
    assert outside / 2000 == pytest.approx(0.05, abs=0.015)


def test_what_cannot_be_told_apart_goes_on_too_but_not_more_than_twice_as_many():
    ranks = ranked(losses([0.0, 10.0, 10.0, 10.0, 10.0, 40.0], noise=1.0), 3)
    assert [rank.goes_on for rank in ranks] == [True, True, True, True, False, False]
    assert [rank.tied for rank in ranks] == [True] + [False] * 5


def test_a_setting_of_which_a_seed_diverged_is_the_last_and_does_not_go_on():
    found = losses([1.0, 2.0, 3.0], seeds=2)
    found["s0"][1] = np.inf
    ranks = ranked(found, 3)
    assert [rank.setting for rank in ranks] == ["s1", "s2", "s0"]
    assert (ranks[-1].loss, ranks[-1].goes_on, ranks[-1].tied) == (np.inf, False, False)
    nobody = ranked({name: np.full((1, 4), np.inf) for name in ("a", "b")}, 3)
    assert not any(rank.goes_on for rank in nobody)


def test_rungs_and_what_they_cost():
    assert rungs(27) == (1, 3, 9, 27)
    assert rungs(27, first=3) == (3, 9, 27)
    assert rungs(8, keep=2) == (1, 2, 4, 8)
    assert rungs(1) == (1,)
    assert cost(27, (1, 3, 9, 27), 3) == (27 + 9 * 2 + 3 * 6 + 1 * 18, 27 * 27)
    for first, keep in ((0, 3), (28, 3), (1, 1)):
        with pytest.raises(ConfigError):
            rungs(27, first, keep)
