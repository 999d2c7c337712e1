"""Many studies: points from a sweep file, run on one process, many, or a cluster; one table."""

from pathlib import Path

from recondoor.sweep._engine import Execution, drive
from recondoor.sweep._estimate import estimate
from recondoor.sweep._pool import Placement
from recondoor.sweep._spec import Point, Sweep, load_sweep, parse
from recondoor.sweep._table import SweepResults

__all__ = [
    "Execution",
    "Placement",
    "Point",
    "Sweep",
    "SweepResults",
    "drive",
    "estimate",
    "load_sweep",
    "parse",
    "run",
]


def run(
    sweep: Path | Sweep, out: Path, workers: int = 0, execution: Execution | None = None
) -> SweepResults:
    """Run every point of a sweep in the folder `out`; return its rows and its failures.

    `workers` processes share the work, 0: this one does it. `execution` says more, and then where.
    What is finished is not run again. Raises ConfigError before anything is written if the sweep,
    its settings or `execution` are at fault; a point that fails raises nothing, see
    `SweepResults.failures`.
    """
    points = sweep if isinstance(sweep, Sweep) else load_sweep(Path(sweep))
    return drive(points, Path(out), execution or Execution(Placement(workers)))
