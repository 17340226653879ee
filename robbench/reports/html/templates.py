"""The templates of pages, and the files beside them. Every text that is put in is escaped."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

import jinja2


def environment() -> jinja2.Environment:
    """What makes pages of the templates; a name that a template misses is an error."""
    return jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.PackageLoader("robbench.reports.html", "template"),
    )


def read_file(name: str) -> str:
    """A style or a script."""
    path = resources.files("robbench.reports.html") / "template" / name
    return path.read_text(encoding="utf-8")


def source_hash(text: str) -> str:
    """What a browser knows a script or a style by: `sha256-` and the digest in base64."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
