"""The report: all figures of a workspace as one page, and what a paper takes from it."""

from fertool.report.command import write_report
from fertool.report.listing import list_runs
from fertool.report.settings import ReportSettings, parse_labels

__all__ = ["ReportSettings", "list_runs", "parse_labels", "write_report"]
