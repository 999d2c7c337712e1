"""Audits: is what somebody gave us poisoned? Joins readers, defences and their verdict."""

from recondoor.audit._folder import Files, fill, npz, require_folder
from recondoor.audit._inputs._input import InputAudit, InputRequest, audit_input, kept_apart
from recondoor.audit._inputs._input_record import input_files, input_record
from recondoor.audit._judgement import auc, tpr
from recondoor.audit._networks._mended import mended_record, mended_text, require_new, write_mended
from recondoor.audit._networks._model import ModelAudit, ModelRequest, audit_model
from recondoor.audit._networks._model_record import model_files, model_record
from recondoor.audit._networks._network import young_network
from recondoor.audit._networks._network_file import Network, filled, maker, read_network
from recondoor.audit._networks._repair import Mended, MendRequest, mend
from recondoor.audit._networks._trained import Training
from recondoor.audit._networks._weights import shape_in
from recondoor.audit._pairs._data import Audit, Request, audit_data
from recondoor.audit._pairs._fit import misfit_of_trusted
from recondoor.audit._pairs._run import ORIGINAL, Run, open_run
from recondoor.audit._pairs._scans import audit_scans, scans_of
from recondoor.audit._pairs._source import Measured, Source
from recondoor.audit._record import as_record, files
from recondoor.audit._subject import Subject

__all__ = [
    "ORIGINAL",
    "Audit",
    "Files",
    "InputAudit",
    "InputRequest",
    "Measured",
    "MendRequest",
    "Mended",
    "ModelAudit",
    "ModelRequest",
    "Network",
    "Request",
    "Run",
    "Source",
    "Subject",
    "Training",
    "as_record",
    "auc",
    "audit_data",
    "audit_input",
    "audit_model",
    "audit_scans",
    "files",
    "fill",
    "filled",
    "input_files",
    "input_record",
    "kept_apart",
    "maker",
    "mend",
    "mended_record",
    "mended_text",
    "misfit_of_trusted",
    "model_files",
    "model_record",
    "npz",
    "open_run",
    "read_network",
    "require_folder",
    "require_new",
    "scans_of",
    "shape_in",
    "tpr",
    "write_mended",
    "young_network",
]
