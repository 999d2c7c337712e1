"""One root seed gives named, independent generators, so that no two uses share a stream.

A stream is addressed by names, never by how often something was drawn before: batch 17 of epoch 3
is the same whether or not the process was restarted in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(root: int, *names: str | int) -> int:
    """Return an independent 63-bit seed for the stream `names` under `root` (SHA-256)."""
    text = "/".join(str(part) for part in (root, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(root: int, *names: str | int) -> np.random.Generator:
    """NumPy generator of the stream `names`."""
    return np.random.default_rng(derive(root, *names))


def torch_generator(root: int, *names: str | int) -> torch.Generator:
    """CPU torch generator of the stream `names`; torch is imported only here."""
    import torch

    return torch.Generator().manual_seed(derive(root, *names))


@contextmanager
def torch_global(root: int, *names: str | int) -> Iterator[None]:
    """Let torch's global CPU generator be that of the stream `names`; it ends as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(root, *names))
        yield
