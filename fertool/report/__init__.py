"""The report: all figures of a workspace as one page."""

from fertool.report.command import write_report

__all__ = ["write_report"]
