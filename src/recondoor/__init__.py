"""recondoor: backdoors in image-reconstruction networks, from planting to judging them.

The names below are the public interface. They are imported on first use, so that ``import
recondoor`` costs nothing and only what computes imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recondoor.config import Config as Config
    from recondoor.config import load_config as load_config
    from recondoor.data import load as load_images  # noqa: F401
    from recondoor.errors import RecondoorError as RecondoorError
    from recondoor.evaluation import evaluate as evaluate
    from recondoor.hypergradient import unrolled as unrolled
    from recondoor.poison import Artefact as Artefact
    from recondoor.poison import Pairs as Pairs
    from recondoor.poison import PoisonedPairs as PoisonedPairs
    from recondoor.poison import PoisonPlan as PoisonPlan
    from recondoor.poison import Trigger as Trigger
    from recondoor.report import build as build_report  # noqa: F401
    from recondoor.report import load_results as load_results
    from recondoor.study import Runtime as Runtime
    from recondoor.study import run as run_study  # noqa: F401
    from recondoor.sweep import run as run_sweep  # noqa: F401
    from recondoor.training import fit as fit

_PUBLIC = {
    "Artefact": "poison.Artefact",
    "Config": "config.Config",
    "Pairs": "poison.Pairs",
    "PoisonPlan": "poison.PoisonPlan",
    "PoisonedPairs": "poison.PoisonedPairs",
    "RecondoorError": "errors.RecondoorError",
    "Runtime": "study.Runtime",
    "Trigger": "poison.Trigger",
    "build_report": "report.build",
    "evaluate": "evaluation.evaluate",
    "fit": "training.fit",
    "load_config": "config.load_config",
    "load_images": "data.load",
    "load_results": "report.load_results",
    "run_study": "study.run",
    "run_sweep": "sweep.run",
    "unrolled": "hypergradient.unrolled",
}

__all__ = sorted(_PUBLIC)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'recondoor' has no attribute '{name}'")
    module, _, attribute = _PUBLIC[name].rpartition(".")
    return getattr(import_module(f"recondoor.{module}"), attribute)
