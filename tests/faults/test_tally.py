"""The table of `python -m benchmarks.faults`, and its exit code."""

import os

import pytest

from benchmarks.faults import __main__ as command
from benchmarks.faults.tally import Tally


@pytest.fixture
def shown(monkeypatch, capsys):
    """What the command prints of given tallies, and its exit code."""

    def show(*tallies):
        monkeypatch.setattr(command, "tallies", lambda quick, folder: iter(tallies))
        monkeypatch.setenv("JAXVAE_CACHE_DIR", os.environ["JAXVAE_CACHE_DIR"])  # the command sets its own
        return command.main([]), capsys.readouterr().out

    return show


def tally(*outcomes):
    made = Tally("kills survived / injected", remarks="two at figures")
    for outcome in outcomes:
        made.count(outcome)
    return made


def test_it_says_how_many_held_and_ends_with_0_only_if_all_did(shown):
    code, printed = shown(tally(None, None), tally(None))
    assert code == 0
    assert "2 / 2" in printed
    assert "two at figures" in printed
    code, printed = shown(tally(None, None), tally(None, "linear-2: the metrics differ"))
    assert code == 1
    assert "1 / 2" in printed
    assert "kills survived / injected: linear-2: the metrics differ" in printed


def test_nothing_made_is_no_success(shown):
    code, printed = shown(tally())
    assert code == 1
    assert "0 / 0" in printed
