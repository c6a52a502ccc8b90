"""What a search learned, to look at in a browser: `write_report(study, folder)`."""

from search.report.write import Report, build_report, write_report

__all__ = ["Report", "build_report", "write_report"]
