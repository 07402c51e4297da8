"""A sweep's folder as one HTML page."""

from jaxvae.page import explorer, report

__all__ = [
    "explorer", "report",
]  # fmt: skip
