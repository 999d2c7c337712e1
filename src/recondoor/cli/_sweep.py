"""Many studies from one file of axes."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from recondoor.cli._options import command, tell_no_report
from recondoor.cli._typed import MOST_THREADS, MOST_TOGETHER, MOST_WORKERS, whole
from recondoor.core.errors import RunError
from recondoor.core.words import plural_of
from recondoor.rundir import bare_name

if TYPE_CHECKING:
    from recondoor.sweeps import Execution


@Parameter(name="*")
@dataclass(frozen=True)
class SweepOptions:
    """Where the points of a sweep are run."""

    workers: Annotated[
        int | None,
        Parameter(
            help="processes on this machine, 0: this one alone; default: one for each core. With a "
            "scheduler: points under way at once at the most",
            converter=whole(0, MOST_WORKERS),
        ),
    ] = None
    scheduler: Annotated[
        str | None, Parameter(help="a running Dask scheduler, as in tcp://HOST:8786")
    ] = None
    scheduler_file: Annotated[
        Path | None, Parameter(help="the file that a running Dask scheduler has written")
    ] = None
    gpus_per_task: Annotated[
        int,
        Parameter(
            help="GPUs for each point, of workers that offer GPU as a resource",
            converter=whole(0, MOST_WORKERS),
        ),
    ] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    together: Annotated[
        int,
        Parameter(
            help="points whose networks are trained at once, in this process and on one device; "
            "pays on a GPU",
            converter=whole(1, MOST_TOGETHER),
        ),
    ] = 1
    threads: Annotated[
        int, Parameter(help="CPU threads of each point", converter=whole(1, MOST_THREADS))
    ] = 1
    out: Annotated[Path | None, Parameter(help="the sweep's folder; default: sweeps/SPEC")] = None

    def execution(self) -> "Execution":
        """Return what the engine takes; raises ConfigError."""
        from recondoor.sweeps import Execution, Placement

        workers = self.workers
        if self.together > 1 and workers is None:
            workers = 0
        elif workers is None and not (self.scheduler or self.scheduler_file):
            workers = max(1, len(os.sched_getaffinity(0)) // max(self.threads, 1))
        where = Placement(
            workers, self.scheduler, self.scheduler_file, self.gpus_per_task, self.together
        )
        from recondoor.core.terminal import TerminalProgress

        return Execution(where, self.device, self.threads, command(), TerminalProgress())


SWEEP_DEFAULT = SweepOptions()


def sweep(spec: Path, /, *, options: SweepOptions = SWEEP_DEFAULT, dry_run: bool = False) -> None:
    """Run every point of a sweep file, each with every seed, and gather all numbers in one table.

    What is finished is not run again; what was stopped carries on. docs/sweep.md has the file's
    form, docs/cluster.md how to use many machines.

    For example:

        recondoor sweep axes.toml --dry-run
        recondoor sweep axes.toml --workers 8 --out sweeps/axes
        recondoor sweep axes.toml --scheduler tcp://10.0.0.1:8786

    Parameters
    ----------
    spec
        TOML file with the settings and the axes.
    dry_run
        Count the points, time a few training steps here and now, say what all would take; write
        nothing.
    """
    from recondoor.sweeps import drive, estimate, load_sweep

    points, execution = load_sweep(spec), options.execution()
    for note in points.notes:
        print(note, file=sys.stderr)
    if dry_run:
        print(estimate(points, execution))
        return
    from recondoor.report import build, verdict

    results = drive(points, options.out or Path("sweeps") / bare_name(spec), execution)
    print(results.table)
    print(verdict(results.out))
    try:
        print(f"report: {build(results.out)}")
    except RunError as error:
        tell_no_report(error)
    if results.failures:
        for place, reason in results.failures.items():
            print(f"{place}: {reason}", file=sys.stderr)
        print(
            f"{plural_of(len(results.failures), len(points.points), 'point')} failed",
            file=sys.stderr,
        )
        raise SystemExit(1)
