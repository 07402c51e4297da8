"""A sweep's folder as one HTML page."""

from jaxvae.page import explorer, report, sections

__all__ = [
    "explorer",
    "report",
    "sections",
]
