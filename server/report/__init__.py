"""The report of a run: one self-contained HTML page that loads nothing from a network."""

from skerry.server.report.page import write_report

__all__ = ["write_report"]
