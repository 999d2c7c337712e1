"""The public functions: whatever a caller has goes in, a result that can be kept comes out."""

from recondoor.doors._audits import audit_data, audit_inputs, audit_model, clean
from recondoor.doors._networks import load_network
from recondoor.doors._poisoned import PoisonedDataset, poison
from recondoor.doors._results import AuditResult, CleanResult
from recondoor.doors._studies import (
    Predictions,
    StudyResult,
    SweepResult,
    predict,
    study,
    sweep,
)

__all__ = [
    "AuditResult",
    "CleanResult",
    "PoisonedDataset",
    "Predictions",
    "StudyResult",
    "SweepResult",
    "audit_data",
    "audit_inputs",
    "audit_model",
    "clean",
    "load_network",
    "poison",
    "predict",
    "study",
    "sweep",
]
