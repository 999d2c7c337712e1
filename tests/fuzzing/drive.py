"""Sends inputs to a worker, starts another one where it hangs or dies, and counts."""

import json
import math
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzzing.targets import TARGETS

# Of the first input of a target: its valid files are made and read, and PyTorch is imported.
START = 60.0


@dataclass
class Count:
    """How the inputs of one target ended."""

    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    slowest: float = 0.0
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
        """Have one input read; a worker that hangs or dies is at its end."""
        assert self.process.stdin is not None and self.process.stdout is not None
        allowed = TARGETS[target].patience if target in self.known else START
        self.known.add(target)
        self.process.stdin.write(f"{target} {seed} {index}\n".encode())
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], allowed)[0]:
            self.close()
            return {"outcome": "failed", "text": f"hung for {allowed:g} s", "seconds": allowed}
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            return {"outcome": "failed", "text": f"the process died ({code})", "seconds": 0.0}
        answer: dict[str, Any] = json.loads(line)
        return answer

    @property
    def alive(self) -> bool:
        """Whether it can be asked again."""
        return self.process.poll() is None

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


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
    if answer["outcome"] == "failed":
        count.failures.append((index, answer["text"]))
    elif answer["outcome"] == "refused":
        count.refused += 1
    else:
        count.accepted += 1


def reproducer(target: str, seed: int, index: int) -> str:
    """The command that runs one input again."""
    return f'make fuzz ARGS="--only {target} --seed {seed} --first {index} --count 1"'
