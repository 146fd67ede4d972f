"""Captions of the report: Jinja in reStructuredText, as Snakemake renders them, to HTML."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

from docutils.core import publish_parts
from docutils.writers.html5_polyglot import Writer
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

# A caption may show text of a table, and must not read files or write raw HTML.
_SETTINGS = {"halt_level": 3, "report_level": 3, "raw_enabled": False, "doctitle_xform": False}
_SETTINGS |= {"file_insertion_enabled": False, "initial_header_level": 3}


def render_caption(path: Path, config: Mapping) -> Markup:
    """The caption in a file as HTML; empty where there is no such file."""
    if not path.exists():
        return Markup("")
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(path.read_text(encoding="utf-8"))
    text = template.render(snakemake=SimpleNamespace(config=config))
    return Markup(publish_parts(text, writer=Writer(), settings_overrides=_SETTINGS)["body"])
