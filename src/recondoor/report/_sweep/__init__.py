"""The report of a sweep, from its table and its record alone."""

from recondoor.report._sweep._axes import axes_of
from recondoor.report._sweep._build import build_sweep, sweep_verdict
from recondoor.report._sweep._curves import hedge
from recondoor.report._sweep._load import SweepData, columns, is_sweep, load_sweep

__all__ = [
    "SweepData",
    "axes_of",
    "build_sweep",
    "columns",
    "hedge",
    "is_sweep",
    "load_sweep",
    "sweep_verdict",
]
