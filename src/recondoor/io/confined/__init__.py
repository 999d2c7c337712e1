"""Networks of other makes: ONNX files, run by onnxruntime in a process of few rights.

The process has an empty environment, no inherited file, and limits of memory and time; it can open
neither files nor sockets. It answers with raw float32 behind a fixed header: nothing that it says
is parsed any further. What that does not keep out: the process runs as the same user on the same
kernel, so a fault of onnxruntime's C++ code by which a file takes it over is not contained.
"""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path

import numpy as np

from recondoor.core.errors import DataError
from recondoor.io import gate
from recondoor.io.arrays import failure
from recondoor.io.confined._frames import (
    FAULT,
    IMAGES,
    LONGEST_FAULT,
    MODEL,
    READY,
    Ended,
    Floats,
    Numbers,
    read_exactly,
    read_header,
    read_images,
    write_frame,
)

__all__ = ["LARGEST", "MEMORY", "SECONDS", "ConfinedNetwork"]

LARGEST = 256 * gate.MIB
"""Most bytes of an ONNX file: 67 million weights."""

MEMORY = 4096 * gate.MIB
"""Most bytes of address space of the process."""

SECONDS = 60
"""Most seconds for loading, and for each batch."""

PIXELS = 100_000
"""Of a batch at most, so that an honest network needs a small part of `SECONDS`."""

NEEDED = ("recondoor", "numpy", "onnxruntime")
"""Packages that the process imports, from where they are found here."""

START = (
    "import sys; sys.path += sys.argv[3:]; from recondoor.io.confined._guest import main; "
    "main(int(sys.argv[1]), int(sys.argv[2]))"
)


class ConfinedNetwork:
    """An ONNX network in a process of its own, which ends with this object.

    `batch` is the only size of a batch that the file takes, None if it takes any.
    """

    def __init__(
        self, path: Path, *, memory: int = MEMORY, seconds: int = SECONDS, largest: int = LARGEST
    ) -> None:
        """Start the process and load the file in it.

        Raises:
            DataError: the file cannot be read, is no ONNX network of one input and one output,
                reaches out of itself, or needs more than the limits; or onnxruntime is missing.
        """
        self._path, self._memory, self._seconds = path, memory, seconds
        self._over: str | None = None  # why there is no process any more
        try:
            content = gate.read_bytes(path, most=largest)
        except (gate.Refused, OSError) as error:
            raise DataError(failure(path, error)) from None
        self._process = _start(path, memory, seconds)
        weakref.finalize(self, _end, self._process)
        shape, _ = self._ask(MODEL, (len(content), 0, 0, 0), content)
        self.batch = shape[0] if shape[0] > 0 else None

    def __call__(self, z: Floats) -> Floats:
        """F(z) for z (N, C, H, W), finite and of the same shape.

        Raises:
            DataError: the network fails, takes too long, or returns something else.
        """
        most = self.batch or max(1, PIXELS // max(1, z[0].size))
        parts = [self._of_batch(z[start : start + most]) for start in range(0, len(z), most)]
        out = np.concatenate(parts)
        if not np.isfinite(out).all():
            raise DataError(f"'{self._path}' returns NaN or infinite values, for finite images")
        return out

    def _of_batch(self, z: Floats) -> Floats:
        count, missing = len(z), (self.batch or len(z)) - len(z)
        if missing:  # a batch of fixed size is filled up, and what that adds is dropped
            z = np.concatenate((z, np.zeros((missing, *z.shape[1:]), np.float32)))
        batch, channels, height, width = z.shape
        content = np.ascontiguousarray(z, dtype="<f4").tobytes()
        return self._ask(IMAGES, (batch, channels, height, width), content)[1][:count]

    def _ask(self, kind: bytes, numbers: Numbers, content: bytes) -> tuple[Numbers, Floats]:
        """Send a frame; return the numbers and images of the answer, which has to fit it."""
        if self._over is not None:
            raise DataError(self._over)
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None and answers is not None
        watch = threading.Timer(self._seconds, self._process.kill)
        watch.start()
        try:
            with suppress(BrokenPipeError):  # it may have said why before it ended
                write_frame(requests, kind, numbers, content)
            said, found = read_header(answers)
            if said == FAULT and 0 <= found[0] <= LONGEST_FAULT:
                text = bytes(read_exactly(answers, found[0])).decode(errors="replace")
                raise DataError(f"'{self._path}': {text}")
            if (kind, said) == (MODEL, READY):
                return found, np.empty(0, np.float32)
            if (kind, said) != (IMAGES, IMAGES):
                raise Ended
            if found != numbers:
                raise DataError(
                    f"'{self._path}' maps {numbers} to {found}; expected the same shape"
                )
            return found, read_images(answers, found)
        except Ended:
            self._over = f"'{self._path}' {self._fate(watch)}"
            raise DataError(self._over) from None
        except DataError as error:
            self._over = str(error)
            _end(self._process)
            raise
        finally:
            watch.cancel()

    def _fate(self, watch: threading.Timer) -> str:
        """Why there was no answer, after which there is no process either."""
        late = watch.finished.is_set()
        code = self._process.poll() if late else None
        _end(self._process)
        code = self._process.returncode if code is None else code
        if late or code == -signal.SIGXCPU:
            return (
                f"took more than the {self._seconds} s that loading it and each batch may take; "
                "give fewer or smaller images, or a smaller network"
            )
        name = signal.Signals(-code).name if code < 0 else f"code {code}"
        return (
            f"ended the process that runs it ({name}); it may need more than the "
            f"{self._memory / 2**30:.3g} GiB of memory that are allowed"
        )


def _start(path: Path, memory: int, seconds: int) -> subprocess.Popen[bytes]:
    """The process, before it has seen anything of the file."""
    homes = []
    for name in NEEDED:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            raise DataError(f"'{path}' needs {name} to be run: pip install recondoor[onnx]")
        homes.append(str(Path(found.origin).parents[1]))
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return subprocess.Popen(
        # -I, -S: modules come from the standard library and `homes`, not from the current folder.
        [sys.executable, "-I", "-S", "-c", START, str(memory), str(seconds), *homes],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=kept | one,
        cwd="/",
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it, unless it has ended, and drop its pipes."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
