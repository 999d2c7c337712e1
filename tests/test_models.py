"""Networks: any image size, repeatable weights, and a convolution that equals PyTorch's."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd.gradcheck import gradcheck, gradgradcheck

from recondoor import models, registry
from recondoor.config import Model
from recondoor.errors import ConfigError
from recondoor.models.cae import NarrowConv2d
from recondoor.seeding import torch_generator

every = pytest.mark.parametrize("name", registry.names("models"))


def small(name: str = "cae", kernel: int = 3) -> Model:
    return Model(name=name, width=2, code=2, kernel=kernel)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch_generator(seed, "test"), dtype=torch.float64)


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
    model = models.build(shape, small(name, kernel), 0)
    z = torch.rand(2, *shape, generator=torch_generator(0, "z"))
    answer = model(z)
    assert answer.shape == z.shape
    assert bool(answer.isfinite().all())


@every
def test_images_are_reconstructed_one_by_one(name: str) -> None:
    model = models.build((1, 9, 11), small(name), 0).double()
    z = random(5, 1, 9, 11)
    alone = torch.cat([model(one[None]) for one in z])
    torch.testing.assert_close(model(z), alone, rtol=1e-12, atol=1e-12)


@every
def test_a_network_is_built_without_memory(name: str) -> None:
    """So that what a file claims is compared with it before memory is taken."""
    settings = small(name)
    with torch.device("meta"):
        claimed = models.build((1, 9, 11), settings, 0).state_dict()
    built = models.build((1, 9, 11), settings, 0).state_dict()
    assert {k: v.shape for k, v in claimed.items()} == {k: v.shape for k, v in built.items()}
    assert all(value.is_meta for value in claimed.values())


@every
def test_weights_follow_from_the_stream_and_leave_the_global_generator(name: str) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = models.build((1, 8, 8), small(name), 3, "victim").state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    again = models.build((1, 8, 8), small(name), 3, "victim").state_dict()
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)
    for stream in [(4, "victim"), (3, "surrogate")]:
        other = models.build((1, 8, 8), small(name), *stream).state_dict()
        assert not any(torch.equal(first[key], other[key]) for key in first)


@every
def test_weights_are_channels_last(name: str) -> None:
    model = models.build((1, 8, 8), Model(name=name, width=4, code=4, kernel=3), 0)
    kernels = [p for p in model.parameters() if p.dim() == 4]
    assert kernels
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)


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


@every
def test_a_network_is_differentiable_twice(name: str) -> None:
    # Wide enough that not all of its units are off.
    model = models.build((1, 8, 8), Model(name=name, width=8, code=8, kernel=3), 0).double()
    z = random(2, 1, 8, 8).requires_grad_()
    parameters = list(model.parameters())
    slope = torch.autograd.grad(model(z).square().sum(), parameters, create_graph=True)
    along = torch.stack([g.square().sum() for g in slope]).sum()
    second = torch.autograd.grad(along, [z, *parameters])
    assert all(bool(g.isfinite().all()) for g in second)
    assert bool((second[0] != 0).any())
