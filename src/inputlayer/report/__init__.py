"""One page that tells of a model and a table: `summarise` makes its numbers, `Report` holds and draws them."""

from inputlayer.report.page import FILE, Report
from inputlayer.report.summary import plain, summarise

__all__ = ["FILE", "Report", "plain", "summarise"]
