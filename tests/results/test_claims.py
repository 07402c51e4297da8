import numpy as np
import pytest
from scipy import stats

from jaxvae.results.claims import Final, check, mean

RECONSTRUCTION = {"linear": {2: 147.6, 3: 130.0, 50: 79.0}, "conv": {2: 141.0, 3: 125.0, 50: 73.0}}
KL = {"linear": {2: 5.7, 3: 8.0, 50: 26.3}, "conv": {2: 6.3, 3: 8.8, 50: 27.0}}
SIZES = {"linear": 404_244, "conv": 228_677}


def finals(reconstruction=RECONSTRUCTION, kl=KL, sizes=SIZES, seeds=(0,)):
    return [
        Final(f"{a}-{d}", a, d, seed, 15, sizes[a], r, kl[a][d], r + kl[a][d])
        for a, row in reconstruction.items()
        for d, r in row.items()
        for seed in seeds
    ]


def verdicts(*args, **kwargs):
    return [claim.verdict for claim in check(finals(*args, **kwargs))[:5]]


def changed(table, architecture, d, value):
    return table | {architecture: table[architecture] | {d: value}}


def test_figures_like_the_originals_pass():
    assert verdicts() == ["pass"] * 5
    assert verdicts(seeds=(0, 1, 2)) == ["pass"] * 5


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (1, {"reconstruction": changed(RECONSTRUCTION, "linear", 3, 148.0)}),
        (1, {"reconstruction": changed(RECONSTRUCTION, "conv", 3, 141.0)}),  # equal is not falling
        (2, {"reconstruction": changed(RECONSTRUCTION, "linear", 2, 151.0)}),
        (2, {"reconstruction": changed(RECONSTRUCTION, "conv", 50, 69.0)}),
        (3, {"reconstruction": changed(RECONSTRUCTION, "conv", 3, 130.1)}),
        (4, {"sizes": SIZES | {"conv": 260_000}}),
        (5, {"kl": changed(KL, "linear", 50, 27.1)}),
        (5, {"kl": changed(KL, "conv", 3, 6.2)}),
    ],
)
def test_each_claim_fails_when_its_figures_say_so(number, change):
    assert verdicts(**change)[number - 1] == "fail"


def test_claims_that_the_sweep_cannot_answer_are_not_tested():
    one = {"linear": {2: 147.6}}
    assert verdicts(one) == ["not tested"] * 5
    assert verdicts({"linear": RECONSTRUCTION["linear"]})[1] == "pass"


def test_means_over_seeds_are_compared():
    runs = finals(seeds=(0, 1))
    # one unlucky conv seed above linear at d = 3, but not in the mean
    runs = [r._replace(reconstruction=131.0) if (r.name, r.seed) == ("conv-3", 1) else r for r in runs]
    claim = check(runs)[2]
    assert claim.verdict == "pass"
    assert claim.measured["d=3"].mean == pytest.approx(130 - 128)
    assert claim.holds == "1 of 2 seeds"
    assert not claim.certain


def test_sums_over_a_batch_are_derived_from_nats_per_image():
    assert finals()[0].batch_sum == pytest.approx(14_760)
    assert {d: m.mean for d, m in check(finals())[1].measured["linear"].items()} == {"d=2": 14_760, "d=50": 7_900}


def test_intervals_are_students():
    """Against SciPy's own, and by how often they hold the truth."""
    draws = np.random.default_rng(0).normal(3.0, 2.0, (2000, 5))
    found = [mean([*row], 12) for row in draws]
    low, high = stats.t.interval(0.95, 4, draws[0].mean(), stats.sem(draws[0]))
    assert found[0].interval == pytest.approx((low, high))
    held = np.mean([one.interval[0] < 3.0 < one.interval[1] for one in found])
    assert abs(held - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 2000)
    assert mean([1.5]) == (1.5, None)


def record(purity, silhouette, radius, **turned):
    """Digits 0 and 1 have the values given, all others 0.5; of each digit's 100 images 60 are read rightly."""
    confusion = 60 * np.eye(10, dtype=int) + 2 * (1 - np.eye(10, dtype=int))
    for pair, count in turned.items():
        digit, read = map(int, pair.removeprefix("n").split("_"))
        confusion[digit, read] = count
    values = {"purity": purity, "silhouette": silhouette, "radius": radius}
    rows = {name: [*both] + [0.5] * 8 for name, both in values.items()}
    return {"classes": list(range(10)), **rows, "confusion": confusion.tolist()}


APART = {"purity": (0.9, 0.8), "silhouette": (0.6, 0.7), "radius": (1.2, 1.1)}
TURNED = {"n7_9": 20, "n4_9": 20, "n5_8": 20}


def last_two(linear, conv=None, dims=(2, 50)):
    runs = [f for f in finals(seeds=(0,)) if f.latent_dim in dims]
    chosen = {"linear": linear, "conv": conv or linear}
    digits = {run.name: chosen[run.architecture] for run in runs if run.latent_dim == 2}
    return check(runs, digits)[5:]


def test_clusters_and_turned_digits_pass_where_they_are_what_the_original_saw():
    clusters, turns = last_two(record(**APART, **TURNED))
    assert (clusters.verdict, turns.verdict) == ("pass", "pass")
    assert clusters.margins["conv, purity"].mean == pytest.approx(0.3)  # the lower of the two against the rest
    assert turns.margins["linear, 7 read as 9"].mean == pytest.approx((20 - 2) / (60 + 8 * 2 + 20))
    assert turns.measured["linear, d=2"]["5 read as 8"].mean == pytest.approx(20 / 96, abs=1e-3)


@pytest.mark.parametrize("quantity", ["purity", "silhouette", "radius"])
def test_one_quantity_in_one_architecture_is_enough_to_fail_the_clusters(quantity):
    worse = record(**APART | {quantity: (0.9, 0.4)}, **TURNED)
    clusters, turns = last_two(record(**APART, **TURNED), worse)
    assert (clusters.verdict, turns.verdict) == ("fail", "pass")


@pytest.mark.parametrize("pair", ["n7_9", "n4_9", "n5_8"])
def test_a_digit_that_turns_into_another_more_often_fails(pair):
    digit = pair[1]
    clusters, turns = last_two(record(**APART, **TURNED, **{f"n{digit}_0": 30}))
    assert (clusters.verdict, turns.verdict) == ("pass", "fail")


def test_without_readings_or_two_dimensions_the_last_two_are_not_tested():
    untested = check(finals())[5:]
    assert [(claim.verdict, claim.holds, claim.certain) for claim in untested] == [("not tested", "", False)] * 2
    assert [claim.verdict for claim in last_two(record(**APART), dims=(3, 50))] == ["not tested"] * 2
