"""The simulated table of counts is what its truth says."""

import numpy as np

from jaxvae.data import Dataset, checked, counts


def test_it_is_the_same_on_every_call_and_a_dataset():
    one, again = counts.make(), counts.make()
    assert all(np.array_equal(one[name], again[name]) for name in one)
    dataset = checked(Dataset("counts", **one))
    assert (dataset.shape, dataset.classes) == ((50,), 4)
    assert (len(dataset.train_images), len(dataset.test_images)) == (5_000, 1_000)
    assert (dataset.train_images == np.rint(dataset.train_images)).all()
    assert np.bincount(dataset.test_labels).tolist() == [250] * 4
    assert len(np.unique(np.concatenate([dataset.train_images, dataset.test_images]), axis=0)) == 6_000


def test_moments_are_those_of_the_truth():
    """Of counts over expected totals, within five standard errors of the mean; variances within a tenth."""
    truth = counts.truth()
    np.testing.assert_allclose(truth.proportions.sum(1), 1)
    for theta in (truth.theta, np.full(counts.GENES, np.inf)):
        cells = counts.draw(truth._replace(theta=theta), 40_000, np.random.default_rng(0))
        means = cells.totals[:, None] * truth.proportions[cells.groups]
        variances = means + means**2 / theta
        standard = (cells.counts - means) / np.sqrt(variances)
        assert (np.abs(standard.mean(0)) < 5 / np.sqrt(len(standard))).all()
        np.testing.assert_allclose((standard**2).mean(0), 1, atol=0.1)
    log_totals = np.log(cells.totals / counts.MEDIAN_TOTAL)
    assert abs(log_totals.mean()) < 5 * counts.LOG_SPREAD / 200
    assert abs(log_totals.std() / counts.LOG_SPREAD - 1) < 0.02
