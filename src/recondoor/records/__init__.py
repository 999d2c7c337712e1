"""What the files of a run hold: typed, checked when they are read, and sealed to their run."""

from recondoor.records._arrays import (
    Spec,
    place_specs,
    plan_specs,
    require_arrays,
    trigger_specs,
    weights_specs,
)
from recondoor.records._json import parse
from recondoor.records._models import (
    AttackLine,
    CraftMeta,
    FitMeta,
    ModelMeta,
    Provenance,
    Results,
    TrainLine,
    require,
    require_line,
)
from recondoor.records._seal import Seal

__all__ = [
    "AttackLine",
    "CraftMeta",
    "FitMeta",
    "ModelMeta",
    "Provenance",
    "Results",
    "Seal",
    "Spec",
    "TrainLine",
    "parse",
    "place_specs",
    "plan_specs",
    "require",
    "require_arrays",
    "require_line",
    "trigger_specs",
    "weights_specs",
]
