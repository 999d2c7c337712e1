"""Tables, figures and the page of a run, made from its folder alone (imports no torch)."""

from recondoor.report._build import build
from recondoor.report._load import load, load_results
from recondoor.report._tables import table1_text

__all__ = ["build", "load", "load_results", "table1_text"]
