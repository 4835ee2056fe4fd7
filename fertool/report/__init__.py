"""The report: all figures of a workspace as one page."""

from fertool.report.command import write_report
from fertool.report.settings import ReportSettings

__all__ = ["ReportSettings", "write_report"]
