"""Conjugate gradients against NumPy's direct solution, alone and side by side."""

import numpy as np
import pytest
import torch
from torch import Tensor

from recondoor.core import caller
from recondoor.core.equations import conjugate_gradients
from recondoor.core.errors import ConfigError
from recondoor.studies import Runtime
from toy_problem import problem


def spd(seed: int, n: int) -> Tensor:
    root = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, n)))
    return root @ root.T + 0.5 * torch.eye(n, dtype=torch.float64)


def test_one_equation_is_solved() -> None:
    matrix, b = spd(1, 6), torch.arange(1.0, 7, dtype=torch.float64)
    found = conjugate_gradients(lambda v: matrix @ v, b, steps=30, tolerance=1e-14, dot=torch.dot)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, b), rtol=1e-9)


def test_equations_side_by_side_do_not_mix() -> None:
    """Of different difficulty: one of them is solved at the first step."""
    matrices = torch.stack([torch.eye(5, dtype=torch.float64), spd(2, 5)])
    b = torch.from_numpy(np.random.default_rng(3).normal(size=(2, 5)))

    def product(v: Tensor) -> Tensor:
        return torch.einsum("kij,kj->ki", matrices, v)

    def dot(a: Tensor, c: Tensor) -> Tensor:
        return (a * c).sum(1, keepdim=True)

    found = conjugate_gradients(product, b, steps=30, tolerance=1e-14, dot=dot)
    np.testing.assert_allclose(found[0], b[0], rtol=1e-12)
    np.testing.assert_allclose(found[1], np.linalg.solve(matrices[1], b[1]), rtol=1e-9)


def test_a_product_that_is_negative_ends_it() -> None:
    b = torch.ones(3, dtype=torch.float64)
    found = conjugate_gradients(lambda v: -v, b, steps=9, tolerance=1e-14, dot=torch.dot)
    assert torch.equal(found, torch.zeros(3, dtype=torch.float64))


def test_an_unknown_part_of_the_pairs_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="unknown part 'iner'; known: inner, outer"):
        problem().draw("iner", 0)


def test_convolutions_are_exact_inside_and_as_they_were_outside() -> None:
    flags = torch.backends.cudnn
    before = flags.allow_tf32
    try:
        flags.allow_tf32 = True
        assert Runtime(device="cpu").torch_device.type == "cpu"
        assert flags.allow_tf32
        with caller.afresh():
            assert not flags.allow_tf32
        assert flags.allow_tf32
    finally:
        flags.allow_tf32 = before
