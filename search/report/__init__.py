"""The report of a study as an HTML page and tables: `write_report(study, folder)`."""

from search.report.write import Report, build_report, write_report

__all__ = ["Report", "build_report", "write_report"]
