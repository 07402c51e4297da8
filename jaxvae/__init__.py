"""Variational auto-encoders as pure JAX functions, trained many at a time."""
