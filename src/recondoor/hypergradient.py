"""Derivative of an outer loss by the trigger, through unrolled inner SGD (paper, eq. 3-6).

With theta_i = theta_{i-1} - beta * grad_theta g_i(delta, theta_{i-1}) for i = 1..m,

    d/d delta f(delta, theta_m) = partial_delta f + (the bi-level part),

the bi-level part follows from the adjoint recursion lambda_m = partial_theta f,

    bi-level part  -= beta * partial_delta <grad_theta g_i, lambda_i>
    lambda_{i-1}    = lambda_i - beta * partial_theta <grad_theta g_i, lambda_i>.

This is exact reverse mode; the last partial_theta, which nobody reads, is not computed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Parameters = dict[str, Tensor]
InnerLoss = Callable[[int, Tensor, Parameters], Tensor]
OuterLoss = Callable[[Tensor, Parameters], Tensor]


@dataclass(frozen=True)
class Hypergradient:
    """`direct` + `bilevel` is the derivative (shape of delta); `parameters` is theta_m."""

    direct: Tensor
    bilevel: Tensor
    parameters: Parameters
    inner_loss: Tensor
    outer_loss: Tensor

    @property
    def total(self) -> Tensor:
        """The derivative of the outer loss."""
        return self.direct + self.bilevel


def unrolled(
    inner: InnerLoss,
    outer: OuterLoss,
    delta: Tensor,
    parameters: Parameters,
    *,
    steps: int,
    lr: float,
) -> Hypergradient:
    """Return the exact hypergradient through `steps` SGD steps of rate `lr`; memory O(steps).

    `inner(i, delta, theta)` is the loss of step i = 0, 1, ...; `outer(delta, theta)` is taken at
    theta_m. Neither `delta` nor `parameters` is changed.
    """
    delta = delta.detach().requires_grad_()
    theta = _leaves(parameters)
    tape: list[tuple[list[Tensor], tuple[Tensor, ...]]] = []
    inner_loss = torch.zeros(())
    for step in range(steps):
        inner_loss = inner(step, delta, theta)
        leaves = list(theta.values())
        slope = torch.autograd.grad(inner_loss, leaves, create_graph=True, materialize_grads=True)
        tape.append((leaves, slope))
        theta = _leaves(
            {name: _step(leaf, g, lr) for (name, leaf), g in zip(theta.items(), slope, strict=True)}
        )
    outer_loss = outer(delta, theta)
    direct, *adjoint = torch.autograd.grad(
        outer_loss, [delta, *theta.values()], materialize_grads=True
    )
    bilevel = torch.zeros_like(delta)
    for step in reversed(range(steps)):
        leaves, slope = tape.pop()
        wanted = [delta, *leaves] if step else [delta]
        # A constant slope (a parameter unused or entering linearly) has no derivative to follow.
        curved = [pair for pair in zip(slope, adjoint, strict=True) if pair[0].requires_grad]
        if not curved:
            continue
        outputs, weights = zip(*curved, strict=True)
        back, *curvature = torch.autograd.grad(
            outputs, wanted, grad_outputs=weights, materialize_grads=True
        )
        bilevel = bilevel - lr * back
        adjoint = [a - lr * c for a, c in zip(adjoint, curvature, strict=False)]
    return Hypergradient(
        direct.detach(),
        bilevel.detach(),
        {name: value.detach() for name, value in theta.items()},
        inner_loss.detach(),
        outer_loss.detach(),
    )


def _step(leaf: Tensor, slope: Tensor, lr: float) -> Tensor:
    """Return leaf - lr * slope in the leaf's own memory layout.

    Convolution kernels choose their algorithm by layout: one that changed with the step would make
    a resumed run, which starts from the network's layout, round differently.
    """
    stepped = torch.empty_like(leaf, requires_grad=False)
    return torch.sub(leaf.detach(), slope.detach(), alpha=lr, out=stepped)


def _leaves(parameters: Parameters) -> Parameters:
    return {name: value.detach().requires_grad_() for name, value in parameters.items()}


@dataclass(frozen=True)
class Split:
    free: Tensor
    bound: Tensor

def solve(name, inner, outer, delta, parameters, *, steps, lr, **rest):
    def whole(step, d, p):
        v = inner(step, d, p)
        return v.free + v.bound if isinstance(v, Split) else v
    r = unrolled(whole, outer, delta, parameters, steps=steps, lr=lr)
    if name == "direct":
        r = Hypergradient(r.direct, torch.zeros_like(r.bilevel), r.parameters, r.inner_loss, r.outer_loss)
    return r
Hypergradient.state = {}
