"""The workers of a Dask cluster that somebody has started.

What Dask raises when a scheduler goes, refuses or never answers is one error here, with a remedy.
"""

import json
import logging
import time
from asyncio import CancelledError as LoopEnded
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recondoor.core.errors import ConfigError, RunError
from recondoor.io import gate
from recondoor.sweeps._work import ATTEMPTS, Answer, Task, reason_of, work

if TYPE_CHECKING:
    from distributed import Client

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_CONNECT = 20.0
LARGEST_FILE = 1 << 20
# They write tracebacks of what becomes one line here.
LOGGERS = ("distributed", "distributed.client", "tornado.application", "asyncio")

# A connection that breaks; and what else an address or certificates may be at fault in.
BROKEN = (OSError, CancelledError, LoopEnded, RuntimeError)
UNUSABLE = (*BROKEN, ValueError, TypeError)


class Cluster:
    """Takes as many points as the cluster has slots, or `at_most` of them."""

    def __init__(self, client: "Client", gpus: int, at_most: int | None) -> None:
        self._client, self._at_most = client, at_most
        self._resources = {"GPU": gpus} if gpus else {}
        self._running: dict[Any, Task] = {}

    def slots(self) -> int:
        """One for each thread of each worker, or for each set of GPUs, up to --workers."""
        with _told():
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        if self._resources:
            gpus = self._resources["GPU"]
            free = sum(int(worker["resources"].get("GPU", 0) // gpus) for worker in workers)
        else:
            free = sum(worker["nthreads"] for worker in workers)
        return free if self._at_most is None else min(free, self._at_most)

    def submit(self, task: Task) -> None:
        with _told():
            future = self._client.submit(
                work, task, pure=False, retries=ATTEMPTS - 1, resources=self._resources
            )
        self._running[future] = task

    def collect(self) -> list[tuple[Task, Answer]]:
        """Ended tasks; their futures are dropped, so that no death of a worker revives them."""
        if self._client.status not in ("running", "connecting"):
            raise _gone()
        with _told():
            self._wait()
            ended = [future for future in self._running if future.status != "pending"]
            return [(self._running.pop(future), _answer(future)) for future in ended]

    def _wait(self) -> None:
        """Until a task ends, but not for long, as workers come and go."""
        from distributed import wait

        if not self._running:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            return
        with suppress(TimeoutError):
            wait(list(self._running), SECONDS_BETWEEN_LOOKS, "FIRST_COMPLETED")  # type: ignore[no-untyped-call]


def _gone(why: str = "") -> RunError:
    return RunError(f"the scheduler is gone{why}; start it and give the same command again")


@contextmanager
def _told() -> Iterator[None]:
    """Tell what a connection that breaks raises."""
    try:
        yield
    except (CancelledError, LoopEnded):
        # Its tasks go with a scheduler.
        raise _gone() from None
    except BROKEN as error:
        raise _gone(f" ({reason_of(error)})") from None


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
    return Answer(error=reason_of(error))


@contextmanager
def joined(
    scheduler: str | None, file: Path | None, gpus: int, at_most: int | None
) -> Iterator[Cluster]:
    """Join a scheduler by its address or by the file that it wrote; leave it at the end.

    Certificates are those of Dask's own configuration (docs/cluster.md). Raises RunError if no
    scheduler answers, ConfigError if the file is none.
    """
    address = scheduler if file is None else _address(file)
    from distributed import Client

    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        client: Any = Client(address, timeout=SECONDS_TO_CONNECT)  # type: ignore[no-untyped-call]
    except UNUSABLE as error:
        raise RunError(
            f"no scheduler answers at {address} ({reason_of(error)}); start one with "
            "`dask scheduler`, or mend the address or the certificates (docs/cluster.md)"
        ) from None
    try:
        yield Cluster(client, gpus, at_most)
    finally:
        with suppress(*BROKEN):
            client.close()


def _address(file: Path) -> str:
    """The address in the file that a scheduler wrote."""
    try:
        content = json.loads(gate.read_text(file, most=LARGEST_FILE))
        address = content["address"]
        if isinstance(address, str):
            return address
        why = "its address is no text"
    except FileNotFoundError:
        raise ConfigError(
            f"--scheduler-file: {file} does not exist; start the scheduler first"
        ) from None
    except OSError as error:
        why = str(error.strerror)
    except (ValueError, RecursionError) as error:
        why = str(error)
    except (TypeError, KeyError):
        why = "it has no address"
    raise ConfigError(f"--scheduler-file: {file} is not the file of a scheduler ({why})")
