"""Bad inputs to every command and loader: one clear line, exit code 2, nothing written."""

import numpy as np
import pytest

from benchmarks.faults import inputs
from experiments import published
from jaxvae.commands import evaluate, guarded, report, sweep
from jaxvae.errors import InputError, printable


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs") / "ground"
    inputs.make_ground(folder)
    return folder


@pytest.mark.parametrize("case", inputs.CASES, ids=lambda case: printable(case.what))
def test_bad_input_is_one_clear_line_exit_2_and_nothing_written(case, ground, tmp_path, as_users_have_it):
    assert inputs.outcome(case, ground, tmp_path / "tried").failure is None


def test_the_table_is_long_and_says_each_thing_once():
    assert len(inputs.CASES) >= 60
    assert len({case.what for case in inputs.CASES}) == len(inputs.CASES)


@pytest.mark.parametrize(
    ("what", "call", "failure"),
    [
        ("accepted", lambda folder: 0, "ended with 0"),
        ("an array", lambda folder: np.zeros((2, 2)), "ended with array"),
        ("a mistake", lambda folder: {}["x"], "a traceback: KeyError"),
        ("another line", lambda folder: _refuse("sorry"), "has no 'no such run'"),
        ("a file left", lambda folder: (folder / "left").touch() or _refuse("no such run"), "changed .*left"),
        ("a file changed", lambda folder: (folder / "sweep/sweep.json").write_text("") or _refuse("no such run"),
         "changed .*sweep.json"),
    ],
)  # fmt: skip
def test_a_case_fails_if_it_is(what, call, failure, ground, tmp_path):
    case = inputs.Case(what, lambda folder: lambda: call(folder), "no such run")
    outcome = inputs.outcome(case, ground, tmp_path / "tried")
    assert not outcome.answered
    with pytest.raises(AssertionError, match=failure):
        raise AssertionError(outcome.failure)


def _refuse(message):
    raise InputError(message)


# ── what nobody foresaw ──────────────────────────────────────────────────────────────────────────────────────────────


def _fails(*arguments, **options):
    raise ZeroDivisionError("by a reader\nof the second line")


MAINS = [(sweep, []), (evaluate, ["a"]), (report, ["."]), (published, [])]


@pytest.mark.parametrize(("module", "arguments"), MAINS, ids=lambda value: getattr(value, "__name__", None))
def test_a_mistake_of_the_program_is_one_line_and_exit_1(module, arguments, monkeypatch, capsys):
    monkeypatch.setattr(module, "start_jax", _fails)
    assert module.main(arguments) == 1
    assert capsys.readouterr().err == (
        "error: internal error (ZeroDivisionError: by a reader); please report it; --debug shows the traceback\n"
    )
    assert module.main([*arguments, "--debug"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last):")
    assert "in _fails" in err
    assert err.splitlines()[-1].startswith("error: internal error")


@pytest.mark.parametrize(("module", "arguments"), MAINS, ids=lambda value: getattr(value, "__name__", None))
def test_debug_shows_where_bad_input_was_found(module, arguments, monkeypatch, capsys):
    monkeypatch.setattr(module, "start_jax", lambda *_, **__: _refuse("no such device"))
    assert module.main([*arguments, "--debug"]) == 2
    err = capsys.readouterr().err
    assert "in _refuse" in err
    assert err.splitlines()[-1] == "error: no such device"


def test_a_line_is_a_line_whatever_it_quotes(capsys):
    assert str(InputError("a\nb\x1b[2J\udcff ✓ ٣")) == r"a\nb\x1b[2J\udcff ✓ ٣"
    assert str(InputError(str(InputError("a\nb")))) == r"a\nb"

    def work():
        raise OSError(2, "No such\nfile", "a\rb")

    assert guarded(work, "") == 2
    assert capsys.readouterr().err == "error: a\\rb: No such\\nfile\n"
