"""Convolutions inside an inner loss: PyTorch's values, twice differentiable, however called."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recondoor.core.seeding import torch_generator
from recondoor.training.hypergradient import Parameters, unrolled
from recondoor.training.hypergradient._convolution import Convolutions, depends

Layer = Callable[[Tensor, Tensor, Tensor], Tensor]
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], int, Layer]] = {
    "1d": ((2, 3, 6), (4, 3, 3), 4, lambda h, w, b: F.conv1d(h, w, b, 2, 1)),
    "2d": ((2, 3, 5, 4), (4, 3, 3, 3), 4, lambda h, w, b: F.conv2d(h, w, b, padding=(1, 2))),
    "grouped": ((2, 4, 5, 5), (6, 2, 3, 3), 6, lambda h, w, b: F.conv2d(h, w, b, 1, 2, 2, 2)),
    "named": ((2, 3, 4, 4), (2, 3, 3, 3), 2, lambda h, w, b: F.conv2d(h, w, b, padding="same")),
    "single": ((3, 4, 4), (2, 3, 3, 3), 2, lambda h, w, b: F.conv2d(h, w, b)),
    "3d": ((1, 2, 3, 3, 3), (2, 2, 2, 2, 2), 2, lambda h, w, b: F.conv3d(h, w, b)),
    "up 1d": ((2, 3, 4), (3, 2, 3), 2, lambda h, w, b: F.conv_transpose1d(h, w, b, 2, 1, 1)),
    "up 2d": (
        (2, 4, 3, 3),
        (4, 1, 3, 3),
        2,
        lambda h, w, b: F.conv_transpose2d(h, w, b, (2, 1), groups=2, dilation=2),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_values_and_two_derivatives(case: str) -> None:
    """Derivatives by PyTorch's numerical check, the value and gradients by its own operators."""
    *shapes, width, layer = CASES[case]
    generator = torch_generator(0, "tensors")
    inputs = [
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in (*shapes, (width,))
    ]

    def ours(*tensors: Tensor) -> Tensor:
        with Convolutions(torch.zeros(())):
            return layer(*tensors)

    expected = layer(*inputs)
    torch.testing.assert_close(ours(*inputs), expected, rtol=1e-12, atol=1e-12)
    weight = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    for found, plain in zip(
        torch.autograd.grad(ours(*inputs), inputs, weight),
        torch.autograd.grad(expected, inputs, weight),
        strict=True,
    ):
        torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradgradcheck(ours, inputs)


def test_kernel_made_from_delta() -> None:
    """What depends on delta is followed also where the kernels' own derivatives are left out."""
    generator = torch_generator(0, "tensors")
    h, x = (torch.randn(2, 1, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    delta = torch.randn(1, 1, 3, 3, generator=generator, dtype=torch.float64)
    theta = {"a": torch.randn(1, 1, 3, 3, generator=generator, dtype=torch.float64)}

    def inner(step: int, delta: Tensor, p: Parameters) -> Tensor:
        return (F.conv2d(h, p["a"] * delta, padding=1) - x).square().sum()

    def outer(delta: Tensor, p: Parameters) -> Tensor:
        return F.conv2d(h, p["a"], padding=1).square().sum()

    found = unrolled(inner, outer, delta, theta, steps=1, lr=0.1).bilevel
    moving, start = delta.clone().requires_grad_(), theta["a"].clone().requires_grad_()
    (slope,) = torch.autograd.grad(inner(0, moving, {"a": start}), start, create_graph=True)
    loss = outer(moving, {"a": start - 0.1 * slope})
    (expected,) = torch.autograd.grad(loss, moving)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_what_leads_to_a_leaf() -> None:
    leaf, other = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    assert depends(leaf, leaf)
    assert depends((leaf * other).exp().sum(), leaf)
    assert not depends((2 * other).sum(), leaf)
    assert not depends(torch.ones(2), leaf)
