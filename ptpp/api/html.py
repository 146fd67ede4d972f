"""Results as HTML, for notebooks."""

from collections.abc import Sequence
from html import escape

import pandas as pd


def render(title: str, tables: Sequence[pd.DataFrame], lines: Sequence[str] = ()) -> str:
    """A title, tables with four digits and lines below them."""
    parts = [f"<p><b>{escape(title)}</b></p>"]
    parts += [
        table.to_html(float_format=lambda value: f"{value:.4g}", na_rep="", border=0)
        for table in tables
    ]
    parts += [f"<p>{escape(line)}</p>" for line in lines]
    return "\n".join(parts)
