"""Linear equations of which only the product is known, by conjugate gradients."""

from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
Dot = Callable[[Tensor, Tensor], Tensor]


def conjugate_gradients(
    product: Product, b: Tensor, *, steps: int, tolerance: float, dot: Dot
) -> Tensor:
    """Solve product(x) = b from x = 0, for a symmetric product that is not negative.

    Several equations may be solved side by side: `dot` gives one number for each, in a shape that
    multiplies b. It ends after `steps` products, or as soon as no equation can go on: its residual
    is down to the share `tolerance` of the first, or the product is not positive along the next
    direction (Hestenes and Stiefel, 1952).
    """
    x, residual, direction = torch.zeros_like(b), b, b
    size = dot(b, b)
    goal, tiny = size * tolerance**2, torch.finfo(b.dtype).tiny
    for _ in range(steps):
        if bool((size <= goal).all()):
            break
        image = product(direction)
        curvature = dot(direction, image)
        if bool(((curvature <= 0) | (size <= goal)).all()):
            break
        length = torch.where(curvature > 0, size / curvature.clamp_min(tiny), 0.0)
        x, residual = x + length * direction, residual - length * image
        size, before = dot(residual, residual), size
        direction = residual + size / before.clamp_min(tiny) * direction
    return x
