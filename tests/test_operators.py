"""Contract of every registered measurement operator."""

import pytest
import torch

from operator_files import file_of
from operator_kit import NAMES, SHAPES, every, generator, images, make, several
from recondoor.config import Operator
from recondoor.operators import LinearOperator, _base, of_caller
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


class Physics:
    """As deepinv's: names, and nothing of ours."""

    def __init__(self, operator: LinearOperator) -> None:
        self.A, self.A_adjoint = operator.A, operator.A_adjoint


@every
def test_an_object_with_a_and_its_adjoint_has_the_input_maps(name: str) -> None:
    shape = several(name)
    ours = make(name, shape)
    theirs = of_caller(Physics(ours), shape)
    y = ours.A(images(shape))
    assert theirs.input_maps == ("adjoint", "pinv") and not theirs.varies
    assert torch.equal(theirs.network_input(y, "adjoint"), ours.A_adjoint(y))
    if name not in ("blur", "ct-parallel", "mri-multicoil"):  # whose range has no sharp edge
        found, expected = theirs.network_input(y, "pinv"), ours.network_input(y, "pinv")
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
