"""What unrolled networks do with the operator: the normal map A^T A, in units of its own size.

The input is z = A_adjoint(y), so that A_adjoint(A x - y) = A_adjoint(A(x)) - z: y is not needed.
"""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from recondoor.core import seeding
from recondoor.core.errors import ConfigError
from recondoor.operators import LinearOperator

POWERS = 30
"""Steps of the power iteration for the largest eigenvalue; a few per cent are near enough."""


class _Held:
    """An operator, which never changes: copies of a network share it."""

    def __init__(self, operator: LinearOperator) -> None:
        self.operator = operator

    def __deepcopy__(self, memo: object) -> "_Held":
        return _Held(self.operator)


class NormalMap(nn.Module):
    """x -> A^T A x / size, where `size` is the largest eigenvalue of A^T A.

    The operator goes along to another device or precision. It is no part of the state dict.
    """

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__()
        self._place = torch.empty(0, device="cpu")
        self._held = _Held(operator.to(self._place.device, self._place.dtype))
        self.size = _largest_eigenvalue(self._held.operator)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        operator = self._held.operator
        return operator.A_adjoint(operator.A(x)) / self.size

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._place = fn(self._place)
        self._held = _Held(self._held.operator.to(self._place.device, self._place.dtype))
        return self


def given(operator: LinearOperator | None) -> LinearOperator:
    """The operator that a network needs; raises ConfigError where there is none."""
    if operator is None:
        raise ConfigError("operator: none given, and this network works with it; give it too")
    return operator


@torch.no_grad()
def _largest_eigenvalue(operator: LinearOperator) -> float:
    """Of A^T A, from below, by power iteration from a fixed start; 1 where it is 0."""
    generator, size = seeding.torch_generator(0, "models", "eigenvalue"), 1.0
    with torch.device("cpu"):  # also while a network is built on the device `meta`
        x = torch.randn(1, *operator.shape, generator=generator)
        for _ in range(POWERS):
            x = operator.A_adjoint(operator.A(x / x.norm()))
            size = float(x.norm())
            if size == 0:
                return 1.0
    return size


def conjugate_gradients(product: Callable[[Tensor], Tensor], b: Tensor, steps: int) -> Tensor:
    """Up to `steps` steps towards product(x) = b (B, C, H, W), each image alone.

    `product` is symmetric and positive. The steps are differentiable any number of times: an image
    that is solved as far as its precision goes stays as it is, and no number is divided by 0.
    """
    x, residual, direction = torch.zeros_like(b), b, b
    size = _dot(b, b)
    goal = size.detach() * (16 * torch.finfo(b.dtype).eps) ** 2
    for _ in range(steps):
        going = size > goal
        image = product(direction)
        length = _ratio(size, _dot(direction, image), going)
        x, residual = x + length * direction, residual - length * image
        before, size = size, _dot(residual, residual)
        direction = residual + _ratio(size, before, going) * direction
    return x


def _ratio(above: Tensor, below: Tensor, where: Tensor) -> Tensor:
    return torch.where(where, above, 0) / torch.where(where, below, 1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each image with its own, (B, 1, 1, 1)."""
    return (a * b).sum((1, 2, 3), keepdim=True)
