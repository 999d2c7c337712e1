"""Audits: is what somebody gave us poisoned? Joins readers, defences and their verdict."""

from recondoor.audit._data import Audit, Request, audit_data
from recondoor.audit._judge import auc, tpr
from recondoor.audit._network import young_network
from recondoor.audit._record import as_record, require_folder, write

__all__ = [
    "Audit",
    "Request",
    "as_record",
    "auc",
    "audit_data",
    "require_folder",
    "tpr",
    "write",
    "young_network",
]
