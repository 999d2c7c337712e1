"""The report of a sweep, from its table and its record alone."""

from recondoor.report._sweep._build import build_sweep, sweep_verdict
from recondoor.report._sweep._load import is_sweep

__all__ = ["build_sweep", "is_sweep", "sweep_verdict"]
