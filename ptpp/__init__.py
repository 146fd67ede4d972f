"""PTPP-aware adaptation scaling laws: from text, or a table of losses, to fits and a plan."""

__version__ = "0.1.0"
