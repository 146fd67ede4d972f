"""The report: one page that tells a run from top to bottom, and needs no network."""

from ptpp.report.page.findings import Findings, find, summary
from ptpp.report.page.page import Report, Run, report_page
from ptpp.report.page.provenance import make_reachable

__all__ = ["Findings", "Report", "Run", "find", "make_reachable", "report_page", "summary"]
