"""Networks: any image size, repeatable weights, and a convolution that equals PyTorch's."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd.gradcheck import gradcheck, gradgradcheck

from recondoor import models
from recondoor.config import Model
from recondoor.core import registry
from recondoor.core.errors import ConfigError
from recondoor.core.seeding import torch_generator
from recondoor.models._kernels import NarrowConv2d
from recondoor.testing import NetworkContract

every = pytest.mark.parametrize("name", registry.names("models"))


def small(name: str = "cae", kernel: int = 3) -> Model:
    return NetworkContract().settings(name, kernel=kernel)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch_generator(seed, "test"), dtype=torch.float64)


class TestContract(NetworkContract):
    names = registry.names("models")


def test_paper_network_has_233057_parameters() -> None:
    model = models.build((1, 28, 28), Model(), 0, "victim")
    assert models.parameter_count(model) == 233_057


def test_parameter_count_by_hand() -> None:
    # Weights and biases of 3 convolutions down, 3 transposed ones up, 1 out; kernel 3.
    down = (9 * 3 * 4 + 4) + (9 * 4 * 4 + 4) + (9 * 4 * 5 + 5)
    up, out = 3 * (9 * 5 * 5 + 5), 9 * 5 * 3 + 3
    model = models.build((3, 10, 10), Model(width=4, code=5, kernel=3), 0)
    assert models.parameter_count(model) == down + up + out
    model.requires_grad_(False)
    assert models.parameter_count(model) == 0


@every
@settings(max_examples=40)
@given(
    height=st.integers(5, 40),
    width=st.integers(5, 40),
    channels=st.sampled_from([1, 3]),
    kernel=st.sampled_from([3, 5, 7]),
)
def test_any_image_size(name: str, height: int, width: int, channels: int, kernel: int) -> None:
    shape = (channels, height, width)
    model = NetworkContract().build(shape, small(name, kernel))
    z = torch.rand(2, *shape, generator=torch_generator(0, "z"))
    answer = model(z)
    assert answer.shape == z.shape
    assert bool(answer.isfinite().all())


def test_unknown_network() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cae'"):
        models.build((1, 8, 8), Model().model_copy(update={"name": "cea"}), 0)


narrow = pytest.mark.parametrize(
    ("channels", "outputs", "side", "shape", "bias"),
    [(4, 1, 5, (6, 7), True), (3, 3, 3, (5, 5), False), (2, 1, 7, (4, 5), True)],
)


def layer(channels: int, outputs: int, side: int, bias: bool) -> NarrowConv2d:
    made = NarrowConv2d(channels, outputs, side, padding=side // 2, bias=bias).double()
    with torch.no_grad():
        for seed, parameter in enumerate(made.parameters()):
            parameter.copy_(random(*parameter.shape, seed=seed))
    return made


@narrow
def test_narrow_convolution_is_a_convolution(
    channels: int, outputs: int, side: int, shape: tuple[int, int], bias: bool
) -> None:
    made = layer(channels, outputs, side, bias)
    h = random(2, channels, *shape)
    expected = F.conv2d(h, made.weight, made.bias, padding=side // 2)
    torch.testing.assert_close(made(h), expected, rtol=1e-12, atol=1e-12)


def derivatives(output: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """First derivatives of a curved scalar of `output`, and a second one along a direction."""
    first = torch.autograd.grad(output.sin().sum(), inputs, create_graph=True)
    along = sum((g * random(*g.shape, seed=7)).sum() for g in first)
    assert isinstance(along, Tensor)
    return [*first, *torch.autograd.grad(along, inputs)]


@narrow
def test_narrow_convolution_has_the_derivatives_of_a_convolution(
    channels: int, outputs: int, side: int, shape: tuple[int, int], bias: bool
) -> None:
    made = layer(channels, outputs, side, bias)
    h = random(2, channels, *shape).requires_grad_()
    inputs = [h, *made.parameters()]
    expected = derivatives(F.conv2d(h, made.weight, made.bias, padding=side // 2), inputs)
    for ours, theirs in zip(derivatives(made(h), inputs), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_narrow_convolution_against_finite_differences() -> None:
    made = layer(2, 1, 3, True)
    weight = made.weight.detach().clone().requires_grad_()

    def value(h: Tensor, w: Tensor) -> Tensor:
        made_of_w = torch.func.functional_call(made, {"weight": w}, (h,))
        assert isinstance(made_of_w, Tensor)
        return made_of_w.square()

    inputs = (random(1, 2, 4, 3).requires_grad_(), weight)
    assert gradcheck(value, inputs)
    assert gradgradcheck(value, inputs)
