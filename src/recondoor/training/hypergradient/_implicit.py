"""The bi-level part of an inner problem taken as solved, by the implicit function theorem.

Where grad_theta g = 0, theta follows delta by -H^-1 partial_delta grad_theta g, H the Hessian of g
by theta, so that with (H + damping I) v = partial_theta f

    bi-level part = -partial_delta <grad_theta g, v>.

H enters through its products with vectors only. g is the loss of the last inner step, at theta_m.
Exact for a solved, strictly convex inner problem without damping; an approximation elsewhere
(Lorraine, Vicol and Duvenaud 2020).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from recondoor.core.equations import Product, conjugate_gradients
from recondoor.training.hypergradient._inner import Inner, Keep
from recondoor.training.hypergradient._types import Hypergradient, OuterLoss

Solve = Callable[[Product, Tensor], Tensor]


def implicit(
    problem: Inner, outer: OuterLoss, steps: int, damping: float, solve: Solve
) -> Hypergradient:
    """Take `steps` steps, and the bi-level part from v = solve(product by H + damping I, b)."""
    for index in range(steps):
        problem.step(index, Keep.NOTHING)
    outer_loss, partial, adjoint = problem.outer(outer)
    slope = problem.slope(max(0, steps - 1), problem.theta, Keep.ALL)

    def product(v: Tensor) -> Tensor:
        _, by_theta = problem.derivatives(slope, problem.theta, _shaped(v, adjoint), again=True)
        return _flat(by_theta) + damping * v

    v = solve(product, _flat(adjoint))
    slope.keep = Keep.DELTA  # the products by theta are done
    by_delta, _ = problem.derivatives(slope, problem.theta, _shaped(v, adjoint))
    return problem.result(outer_loss, partial, -by_delta)


def conjugate_gradient(product: Product, b: Tensor, terms: int) -> Tensor:
    """Solve by at most `terms` products, ending early where the product is not positive."""
    tolerance = torch.finfo(b.dtype).eps
    return conjugate_gradients(product, b, steps=terms, tolerance=tolerance, dot=torch.dot)


def neumann(product: Product, b: Tensor, terms: int, lr: float) -> Tensor:
    """Return lr sum_j (I - lr M)^j b, j < `terms`.

    It converges for eigenvalues of M between 0 and 2 / lr.
    """
    term, total = b, torch.zeros_like(b)
    for j in range(terms):
        if j:
            term = term - lr * product(term)
        total = total + lr * term
    return total


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _shaped(vector: Tensor, like: list[Tensor]) -> list[Tensor]:
    parts = torch.split(vector, [tensor.numel() for tensor in like])
    return [part.view_as(tensor) for part, tensor in zip(parts, like, strict=True)]
