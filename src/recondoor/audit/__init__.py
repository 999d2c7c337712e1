"""Audits: is what somebody gave us poisoned? Joins readers, defences and their verdict."""

from recondoor.audit._data import Audit, Request, audit_data
from recondoor.audit._input import InputAudit, InputRequest, audit_input
from recondoor.audit._input_record import write_input
from recondoor.audit._judge import auc, tpr
from recondoor.audit._mend import (
    Mended,
    MendRequest,
    mend,
    mended_text,
    require_new,
    write_mended,
)
from recondoor.audit._model import ModelAudit, ModelRequest, audit_model
from recondoor.audit._model_record import write_model
from recondoor.audit._network import young_network
from recondoor.audit._network_file import Network, read_network
from recondoor.audit._record import as_record, require_folder, write
from recondoor.audit._subject import Subject

__all__ = [
    "Audit",
    "InputAudit",
    "InputRequest",
    "MendRequest",
    "Mended",
    "ModelAudit",
    "ModelRequest",
    "Network",
    "Request",
    "Subject",
    "as_record",
    "auc",
    "audit_data",
    "audit_input",
    "audit_model",
    "mend",
    "mended_text",
    "read_network",
    "require_folder",
    "require_new",
    "tpr",
    "write",
    "write_input",
    "write_mended",
    "write_model",
    "young_network",
]
