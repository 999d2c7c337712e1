"""Many studies: points from a sweep file, run on one process, many, or a cluster; one table."""

from pathlib import Path

from recondoor.sweeps._engine import Execution, drive
from recondoor.sweeps._estimate import estimate
from recondoor.sweeps._pool import Placement
from recondoor.sweeps._spec import Point, Sweep, load_sweep, parse
from recondoor.sweeps._table import SweepFolder

__all__ = [
    "Execution",
    "Placement",
    "Point",
    "Sweep",
    "SweepFolder",
    "drive",
    "estimate",
    "load_sweep",
    "parse",
    "run",
]


def run(
    sweep: str | Path | Sweep,
    out: str | Path,
    workers: int = 0,
    execution: Execution | None = None,
) -> SweepFolder:
    """Run every point of a sweep in the folder `out`; return its rows and its failures.

    `workers` processes share the work, 0: this one does it. `execution` says more, and then where.
    What is finished is not run again.

    Raises:
        ConfigError: before anything is written: the sweep, its settings or `execution` are at
            fault. A point that fails raises nothing, see `SweepFolder.failures`.

    Example:
        >>> from pathlib import Path
        >>> import recondoor as rd
        >>> text = "base = {attack.names = ['none'], data.limit = 60, train.max_epochs = 1}"
        >>> _ = Path("one.toml").write_text(text)
        >>> rd.run_sweep("one.toml", "sweeps/one").failures
        {}
    """
    points = sweep if isinstance(sweep, Sweep) else load_sweep(Path(sweep))
    return drive(points, Path(out), execution or Execution(Placement(workers)))
