"""Codes whose worth is known: normals with closed forms, clusters as far apart as one likes."""

import numpy as np
import pytest
from scipy import stats

from jaxvae.evaluation import codes


def draws(n, d, seed=0):
    return np.random.default_rng([seed, 99]).standard_normal((n, d))  # not the noise that `information` draws


def test_kl_per_dimension_adds_up_to_the_rate_and_is_the_closed_form():
    mean, log_std = draws(50, 3), 0.3 * draws(50, 3, 1)
    per_dimension = codes.kl_per_dimension(mean, log_std)
    assert per_dimension.sum() == pytest.approx(codes.kl_per_image(mean, log_std).mean())
    x = np.linspace(-12, 12, 20_001)
    q = stats.norm(mean[0, 0], np.exp(log_std[0, 0]))
    integral = np.trapezoid(q.pdf(x) * (q.logpdf(x) - stats.norm.logpdf(x)), x)
    assert codes._kl(mean, log_std)[0, 0] == pytest.approx(integral, rel=1e-6)


def test_active_units_are_those_whose_means_vary_by_more_than_a_hundredth():
    mean = draws(20_000, 4) * np.sqrt([1.0, 0.02, 0.005, 0.0])
    assert codes.active(mean + 7).tolist() == [True, True, False, False]


def test_information_of_a_channel_with_normal_codes():
    """Means N(0, 1 − s²) and posteriors of variance s²: q(z) is the prior and the information −½ log s² a dimension."""
    n, s = 4000, np.sqrt([0.5, 0.8])
    mean = draws(n, 2) * np.sqrt(1 - s**2)
    result = codes.information(mean, np.broadcast_to(np.log(s), mean.shape))
    error = result.mutual_information.std() / np.sqrt(n)
    assert result.mutual_information.mean() == pytest.approx(-np.log(s).sum(), abs=4 * error + 0.01)
    assert result.marginal_kl.mean() == pytest.approx(0, abs=0.02)


def test_information_and_marginal_kl_share_out_the_rate():
    n = 1500
    mean, log_std = 2 * draws(n, 3) + 0.5, 0.4 * draws(n, 3, 1) - 0.5
    result = codes.information(mean, log_std)
    total = result.mutual_information + result.marginal_kl
    rate = codes.kl_per_image(mean, log_std).mean()
    assert total.mean() == pytest.approx(rate, abs=4 * total.std() / np.sqrt(n))
    assert (result.mutual_information <= np.log(n) + 1e-9).all()


def test_codes_that_never_overlap_tell_which_image_it_was_and_equal_ones_nothing():
    n = 64
    apart = codes.information(1000.0 * np.arange(n)[:, None], np.zeros((n, 1)))
    np.testing.assert_allclose(apart.mutual_information, np.log(n))
    same = codes.information(np.zeros((n, 5)), np.zeros((n, 5)))
    np.testing.assert_allclose(same.mutual_information, 0, atol=1e-12)
    np.testing.assert_allclose(same.marginal_kl, 0, atol=1e-12)


def test_information_is_the_definition_written_out():
    """More images than a chunk; narrow posteriors."""
    n = codes.CHUNK + 40
    mean, log_std = draws(n, 2), draws(n, 2, 1) - 3
    result = codes.information(mean, log_std, seed=4)
    z = mean + np.exp(log_std) * np.random.default_rng(4).standard_normal((n, 2))
    pairs = stats.norm.logpdf(z[:, None], mean, np.exp(log_std)).sum(-1)
    log_q = np.log(np.exp(pairs).mean(1))
    np.testing.assert_allclose(result.mutual_information, np.diag(pairs) - log_q, rtol=1e-8)
    np.testing.assert_allclose(result.marginal_kl, log_q - stats.norm.logpdf(z).sum(1), rtol=1e-8)


