"""The machine: its cores, memory and cache folder, locks on folders, signals to stop."""

from jaxvae.system import interrupts, lock, machine
from jaxvae.system.machine import as_path, cache_dir, cores, own_cache_dir, writable
from jaxvae.system.terminal import console, escape_unencodable

__all__ = [
    "as_path", "cache_dir", "console", "cores", "escape_unencodable", "interrupts", "lock", "machine", "own_cache_dir",
    "writable",
]  # fmt: skip
