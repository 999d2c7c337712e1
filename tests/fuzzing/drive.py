"""Sends inputs to a worker, starts another one where it hangs or dies, and counts."""

import json
import math
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzzing.targets import TARGETS

# Of the first input of a target: its valid files are made and read, and PyTorch is imported.
START = 60.0
# Resident bytes of a worker and all that it has started, and seconds after which they are counted.
MOST = 3 << 30
LOOK = 0.1
_PAGE = resource.getpagesize()


@dataclass
class Count:
    """How the inputs of one target ended; `memory`: most bytes that a worker had until then."""

    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    slowest: float = 0.0
    memory: int = 0
    failures: list[tuple[int, str]] = field(default_factory=list)


class Worker:
    """A process of `fuzzing.worker`."""

    def __init__(self) -> None:
        folder = str(Path(__file__).parents[1])
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])]),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "",
            "MPLBACKEND": "agg",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fuzzing.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self.known: set[str] = set()

    def ask(self, target: str, seed: int, index: int) -> dict[str, Any]:
        """Have one input read; a worker that hangs, dies or takes too much is at its end."""
        assert self.process.stdin is not None and self.process.stdout is not None
        allowed = TARGETS[target].patience if target in self.known else START
        self.known.add(target)
        self.process.stdin.write(f"{target} {seed} {index}\n".encode())
        self.process.stdin.flush()
        if fault := self._fault(allowed):
            self.end()
            return {"outcome": "failed", "text": fault, "seconds": allowed}
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            return {"outcome": "failed", "text": f"the process died ({code})", "seconds": 0.0}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _fault(self, allowed: float) -> str:
        """Wait for an answer; say what keeps it from coming, in time and within memory."""
        until = time.monotonic() + allowed
        while (left := until - time.monotonic()) > 0:
            if select.select([self.process.stdout], [], [], min(left, LOOK))[0]:
                return ""
            if (size := sum(map(_resident, _tree(self.process.pid)))) > MOST:
                return f"took {size / 2**30:.2g} GiB, of {MOST / 2**30:g} that are allowed"
        return f"hung for {allowed:g} s"

    @property
    def alive(self) -> bool:
        """Whether it can be asked again."""
        return self.process.poll() is None

    def end(self) -> None:
        """Kill the process and all that it has started."""
        for number in reversed(_tree(self.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        self.close()

    def close(self) -> None:
        """Let the process end."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def _tree(number: int) -> list[int]:
    """A process and all that it has started, by number."""
    found = [number]
    with suppress(OSError):
        for children in Path(f"/proc/{number}/task").glob("*/children"):
            found += [each for child in children.read_text().split() for each in _tree(int(child))]
    return found


def _resident(number: int) -> int:
    """Bytes of a process that are in memory; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{number}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def plan(count: int, only: str | None = None) -> dict[str, int]:
    """Inputs of each target, at least one, `count` together or a few more."""
    if only is not None:
        return {only: count}
    whole = sum(target.share for target in TARGETS.values())
    return {name: math.ceil(count * t.share / whole) for name, t in TARGETS.items()}


def drive(counts: dict[str, int], seed: int, first: int = 0) -> Iterator[tuple[str, Count]]:
    """Run the inputs of each target; after each, tell the target and its count so far."""
    worker = Worker()
    try:
        for name, inputs in counts.items():
            count = Count()
            for index in range(first, first + inputs):
                if not worker.alive:
                    worker = Worker()
                answer = worker.ask(name, seed, index)
                _add(count, index, answer)
                yield name, count
    finally:
        worker.close()


def _add(count: Count, index: int, answer: dict[str, Any]) -> None:
    count.inputs += 1
    count.slowest = max(count.slowest, answer["seconds"])
    count.memory = max(count.memory, answer.get("memory", 0))
    if answer["outcome"] == "failed":
        count.failures.append((index, answer["text"]))
    elif answer["outcome"] == "refused":
        count.refused += 1
    else:
        count.accepted += 1


def reproducer(target: str, seed: int, index: int) -> str:
    """The command that runs one input again."""
    return f'make fuzz ARGS="--only {target} --seed {seed} --first {index} --count 1"'
