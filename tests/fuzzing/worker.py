"""A process that reads one mutated input after the other and says how each of them ended.

A line ``target seed index`` on standard input is answered by a line of JSON. The process has a
limit on its memory, at all times and a stricter one while it reads, and watches what is opened,
run and unpickled in it.
"""

import io
import json
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from fuzzing.case import Case, Trap
from fuzzing.mutate import Random
from fuzzing.target import Target, mutated
from fuzzing.targets import TARGETS
from recondoor.core.errors import RecondoorError

MEMORY = 1 << 30
"""Bytes that reading an input may take beside what the process had before."""
WHOLE = 4 << 30
"""Bytes of its own that the process, or a process that it starts, ever has."""
LONGEST_LINE = 2_000
WARM = 20
"""Inputs of a trap that are read before the first one counts, so that all is imported."""
_FORBIDDEN = ("pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "socket.connect")
_PAGE = resource.getpagesize()


class Watch:
    """An audit hook that notes what no reader may do; off until told."""

    def __init__(self) -> None:
        self.inside = ""
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.inside:
            return
        if event in _FORBIDDEN:
            self.seen.append(f"{event} {str(arguments)[:100]}")
        elif event == "open" and isinstance(arguments[0], str):
            path, _, flags = arguments
            writes = (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            # A bare temporary name is the gate's, in a folder that it holds open.
            gated = os.sep not in path and path.startswith(".")
            if writes and not gated and not os.path.realpath(path).startswith(self.inside):
                self.seen.append(f"writes {path}")


class Sandbox:
    """A folder in which one input after the other is read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.input = root / "a" / "b" / "input"
        self.input.mkdir(parents=True)
        self.valid: dict[str, dict[str, bytes]] = {}
        self.watch = Watch()
        os.chdir(self.input.parent)

    def prepare(self, target: Target | Trap) -> None:
        """Write the valid files and read them once, so that all is imported."""
        if isinstance(target, Trap):
            self.valid[target.name] = {}
            self._warm_up(target)
            return
        folder = self.root / "valid" / target.name
        folder.mkdir(parents=True)
        target.write(folder)
        paths = [path for path in folder.rglob("*") if path.is_file()]
        self.valid[target.name] = {str(p.relative_to(folder)): p.read_bytes() for p in paths}
        self.clear()
        self.fill(self.valid[target.name])
        target.read(self.input)

    def _warm_up(self, trap: Trap) -> None:
        for number in range(WARM):
            case = trap.draw(np.random.default_rng(number))
            self.clear()
            self.fill(case.files)
            with suppress(RecondoorError, AssertionError):
                case.read(self.input)

    def case(self, target: Target | Trap, random: Random) -> Case:
        """One input of a target."""
        if isinstance(target, Trap):
            return target.draw(random)
        return Case(mutated(self.valid[target.name], target, random), target.read)

    def clear(self) -> None:
        """Empty the folder."""
        for path in sorted(self.input.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()

    def fill(self, files: dict[str, bytes]) -> None:
        """Put files into the folder."""
        for name, content in files.items():
            (self.input / name).parent.mkdir(parents=True, exist_ok=True)
            (self.input / name).write_bytes(content)

    def state(self) -> dict[str, tuple[int, int]]:
        """Size and time of every file, but for the valid ones."""
        paths = [p for top in ("a", "executed") for p in [*(self.root / top).rglob("*")]]
        stats = {p: p.lstat() for p in paths if not p.is_dir()}
        return {str(p): (stat.st_size, stat.st_mtime_ns) for p, stat in stats.items()}

    def try_input(self, target: Target | Trap, seed: int, index: int) -> dict[str, Any]:
        """Mutate, read, and say what happened: accepted, refused, or how it failed."""
        if target.name not in self.valid:
            self.prepare(target)
        random = np.random.default_rng([seed, zlib.crc32(target.name.encode()), index])
        case = self.case(target, random)
        self.clear()
        self.fill(case.files)
        before = self.state()
        self.watch.seen, self.watch.inside = [], str(self.input)
        begun = time.monotonic()
        outcome, text = outcome_of(case, self.input)
        seconds = time.monotonic() - begun
        self.watch.inside = ""
        touched = self._touched(before, target) + self.watch.seen
        if touched:
            outcome, text = "failed", f"{outcome}, but {'; '.join(touched)}"
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {"outcome": outcome, "text": text, "seconds": seconds, "memory": memory}

    def _touched(self, before: dict[str, tuple[int, int]], target: Target | Trap) -> list[str]:
        after = self.state()
        changed = [f"{path} was changed" for path in before if after.get(path) != before[path]]
        new = [Path(path).relative_to(self.input.parent) for path in after.keys() - before.keys()]
        allowed = [f"input/{pattern}" for pattern in target.makes]
        return changed + [
            f"{path} was made" for path in new if not any(fnmatch(str(path), a) for a in allowed)
        ]


def outcome_of(case: Case, folder: Path) -> tuple[str, str]:
    """Read; 'accepted' and nothing, 'refused' and the message, or 'failed' and the traceback."""
    try:
        with limited():
            case.read(folder)
    except RecondoorError as error:
        fault = fault_of(error) or case.fault("refused")
        return ("failed", f"{fault}: {str(error)[:600]}") if fault else ("refused", str(error))
    except BaseException:  # noqa: BLE001 - anything else is what is looked for
        return "failed", traceback.format_exc(limit=-6)
    fault = case.fault("accepted")
    return ("failed", fault) if fault else ("accepted", "")


@contextmanager
def limited(more: int = MEMORY) -> Iterator[None]:
    """Inside, the process can take `more` bytes; beyond that an allocation raises MemoryError."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE
    before, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, hard))


def fault_of(error: RecondoorError) -> str:
    """What is wrong with a refusal: too long, unprintable, or made of a failed allocation."""
    lines = str(error).split("\n")
    if len(lines) > 2 or max(map(len, lines)) > LONGEST_LINE:
        return f"a message of {len(lines)} lines, the longest of {max(map(len, lines))} characters"
    if not str(error).replace("\n", "").isprintable():
        return f"an unprintable message {str(error)[:200]!r}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return f"more than {MEMORY >> 20} MiB were asked for"
        cause = cause.__cause__ or cause.__context__
    return ""


def main() -> None:
    """Answer line by line."""
    resource.setrlimit(resource.RLIMIT_DATA, (WHOLE, WHOLE))
    answers = os.fdopen(os.dup(1), "w")
    sys.stdout = io.StringIO()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="recondoor-fuzz-") as name:
        sandbox = Sandbox(Path(name).resolve())
        for line in sys.stdin:
            target, seed, index = line.split()
            answer = sandbox.try_input(TARGETS[target], int(seed), int(index))
            print(json.dumps(answer), file=answers, flush=True)
        os.chdir("/")


if __name__ == "__main__":
    main()
