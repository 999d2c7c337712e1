"""What tests of operators share: operators, images and what is compared of them."""

import pytest
import torch
from torch import Tensor

from operator_files import file_of
from recondoor import operators
from recondoor.config import Operator
from recondoor.core import registry
from recondoor.operators import LinearOperator

NAMES = registry.names("operators")

SHAPES = [(1, 28, 28), (3, 17, 20)]


def several(name: str) -> tuple[int, int, int]:
    """Images of as many channels as an operator measures, three if any number."""
    return (max(operators.load(name).channels or (3,)), 17, 20)


contract = pytest.mark.parametrize("shape", SHAPES, ids=str)

every = pytest.mark.parametrize("name", NAMES)


def make(
    name: str,
    shape: tuple[int, int, int],
    *,
    ratio: float = 0.4,
    sigma: float = 0.1,
    seed: int = 3,
    dtype: torch.dtype = torch.float64,
) -> LinearOperator:
    file = file_of(name, shape, ratio, seed)
    settings = Operator(name=name, ratio=ratio, sigma=sigma, file=file)
    return operators.build(shape, settings, seed, dtype)


def images(shape: tuple[int, int, int], count: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, *shape, generator=generator, dtype=torch.float64)


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
