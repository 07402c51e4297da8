import os
import signal

import pytest

from jaxvae.errors import InputError
from jaxvae.system import interrupts, machine


def test_what_is_prepared_for_one_processor_is_not_read_by_another(monkeypatch, tmp_path):
    here = machine.own_cache_dir()
    assert here == machine.own_cache_dir()
    assert here.parent == machine.cache_dir() == tmp_path / "cache"
    monkeypatch.setattr(machine.Path, "read_text", lambda self, **_: "model name : Abacus\nflags : beads\ncpu MHz : 1")
    abacus = machine.own_cache_dir()
    assert abacus != here
    monkeypatch.setattr(machine.Path, "read_text", lambda self, **_: "cpu MHz : 2\nmodel name : Abacus\nflags : beads")
    assert machine.own_cache_dir() == abacus  # what changes from moment to moment does not count


def test_cores_are_those_that_the_process_may_use():
    assert len(machine.cores()) == len(set(machine.cores())) <= (os.cpu_count() or 1)


def test_folders_that_cannot_be_used_are_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        machine.writable(tmp_path / "file" / "cache")
    with pytest.raises(InputError, match="no such home folder"):
        machine.as_path("~no-such-user/cache")
    assert machine.writable(tmp_path / "new").is_dir()


def test_an_interrupt_waits_for_what_must_not_be_left_half_done():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    done = []

    def save():
        with interrupts.defer_signals():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("all of it")

    try:
        with pytest.raises(KeyboardInterrupt):
            save()
        assert done == ["all of it"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        save()  # ignored before, ignored now
        assert done == ["all of it"] * 2
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
