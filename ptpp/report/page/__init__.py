"""The report: one page that tells a run from top to bottom, and needs no network."""

from ptpp.report.page.findings import Findings, Report, find, summary
from ptpp.report.page.page import Run, make_reachable, report_page

__all__ = ["Findings", "Report", "Run", "find", "make_reachable", "report_page", "summary"]
