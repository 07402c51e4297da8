import sys
from pathlib import Path

import jax
import pytest

from jaxvae.config import RunConfig
from jaxvae.models import MLP, VAE
from jaxvae.system import machine
from jaxvae.training import compiled, train


def memory_maps():
    return len(Path("/proc/self/maps").read_text().splitlines())


def maps_after_each(widths, data):
    found = []
    for width in widths:
        train([RunConfig(VAE(2, MLP(hidden=(width,))), batch_size=10, epochs=1)], data, strategy="loop")
        found.append(memory_maps())
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_a_process_forgets_programs_before_it_has_all_memory_maps(monkeypatch, small):
    """Programs of one model after another pile up as long as there is room, and no longer."""
    compiled.train_epoch.cache_clear()
    jax.clear_caches()
    monkeypatch.setattr(machine, "memory_maps_run_out", lambda: False)
    first, *_, last = maps_after_each((3, 4, 5, 6), small)
    assert last > first + 100
    monkeypatch.setattr(machine, "memory_maps_run_out", lambda: True)
    assert max(maps_after_each((7, 8, 9, 10), small)) < last


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
@pytest.mark.parametrize(("share", "expected"), [(4, False), (1, True)])
def test_memory_maps_run_out_at_half_of_what_linux_allows(share, expected, monkeypatch):
    limit = share * memory_maps()
    monkeypatch.setattr(machine.Path, "read_text", lambda path: str(limit))
    assert machine.memory_maps_run_out() is expected
