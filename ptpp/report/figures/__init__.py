"""Figures: tidy frames in, matplotlib figures of one style out.

No figure is known to pyplot and no setting outlives a call, so there is nothing to close or to
restore. Losses are nats per token, PTPP and ATPP are tokens per parameter, replay is a share.
"""

from ptpp.report.figures.canvas import DPI, WIDTH, save, style
from ptpp.report.figures.laws import calibration, residuals, residuals_by_input
from ptpp.report.figures.planning import plan
from ptpp.report.figures.sweep import adaptation, forgetting, pretraining
from ptpp.report.figures.uncertainty import anchor_sweep, law_comparison, profile

__all__ = [
    "DPI", "WIDTH", "adaptation", "anchor_sweep", "calibration", "forgetting", "law_comparison",
    "plan", "pretraining", "profile", "residuals", "residuals_by_input", "save", "style",
]  # fmt: skip
