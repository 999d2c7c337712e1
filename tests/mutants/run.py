"""A mutant in a process of its own: imported in the place of the file, which stays as it is."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

MEMORY = 16 << 30
"""Address space of a process: a mutant may ask for more than there is."""

SPARE, FACTOR = 10.0, 3.0
"""Seconds, and multiples of what its tests take, after which a mutant counts as noticed."""


@dataclass(frozen=True)
class Job:
    """Test files to run against a changed module; no `name`: against the code as it is."""

    tests: tuple[Path, ...]
    limit: float
    name: str = ""
    path: Path = Path()
    source: str = ""


class _Changed(importlib.machinery.SourceFileLoader):
    """Loads another source than the file's."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str):
        return self.source_to_code(self._source.encode(), self.path)


class _Finder:
    """Finds the changed module first."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._job.name:
            return None
        loader = _Changed(name, str(self._job.path), self._job.source)
        return importlib.util.spec_from_file_location(name, self._job.path, loader=loader)


def warm_up() -> None:
    """Import what is slow and not ours once, for all processes that are forked."""
    for name in ("torch", "torch.func", "scipy.stats", "sklearn.covariance", "sklearn.cluster"):
        importlib.import_module(name)
    importlib.import_module("torch").set_num_threads(1)


def outcomes(jobs: Sequence[Job], workers: int) -> Iterator[tuple[int, int | None, float]]:
    """Run `jobs` and yield of each, as it ends: its place, pytest's exit code, and its seconds.

    The code is None where the time was up.
    """
    waiting = list(enumerate(jobs))[::-1]
    running: dict[int, tuple[int, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                place, job = waiting.pop()
                running[_started(job)] = place, time.monotonic()
            for process, (place, began) in list(running.items()):
                code, taken = _ended(process), time.monotonic() - began
                if code is None and taken < jobs[place].limit:
                    continue
                os.killpg(process, signal.SIGKILL) if code is None else None
                del running[process]
                yield place, code, taken
            time.sleep(0.02)
    finally:
        for process in running:
            os.killpg(process, signal.SIGKILL)


def _ended(process: int) -> int | None:
    found, status = os.waitpid(process, os.WNOHANG)
    return None if found == 0 else os.waitstatus_to_exitcode(status)


def _started(job: Job) -> int:
    """Fork a process that runs the job, in a group of its own."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        sys.meta_path.insert(0, _Finder(job))
        code = int(pytest.main([*OPTIONS, *map(str, job.tests)]))
    finally:
        os._exit(code)


OPTIONS = ("-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header")
