"""Who does the work: this process, processes on this machine, or the workers of a Dask cluster.

A pool is given no more tasks than it has free slots. So the order of a sweep is kept, and a worker
that dies takes no task with it but its own.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from recondoor.core.errors import ConfigError
from recondoor.sweeps._local import Workers
from recondoor.sweeps._work import Answer, Task, attempt


class Pool(Protocol):
    """Takes tasks and gives answers back."""

    def slots(self) -> int:
        """How many tasks may be under way now."""

    def submit(self, task: Task) -> None:
        """Begin a task."""

    def collect(self) -> list[tuple[Task, Answer]]:
        """Tasks that ended since the last call; waits a moment if there are none."""


class Serial:
    """This process, one task after the other."""

    def __init__(self) -> None:
        self._task: Task | None = None

    def slots(self) -> int:
        return 1

    def submit(self, task: Task) -> None:
        self._task = task

    def collect(self) -> list[tuple[Task, Answer]]:
        task, self._task = self._task, None
        return [] if task is None else [(task, attempt(task))]


@dataclass(frozen=True)
class Placement:
    """Which pool: so many processes here (0: this one), or a scheduler that is running.

    With a scheduler, `workers` bounds how many points are under way there; None: all its slots.
    """

    workers: int | None = None
    scheduler: str | None = None
    scheduler_file: Path | None = None
    gpus_per_task: int = 0

    def __post_init__(self) -> None:
        """Refuse what does not go together; raises ConfigError."""
        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"--workers: {self.workers} given; expected 0 or more")
        if self.scheduler and self.scheduler_file:
            raise ConfigError("--scheduler and --scheduler-file: give one of them")
        if self.gpus_per_task < 0:
            raise ConfigError(f"--gpus-per-task: {self.gpus_per_task} given; expected 0 or more")
        if self.gpus_per_task and not self.remote:
            raise ConfigError(
                "--gpus-per-task: needs --scheduler or --scheduler-file, and workers started with "
                "--resources GPU=1 (docs/cluster.md)"
            )

    @property
    def remote(self) -> bool:
        """Whether the workers are somebody else's."""
        return bool(self.scheduler or self.scheduler_file)


@contextmanager
def open_pool(where: Placement, useful: int) -> Iterator[Pool]:
    """Start or join the workers, and leave them at the end; start no more than are `useful`."""
    workers = min(where.workers or 0, useful)
    if where.remote:
        from recondoor.sweeps._cluster import joined

        with joined(
            where.scheduler, where.scheduler_file, where.gpus_per_task, where.workers
        ) as pool:
            yield pool
    elif workers:
        with closing(Workers(workers)) as pool:
            yield pool
    else:
        yield Serial()
