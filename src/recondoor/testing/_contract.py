"""What every contract shares: it runs over the names of plug-ins, each in a test of its own."""

import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from recondoor.core import registry


def generator(seed: int = 5) -> torch.Generator:
    """A generator of the CPU."""
    return torch.Generator().manual_seed(seed)


@contextmanager
def global_generators_stay() -> Iterator[None]:
    """Within, nobody draws from the generators of torch, NumPy and Python."""

    def state() -> tuple[bytes, bytes, object]:
        numpy_state = pickle.dumps(np.random.get_state(legacy=False))  # noqa: NPY002
        return torch.get_rng_state().numpy().tobytes(), numpy_state, random.getstate()

    before = state()
    yield
    assert state() == before


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    """Whether tensors are the same to the bit."""
    return len(first) == len(second) and all(map(torch.equal, first, second))


class Contract:
    """Tests that run for each of `names`: registered ones, or MODULE:NAME."""

    kind: ClassVar[str]
    names: ClassVar[tuple[str, ...]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each name."""
        if "name" in metafunc.fixturenames:
            metafunc.parametrize("name", self.names)

    def test_is_described_in_a_line(self, name: str) -> None:
        """Its docstring's first line says what it is, in 10 to 100 characters."""
        plug_in = registry.load(self.kind, name)
        text = registry.describe(self.kind).get(name) or plug_in.__doc__ or ""
        assert 10 < len(text.split("\n")[0]) <= 100
