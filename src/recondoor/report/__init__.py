"""Tables, figures and the page of a run, made from its folder alone (imports no torch)."""

from recondoor.report._audit._build import build_audit, read_audit, read_evidence
from recondoor.report._audit._mended import mended_page
from recondoor.report._audit._sentences import (
    audit_text,
    headline,
    model_reading,
    reading,
    sight,
    truth,
)
from recondoor.report._build import build, verdict
from recondoor.report._index import build_index, is_collection
from recondoor.report._load import Run, load, load_results
from recondoor.report._names import title
from recondoor.report._results import Results
from recondoor.report._sources import is_current
from recondoor.report._sweep import SweepData, axes_of, columns, hedge, is_sweep, load_sweep
from recondoor.report._tables import table1_text

__all__ = [
    "Results",
    "Run",
    "SweepData",
    "audit_text",
    "axes_of",
    "build",
    "build_audit",
    "build_index",
    "columns",
    "headline",
    "hedge",
    "is_collection",
    "is_current",
    "is_sweep",
    "load",
    "load_results",
    "load_sweep",
    "mended_page",
    "model_reading",
    "read_audit",
    "read_evidence",
    "reading",
    "sight",
    "table1_text",
    "title",
    "truth",
    "verdict",
]
