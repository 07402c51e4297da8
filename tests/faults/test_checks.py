"""What is sound and out of the ordinary goes as usual; benchmarks.faults tries more, in processes of their own."""

import numpy as np
import pytest

from benchmarks.faults import checks, inputs, odd_data, other_values, programs, user_settings, wrong_places
from benchmarks.faults.checks import Check, failure
from jaxvae.errors import InputError


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checks") / "ground"
    inputs.make_ground(folder)
    return folder / "sweep"


@pytest.mark.slow
def test_values_of_other_libraries_are_taken_as_python_s(sweep, tmp_path, as_users_have_it):
    assert checks.tallied("", other_values.checks(sweep), tmp_path).failures == []


def test_sound_folders_in_wrong_places_are_recognised_and_stay_as_they_are(sweep, tmp_path):
    assert checks.tallied("", wrong_places.checks(sweep), tmp_path).failures == []


@pytest.mark.slow
@pytest.mark.parametrize("what", ["a class of its own for each image", "signals"])
def test_data_unlike_mnist_go_to_the_last_figure(what, tmp_path, as_users_have_it):
    (check,) = (check for check in odd_data.checks(tmp_path) if check.what == what)
    assert failure(check, tmp_path / "check") is None


def test_every_check_says_what_it_is_of(tmp_path):
    for module in (odd_data, other_values, programs, user_settings, wrong_places):
        names = [check.what for check in module.checks(tmp_path)]
        assert len({*names}) == len(names) >= 18


def _refused(line):
    def call():
        raise InputError(line)

    return lambda folder: checks.refusal(call, "no such run", "delete")


@pytest.mark.parametrize(
    ("test", "says"),
    [
        (lambda folder: None, None),
        (lambda folder: "it was lost", "it was lost"),
        (lambda folder: np.zeros(0)[1], "IndexError"),
        (_refused("no such run"), None),
        (_refused("sorry"), "has no 'no such run'"),
        (_refused("no such run; delete it"), "said 'no such run; delete it'"),
        (lambda folder: checks.refusal(lambda: 7, "no such run"), "returned 7"),
    ],
)
def test_a_check_fails_where_its_answer_is_another(test, says, tmp_path):
    found = failure(Check("something", test), tmp_path / "check")
    assert found == says or (says and says in found)
    tally = checks.tallied("things", [Check("a", test), Check("b", lambda folder: None)], tmp_path / "both")
    assert (tally.made, tally.held) == (2, 2 - bool(says))