def test_frechet_distance_between_normals():
    n = 100_000
    mean = draws(n, 2) * 0.8 + [3.0, 0.0]
    std = np.sqrt(1.2**2 - 0.8**2)
    log_std = np.full((n, 2), np.log(std))  # together N((3, 0), 1.2²)
    assert codes.frechet_distance(mean, log_std) == pytest.approx(np.sqrt(9 + 2 * 0.2**2), rel=0.01)
    assert codes.frechet_distance(np.zeros((10, 3)), np.zeros((10, 3))) == pytest.approx(0, abs=1e-12)


def clusters(distance, n=200, classes=4, d=4, seed=0):
    """Unit normals around `classes` centres on the axes, each `distance` from the origin."""
    labels = np.arange(n * classes) % classes
    return draws(n * classes, d, seed) + distance * np.eye(classes, d)[labels], labels


def test_probes_find_what_can_be_found():
    """Far apart all; on one spot nothing; two overlapping normals as the Bayes rule has it."""
    (train, labels), (test, expected) = clusters(30), clusters(30, seed=1)
    for probe in (codes.nearest_neighbours, codes.linear_probe):
        assert (probe(train, labels, test) == expected).all()
    (train, labels), (test, expected) = clusters(0), clusters(0, seed=1)
    for probe in (codes.nearest_neighbours, codes.linear_probe):
        assert (probe(train, labels, test) == expected).mean() == pytest.approx(0.25, abs=0.06)
    (train, labels), (test, expected) = (clusters(1.5, 4000, 2, 2, seed) for seed in (2, 3))
    bayes = stats.norm.cdf(1.5 / np.sqrt(2))
    assert (codes.linear_probe(train, labels, test) == expected).mean() == pytest.approx(bayes, abs=0.015)
    nearest = (codes.nearest_neighbours(train, labels, test) == expected).mean()
    assert bayes - 0.05 < nearest < bayes + 0.01


def test_separation_goes_from_nothing_to_all():
    far = codes.separation(*clusters(1000))
    np.testing.assert_allclose(far.purity, 1)
    assert (far.silhouette > 0.99).all()
    np.testing.assert_allclose(far.radius, 1, rtol=0.01)  # codes lie all at one distance from the centre
    none = codes.separation(*clusters(0))
    np.testing.assert_allclose(none.purity, 0.25, atol=0.03)
    np.testing.assert_allclose(none.silhouette, 0, atol=0.05)
    assert (none.radius < 0.15).all()


def test_separation_tells_the_class_that_stands_apart():
    """Class 2 far out, the others upon each other; labels need not begin at zero or be without gaps."""
    points, labels = clusters(0)
    points[labels == 2] += 50
    named = np.array([3, 4, 7, 9])[labels]
    found = codes.separation(points, named)
    assert found.classes.tolist() == [3, 4, 7, 9]
    assert found.purity.argmax() == found.silhouette.argmax() == found.radius.argmax() == 2
    assert found.purity[2] == 1
    np.testing.assert_allclose(found.purity[[0, 1, 3]], 1 / 3, atol=0.05)


def test_confusion_counts_each_reading():
    counts = codes.confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_codes_that_say_nothing_lie_nowhere():
    """A collapsed posterior: all codes are one."""
    apart = codes.separation(np.zeros((20, 2)), np.arange(20) % 10)
    assert (apart.radius == 0).all()


@pytest.mark.parametrize(("spread", "log_std"), [(1, -0.5), (100, -15), (1000, -40), (1e-3, 5), (1e4, -300)])
def test_information_is_at_most_log_n_however_far_and_narrow_the_codes_are(spread, log_std):
    mean = (spread * draws(1000, 10)).astype(np.float32)
    found = codes.information(mean, np.full(mean.shape, log_std, np.float32)).mutual_information
    assert np.isfinite(found).all()
    assert (found <= np.log(1000) + 1e-6).all()
    if log_std < -10:  # no two overlap
        np.testing.assert_allclose(found, np.log(1000))


def test_both_ways_to_compare_codes_with_posteriors_agree():
    z, mean, log_std = draws(30, 4), draws(20, 4, 1), 0.3 * draws(20, 4, 2)
    np.testing.assert_allclose(
        codes._by_differences(z, mean, log_std), codes._by_products(z, mean, log_std), rtol=1e-12
    )
