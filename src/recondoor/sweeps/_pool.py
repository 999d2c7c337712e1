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
from recondoor.sweeps._work import Answer, Task, attempt, attempt_together


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


class Together:
    """This process, with the networks of up to `most` tasks trained at once on one device."""

    def __init__(self, most: int) -> None:
        self._most, self._tasks = most, list[Task]()

    def slots(self) -> int:
        return self._most

    def submit(self, task: Task) -> None:
        self._tasks.append(task)

    def collect(self) -> list[tuple[Task, Answer]]:
        tasks, self._tasks = self._tasks, []
        return attempt_together(tasks, self._most) if tasks else []


@dataclass(frozen=True)
class Placement:
    """Which pool: so many processes here (0: this one), or a scheduler that is running.

    With a scheduler, `workers` bounds how many points are under way there; None: all its slots.
    `together` networks are trained at once in this process, where it is more than 1.
    """

    workers: int | None = None
    scheduler: str | None = None
    scheduler_file: Path | None = None
    gpus_per_task: int = 0
    together: int = 1

    def __post_init__(self) -> None:
        """Refuse what does not go together; raises ConfigError."""
        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"--workers: {self.workers} given; expected 0 or more")
        if self.scheduler and self.scheduler_file:
            raise ConfigError("--scheduler and --scheduler-file: give one of them")
        if self.together < 1:
            raise ConfigError(f"--together: {self.together} given; expected 1 or more")
        if self.together > 1 and (self.workers or self.remote):
            raise ConfigError(
                "--together: trains the networks of several points in one process; leave "
                "--workers and the scheduler out, or leave --together out"
            )
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
    elif where.together > 1:
        yield Together(where.together)
    else:
        yield Serial()
