"""recondoor: backdoors in image-reconstruction networks, from planting to judging them.

The names below are the public interface. They are imported on first use, so that ``import
recondoor`` costs nothing and only what computes imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recondoor.config import Config as Config
    from recondoor.config import load_config as load_config
    from recondoor.core.errors import RecondoorError as RecondoorError
    from recondoor.data import load as load_images  # noqa: F401
    from recondoor.doors import AuditResult as AuditResult
    from recondoor.doors import CleanResult as CleanResult
    from recondoor.doors import PoisonedDataset as PoisonedDataset
    from recondoor.doors import Predictions as Predictions
    from recondoor.doors import StudyResult as StudyResult
    from recondoor.doors import SweepResult as SweepResult
    from recondoor.doors import audit_data as audit_data
    from recondoor.doors import audit_inputs as audit_inputs
    from recondoor.doors import audit_model as audit_model
    from recondoor.doors import clean as clean
    from recondoor.doors import load_network as load_network
    from recondoor.doors import poison as poison
    from recondoor.doors import predict as predict
    from recondoor.doors import study as study
    from recondoor.doors import sweep as sweep
    from recondoor.evaluation.judge import evaluate as evaluate
    from recondoor.poisoning import Artefact as Artefact
    from recondoor.poisoning import Pairs as Pairs
    from recondoor.poisoning import PoisonedPairs as PoisonedPairs
    from recondoor.poisoning import PoisonPlan as PoisonPlan
    from recondoor.poisoning import Trigger as Trigger
    from recondoor.report import build as build_report  # noqa: F401
    from recondoor.report import load_results as load_results
    from recondoor.studies import Runtime as Runtime
    from recondoor.studies import run as run_study  # noqa: F401
    from recondoor.sweeps import run as run_sweep  # noqa: F401
    from recondoor.training.hypergradient import unrolled as unrolled
    from recondoor.training.loop import fit as fit

_PUBLIC = {
    "AuditResult": "doors.AuditResult",
    "CleanResult": "doors.CleanResult",
    "PoisonedDataset": "doors.PoisonedDataset",
    "Predictions": "doors.Predictions",
    "StudyResult": "doors.StudyResult",
    "SweepResult": "doors.SweepResult",
    "audit_data": "doors.audit_data",
    "audit_inputs": "doors.audit_inputs",
    "audit_model": "doors.audit_model",
    "clean": "doors.clean",
    "load_network": "doors.load_network",
    "poison": "doors.poison",
    "predict": "doors.predict",
    "study": "doors.study",
    "sweep": "doors.sweep",
    "Artefact": "poisoning.Artefact",
    "Config": "config.Config",
    "Pairs": "poisoning.Pairs",
    "PoisonPlan": "poisoning.PoisonPlan",
    "PoisonedPairs": "poisoning.PoisonedPairs",
    "RecondoorError": "core.errors.RecondoorError",
    "Runtime": "studies.Runtime",
    "Trigger": "poisoning.Trigger",
    "build_report": "report.build",
    "evaluate": "evaluation.judge.evaluate",
    "fit": "training.loop.fit",
    "load_config": "config.load_config",
    "load_images": "data.load",
    "load_results": "report.load_results",
    "run_study": "studies.run",
    "run_sweep": "sweeps.run",
    "unrolled": "training.hypergradient.unrolled",
}

__all__ = sorted(_PUBLIC)
__version__ = "0.1.0"


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'recondoor' has no attribute '{name}'")
    module, _, attribute = _PUBLIC[name].rpartition(".")
    return getattr(import_module(f"recondoor.{module}"), attribute)
