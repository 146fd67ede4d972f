"""Snakemake's own report, made readable from its first line."""

from ptpp.errors import InputError

# Its pane centres what it shows: a text longer than the window begins above the visible area.
_STYLE = """<style>
.items-center.justify-center.h-screen { align-items: safe center; justify-content: safe center; }
</style>
"""


def make_reachable(page: str) -> str:
    """The HTML of Snakemake's report with a pane whose content begins within the window.

    Raises InputError where the text is no page.
    """
    head, end, rest = page.partition("</head>")
    if not end:
        raise InputError("provenance.html: no </head>; accepted is a report of Snakemake")
    return head + _STYLE + end + rest
