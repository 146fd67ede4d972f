"""The interactive planner: fitted laws, their draws and their formulas in one HTML file."""

from ptpp.report.planner.formula import javascript
from ptpp.report.planner.page import REPORT_LIMIT, planner_page

__all__ = ["REPORT_LIMIT", "javascript", "planner_page"]
