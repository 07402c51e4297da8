"""Injected faults: what is broken on purpose, and how much of it is survived."""
