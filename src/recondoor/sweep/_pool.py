"""Who does the work: this process, or the workers of a Dask cluster.

A pool is given no more tasks than it has free slots. So the order of a sweep is kept, and a worker
that dies takes no task with it but its own.
"""

import importlib.util
import logging
import time
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from recondoor.errors import ConfigError, RecondoorError, RunError
from recondoor.sweep._work import Answer, Task, work

if TYPE_CHECKING:
    from distributed import Client

# How often a point is tried whose worker dies, or which fails in a way that may not come again.
ATTEMPTS = 3
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_CONNECT = 20.0

# Of a worker's environment, where torch and NumPy read them as they are imported.
ONE_THREAD = {f"{name}_NUM_THREADS": 1 for name in ("OMP", "MKL", "OPENBLAS")}
KEEP_MEMORY = {f"MALLOC_{name}_THRESHOLD_": 2**30 for name in ("MMAP", "TRIM")}

# What may pass: out of memory (torch raises a RuntimeError), a file system that does not answer.
PASSING = (RuntimeError, MemoryError, OSError)


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
        return [] if task is None else [(task, self._try(task))]

    def _try(self, task: Task) -> Answer:
        for _ in range(ATTEMPTS):
            try:
                return work(task)
            except PASSING as error:
                reason = _reason(error)
        return Answer(error=reason)


class Cluster:
    """The workers of a Dask cluster."""

    def __init__(self, client: "Client", gpus: int, at_most: int | None) -> None:
        self._client, self._at_most = client, at_most
        self._resources = {"GPU": gpus} if gpus else {}
        self._running: dict[Any, Task] = {}

    def slots(self) -> int:
        """One for each thread of each worker, or for each set of GPUs, up to --workers."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        if self._resources:
            gpus = self._resources["GPU"]
            free = sum(int(worker["resources"].get("GPU", 0) // gpus) for worker in workers)
        else:
            free = sum(worker["nthreads"] for worker in workers)
        return free if self._at_most is None else min(free, self._at_most)

    def submit(self, task: Task) -> None:
        future = self._client.submit(
            work, task, pure=False, retries=ATTEMPTS - 1, resources=self._resources
        )
        self._running[future] = task

    def collect(self) -> list[tuple[Task, Answer]]:
        """Ended tasks; their futures are dropped, so that no death of a worker revives them."""
        if self._client.status not in ("running", "connecting"):
            raise RunError("the scheduler is gone; start it and give the same command again")
        self._wait()
        ended = [future for future in self._running if future.status != "pending"]
        return [(self._running.pop(future), _answer(future)) for future in ended]

    def _wait(self) -> None:
        """Until a task ends, but not for long, as workers come and go."""
        from distributed import wait

        if not self._running:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            return
        with suppress(TimeoutError, CancelledError):
            wait(list(self._running), SECONDS_BETWEEN_LOOKS, "FIRST_COMPLETED")  # type: ignore[no-untyped-call]


def _answer(future: Any) -> Answer:
    from distributed import KilledWorker

    if future.status == "finished":
        answer: Answer = future.result()
        return answer
    if future.status != "error":
        raise RunError("the scheduler lost a task; give the same command again to carry on")
    error = future.exception()
    if isinstance(error, KilledWorker):
        times = error.allowed_failures + 1
        return Answer(error=f"its worker died {times} times (killed, out of memory or lost)")
    return Answer(error=_reason(error))


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class Where:
    """Which pool: so many processes here (0: this one), or a scheduler that is running.

    With a scheduler, `workers` bounds how many points are under way there; None: all its slots.
    """

    workers: int | None = None
    scheduler: str | None = None
    scheduler_file: Path | None = None
    gpus_per_task: int = 0
    dashboard: bool = False

    def __post_init__(self) -> None:
        """Refuse what does not go together; raises ConfigError."""
        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"--workers: {self.workers} given; expected 0 or more")
        if self.scheduler and self.scheduler_file:
            raise ConfigError("--scheduler and --scheduler-file: give one of them")
        if self.gpus_per_task and not self.remote:
            raise ConfigError(
                "--gpus-per-task: needs --scheduler or --scheduler-file, and workers started with "
                "--resources GPU=1 (docs/cluster.md)"
            )
        if self.dashboard and importlib.util.find_spec("bokeh") is None:
            raise ConfigError("--dashboard: needs bokeh, which is not installed; pip install bokeh")

    @property
    def remote(self) -> bool:
        """Whether the workers are somebody else's."""
        return bool(self.scheduler or self.scheduler_file)


@contextmanager
def open_pool(where: Where, useful: int) -> Iterator[Pool]:
    """Start or join the workers, and leave them at the end; start no more than are `useful`."""
    workers = min(where.workers or 0, useful)
    if not where.remote and workers == 0:
        yield Serial()
        return
    from distributed import Client

    with _started(where, workers) as address:
        try:
            client: Any = Client(  # type: ignore[no-untyped-call]
                address, scheduler_file=_text(where.scheduler_file), timeout=SECONDS_TO_CONNECT
            )
        except (OSError, ValueError) as error:
            raise RunError(
                f"no scheduler answers at {where.scheduler or where.scheduler_file} ({error}); "
                "start one with `dask scheduler`"
            ) from None
        with client:
            yield Cluster(client, where.gpus_per_task, where.workers)


@contextmanager
def _started(where: Where, workers: int) -> Iterator[Any]:
    """A cluster on this machine, unless a scheduler is named."""
    if where.remote:
        yield where.scheduler
        return
    import dask
    from distributed import LocalCluster

    # Dask counts the deaths that it forgives; how much memory a process may use is the kernel's
    # matter, as Dask would share it out by cores. Dask's setting of malloc, which gives memory back
    # at once, costs a training, which wants it again, a tenth of its CPU time.
    settings = {
        "distributed.scheduler.allowed-failures": ATTEMPTS - 1,
        "distributed.nanny.pre-spawn-environ": ONE_THREAD | KEEP_MEMORY,
    }
    with (
        dask.config.set(settings),
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            memory_limit=0,
            dashboard_address=f"127.0.0.1:{8787 if where.dashboard else 0}",
            scheduler_kwargs={"dashboard": where.dashboard},
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster


def _text(path: Path | None) -> str | None:
    if path is not None and not path.exists():
        raise RecondoorError(f"--scheduler-file: {path} does not exist; start the scheduler first")
    return None if path is None else str(path)
