"""Worker processes on this machine, which are reached through pipes and listen to nobody.

A socket, even on the loopback, is open to every user of the machine. A pipe has no name: only the
driver and its worker hold its ends.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from recondoor.core.errors import RunError
from recondoor.sweeps._work import ATTEMPTS, Answer, Task

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_END = 5.0

# Of a worker's environment, where torch, NumPy and the C library read them as they are loaded.
# Memory that is given back at once costs a training, which wants it again, a tenth of its time.
DEFAULTS = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")} | {
    f"MALLOC_{name}_THRESHOLD_": str(2**30) for name in ("MMAP", "TRIM")
}


class Workers:
    """So many processes; one that dies is replaced, and its task is tried again."""

    def __init__(self, count: int) -> None:
        self._looks = selectors.DefaultSelector()
        self._workers: list[_Worker] = []
        self._deaths: Counter[str] = Counter()
        self._born_dead = 0
        try:
            for _ in range(count):
                self._add()
        except BaseException:
            self.close()
            raise

    def slots(self) -> int:
        """One for each worker."""
        return len(self._workers)

    def submit(self, task: Task) -> None:
        """Hand a task to a worker that has none."""
        next(worker for worker in self._workers if worker.task is None).give(task)

    def collect(self) -> list[tuple[Task, Answer]]:
        """Tasks that ended since the last call; raises RunError if no worker comes to life."""
        ended = []
        for key, _ in self._looks.select(SECONDS_BETWEEN_LOOKS):
            worker: _Worker = key.data
            for message in worker.hear():
                if "ready" in message:
                    self._born_dead = 0
                elif worker.task is not None:
                    ended.append((worker.task, Answer(**message)))
                    worker.task = None
            if worker.gone:
                ended += self._replace(worker)
        return ended

    def close(self) -> None:
        """End all workers; files are written whole or not at all, so they are not waited for."""
        for worker in self._workers:
            worker.dismiss()
        for worker in self._workers:
            worker.end()
        self._workers.clear()
        self._looks.close()

    def _add(self) -> None:
        worker = _Worker()
        self._workers.append(worker)
        self._looks.register(worker.voice, selectors.EVENT_READ, worker)

    def _replace(self, dead: "_Worker") -> list[tuple[Task, Answer]]:
        self._looks.unregister(dead.voice)
        self._workers.remove(dead)
        dead.end()
        self._born_dead += not dead.ready
        if self._born_dead >= ATTEMPTS:
            raise RunError(
                f"the worker processes end before they begin ({dead.reason}); "
                "free some memory or ask for fewer --workers; --workers 0 needs none"
            )
        self._add()
        if dead.task is None:
            return []
        self._deaths[dead.task.place] += dead.ready
        if self._deaths[dead.task.place] < ATTEMPTS:
            self.submit(dead.task)
            return []
        why = f"its worker died {ATTEMPTS} times ({dead.reason}: killed, or out of memory)"
        return [(dead.task, Answer(error=why))]


class _Worker:
    """One process: JSON lines with tasks go in, lines with answers come out."""

    def __init__(self) -> None:
        # Without -P a module of the folder that the command is given in could take another's place.
        command = [sys.executable, "-P", "-m", "recondoor.sweeps._worker"]
        path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=DEFAULTS | os.environ | path,
                bufsize=0,
            )
        except OSError as error:
            raise RunError(
                f"no worker process can be started ({error.strerror}); ask for fewer --workers"
            ) from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._tasks, self._answers = self._process.stdin, self._process.stdout
        self.task: Task | None = None
        self.ready = self.gone = False
        self._fault = ""
        self._begun = b""

    @property
    def voice(self) -> int:
        """Descriptor that can be read when the worker has said something, or is gone."""
        return self._answers.fileno()

    @property
    def reason(self) -> str:
        """Why it ended."""
        code = self._process.poll()
        if self._fault or code is None or code >= 0:
            return self._fault or f"exit code {code}"
        with suppress(ValueError):
            return f"by {signal.Signals(-code).name}"
        return f"by signal {-code}"

    def give(self, task: Task) -> None:
        """Send a task; a worker that is gone is found out by reading."""
        self.task = task
        with suppress(BrokenPipeError):
            self._tasks.write(json.dumps(asdict(task)).encode() + b"\n")

    def hear(self) -> list[dict[str, Any]]:
        """What it has said in whole lines; sets `gone` at the end."""
        heard = os.read(self.voice, 1 << 20)
        self.gone = not heard
        *lines, self._begun = (self._begun + heard).split(b"\n")
        messages = [json.loads(line) for line in lines]
        self.ready |= any("ready" in message for message in messages)
        self._fault = next((m.pop("fault") for m in messages if "fault" in m), self._fault)
        return [message for message in messages if message]

    def dismiss(self) -> None:
        """Close its input, at which it ends."""
        with suppress(OSError):
            self._tasks.close()

    def end(self) -> None:
        """Wait until it is gone, or see to it."""
        self.dismiss()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
