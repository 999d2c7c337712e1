"""Tables, figures and the page of a run, made from its folder alone (imports no torch)."""

from recondoor.report._audit._build import build_audit, read_audit
from recondoor.report._audit._mended import mended_page
from recondoor.report._audit._sentences import audit_text
from recondoor.report._build import build, verdict
from recondoor.report._index import build_index, is_collection
from recondoor.report._load import load, load_results
from recondoor.report._sources import is_current
from recondoor.report._tables import table1_text

__all__ = [
    "audit_text",
    "build",
    "build_audit",
    "build_index",
    "is_collection",
    "is_current",
    "load",
    "load_results",
    "mended_page",
    "read_audit",
    "table1_text",
    "verdict",
]
