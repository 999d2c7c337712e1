"""The file that an operator is read from, for tests that go through all operators."""

import math
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

FOLDER = tempfile.TemporaryDirectory(prefix="recondoor-matrix-")


def file_of(name: str, shape: tuple[int, int, int], ratio: float, seed: int) -> Path | None:
    """What `operator.file` has to be, None for operators that are drawn."""
    return _matrix(shape, ratio, seed) if name == "matrix" else None


@cache
def _matrix(shape: tuple[int, int, int], ratio: float, seed: int) -> Path:
    """A complex matrix of ratio * C * H * W rows in a file of its own."""
    n = math.prod(shape)
    parts = np.random.default_rng(seed).standard_normal((2, round(ratio * n), n)) / n**0.5
    path = Path(tempfile.mkdtemp(dir=FOLDER.name)) / "matrix.npy"
    np.save(path, parts[0] + 1j * parts[1])
    return path
