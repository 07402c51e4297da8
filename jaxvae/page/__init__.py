"""A sweep's folder as one HTML page."""

from jaxvae.page import explorer, report
from jaxvae.page.document import document, image
from jaxvae.page.run_table import number

__all__ = [
    "document", "explorer", "image", "number", "report",
]  # fmt: skip
