"""The interactive planner: fitted laws, their draws and their formulas in one HTML file."""

from ptpp.interactive.formula import javascript
from ptpp.interactive.page import REPORT_LIMIT, planner_page

__all__ = ["REPORT_LIMIT", "javascript", "planner_page"]
