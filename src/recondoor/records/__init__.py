"""What the files of a run hold: typed, checked when they are read, and sealed to their run."""

from recondoor.records._arrays import (
    ANEW,
    LAW,
    Spec,
    place_specs,
    plan_specs,
    require_arrays,
    trigger_specs,
    weights_specs,
)
from recondoor.records._audits import AUDIT, MOST_SHOWN
from recondoor.records._base import RESTORE, Record, require
from recondoor.records._json import parse, read
from recondoor.records._models import (
    AttackLine,
    CraftMeta,
    FitMeta,
    ModelMeta,
    TrainLine,
    require_line,
)
from recondoor.records._results import RESULTS, OwnProvenance, OwnResults
from recondoor.records._schemas import TITLES, Node, nodes, schema, yardstick_lines
from recondoor.records._seal import Seal
from recondoor.records._sweeps import SWEEP

__all__ = [
    "ANEW",
    "AUDIT",
    "LAW",
    "MOST_SHOWN",
    "RESTORE",
    "RESULTS",
    "SWEEP",
    "TITLES",
    "AttackLine",
    "CraftMeta",
    "FitMeta",
    "ModelMeta",
    "Node",
    "OwnProvenance",
    "OwnResults",
    "Record",
    "Seal",
    "Spec",
    "TrainLine",
    "nodes",
    "parse",
    "place_specs",
    "plan_specs",
    "read",
    "require",
    "require_arrays",
    "require_line",
    "schema",
    "trigger_specs",
    "weights_specs",
    "yardstick_lines",
]
