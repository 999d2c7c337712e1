"""What valid files hold: numbers drawn from one generator."""

from typing import Any

import numpy as np

from fuzzing.mutate import Random


def generator() -> Random:
    return np.random.default_rng(1)


def images(count: int = 12, size: int = 8) -> Any:
    return generator().integers(0, 256, (count, size, size), dtype=np.uint8)
