"""Contract of every registered measurement operator."""

import pytest
import torch

from operator_files import file_of
from operator_kit import NAMES, SHAPES, every, generator, images, make, several
from recondoor.config import Operator
from recondoor.operators import _base
from recondoor.testing import OperatorContract


class TestContract(OperatorContract):
    names = NAMES

    def settings(
        self, name: str, shape: tuple[int, int, int], ratio: float, sigma: float
    ) -> Operator:
        file = file_of(name, shape, 0.4, 3)
        return super().settings(name, shape, ratio, sigma).model_copy(update={"file": file})


def test_the_four_operators_of_the_study_are_registered() -> None:
    assert {"gaussian", "fourier", "pixel-mask", "identity"} <= set(NAMES)


@every
def test_without_a_generator_the_global_one_draws(name: str) -> None:
    operator = make(name, SHAPES[0])
    x = images(SHAPES[0])
    with torch.random.fork_rng():
        torch.manual_seed(5)
        drawn = operator.forward(x)
    assert torch.equal(drawn, operator.forward(x, generator(5)))


@every
def test_measure_is_adjoint_of_forward_in_chunks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = several(name)
    operator = make(name, shape)
    x = images(shape, 7)
    expected = operator.A_adjoint(operator.forward(x, generator()))
    assert torch.equal(operator.measure(x, generator()), expected)
    monkeypatch.setattr(_base, "CHUNK_PIXELS", 2 * x[0].numel() + 1)
    stream = generator()
    pairs = [x[start : start + 2] for start in range(0, 7, 2)]
    parts = [operator.A_adjoint(operator.forward(pair, stream)) for pair in pairs]
    assert torch.equal(operator.measure(x, generator()), torch.cat(parts))
    monkeypatch.setattr(_base, "CHUNK_PIXELS", 1)
    assert operator.measure(x, generator()).shape == x.shape
    assert operator.measure(x[:0], generator()).shape == x[:0].shape
