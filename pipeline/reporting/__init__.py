"""From judgements to what is read: the table in the terminal, the figures, the page."""

from pipeline.reporting.page import Section, render, sections
from pipeline.reporting.tables import claims_table

__all__ = ["Section", "claims_table", "render", "sections"]
