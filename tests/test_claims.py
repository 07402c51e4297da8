import pytest

from jaxvae.claims import Final, check

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
    return [claim.verdict for claim in check(finals(*args, **kwargs))]


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
    assert claim.measured["d=3"] == pytest.approx(130 - 128)


def test_sums_over_a_batch_are_derived_from_nats_per_image():
    assert finals()[0].batch_sum == pytest.approx(14_760)
    assert check(finals())[1].measured["linear"] == {"d=2": 14_760, "d=50": 7_900}
