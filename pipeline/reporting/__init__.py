"""From judgements to what is read: the table in the terminal, the figures, the page."""

from pipeline.reporting.page import Section, render, sections
from pipeline.reporting.panels import Panel
from pipeline.reporting.tables import claims_table
from pipeline.reporting.theory import theory

__all__ = ["Panel", "Section", "claims_table", "render", "sections", "theory"]
