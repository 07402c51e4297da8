"""A page as one file that needs no server and no network: a template, filled in, with its style and its scripts in it.

In: the name of a template and what it is given. Out: HTML, whose policy lets nothing run but the scripts in it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

POLICY = (
    "default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
    "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


def document(
    template: str, scripts: Sequence[str], filters: Mapping[str, Callable[..., Any]], values: Mapping[str, Any]
) -> str:
    """The template with these values, every one of which Jinja escapes.

    Args:
        scripts: files of the package, one after another.
        filters: functions that the template uses.
    """
    style, script = _source("report.css"), "\n".join(map(_source, scripts))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxvae.page"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= filters
    policy = POLICY.format(style=_hash(style), script=_hash(script))
    return environment.get_template(template).render(values, policy=policy, style=Markup(style), script=Markup(script))


def image(data: bytes) -> str:
    """A PNG as a page holds it."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _source(name: str) -> str:
    return (files("jaxvae.page") / "templates" / name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    """As a Content-Security-Policy names an inline script or style that it lets run."""
    return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
