"""Reports: a run as a page that stands alone, several runs side by side."""

from nnad.training.reporting.page import report_run, write_report

__all__ = ["report_run", "write_report"]
