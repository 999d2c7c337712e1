"""The inner problem: its losses, its optimiser, and as much of each step as is to be kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor

from recondoor.core.errors import ConfigError, RecondoorError, nearest
from recondoor.training.hypergradient._convolution import Convolutions, depends
from recondoor.training.hypergradient._optimisers import OPTIMISERS, Slots, pack, unpack
from recondoor.training.hypergradient._types import (
    Hypergradient,
    InnerLoss,
    OuterLoss,
    Parameters,
    Split,
    State,
)


class Keep(Enum):
    """What the graph of a gradient by theta is kept for."""

    NOTHING = 0
    DELTA = 1  # its derivative by delta
    ALL = 2  # its derivatives by delta and by theta


@dataclass
class Slope:
    """The gradient by theta of one inner loss; `graph` is the part of it that has a graph."""

    loss: Tensor
    value: list[Tensor]
    graph: list[Tensor]
    keep: Keep


@dataclass
class Step:
    """One inner step: its number, where it starts, and the slots and the time after it."""

    index: int
    theta: Parameters
    slots: list[Slots] = field(default_factory=list)
    time: int = 0
    slope: Slope | None = None


class Inner:
    """An inner problem at fixed delta. Raises ConfigError for an unknown optimiser."""

    def __init__(
        self,
        loss: InnerLoss,
        delta: Tensor,
        parameters: Parameters,
        lr: float,
        optimiser: str = "sgd",
        state: State | None = None,
    ) -> None:
        if optimiser not in OPTIMISERS:
            raise ConfigError(
                f"unknown inner optimiser '{optimiser}'; known: {', '.join(OPTIMISERS)}"
                f"{nearest(optimiser, OPTIMISERS)}"
            )
        self.loss, self.lr, self.rule = loss, lr, OPTIMISERS[optimiser]
        self.delta = delta.detach().requires_grad_()
        self.theta = _leaves(parameters)
        self.slots, self.time = unpack(self.rule, state, parameters)
        self.last_loss = torch.zeros(())
        self.convolutions = Convolutions(self.delta)

    def slope(self, index: int, theta: Parameters, keep: Keep) -> Slope:
        """Differentiate the loss of step `index` by theta.

        Its parts are differentiated apart, so that rounding does not depend on what is kept. Raises
        RecondoorError if the free part depends on delta.
        """
        delta = self.delta.detach() if keep is Keep.NOTHING else self.delta
        with self.convolutions:
            loss = self.loss(index, delta, theta)
        parts = loss if isinstance(loss, Split) else Split(torch.zeros_like(loss), loss)
        if keep is not Keep.NOTHING and depends(parts.free, self.delta):
            raise RecondoorError("Split.free depends on delta; rows that do belong to Split.bound")
        wanted = list(theta.values())
        bound = _gradient(parts.bound, wanted, keep is not Keep.NOTHING)
        if not isinstance(loss, Split):
            return Slope(loss.detach(), _detached(bound), bound, keep)
        free = _gradient(parts.free, wanted, keep is Keep.ALL)
        both = [a + b for a, b in zip(free, bound, strict=True)]
        graph = both if keep is Keep.ALL else bound
        return Slope((parts.free + parts.bound).detach(), _detached(both), graph, keep)

    def step(self, index: int, keep: Keep) -> Step:
        """Take one step and move on."""
        slope = self.slope(index, self.theta, keep)
        self.time += 1
        start, moved = self.theta, []
        for i, (leaf, value) in enumerate(zip(start.values(), slope.value, strict=True)):
            # In the leaf's own memory layout. Convolution kernels choose their algorithm by it: one
            # that changed with the step would make a resumed run, which starts from the network's
            # layout, round differently.
            stepped = torch.empty_like(leaf, requires_grad=False).copy_(leaf.detach())
            self.slots[i] = self.rule.step(stepped, value, self.slots[i], self.lr, self.time)
            moved.append(stepped)
        self.theta = _leaves(dict(zip(start, moved, strict=True)))
        self.last_loss = slope.loss
        return Step(index, start, list(self.slots), self.time, slope)

    def derivatives(
        self, slope: Slope, theta: Parameters, weights: Sequence[Tensor], *, again: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the derivatives of <slope, weights> by delta and, if kept for that, by theta.

        `again` keeps the graph for a further call.
        """
        by_theta = list(theta.values()) if slope.keep is Keep.ALL else []
        wanted = [self.delta, *by_theta]
        # A constant slope (a parameter unused or entering linearly) has no derivative to follow.
        curved = [pair for pair in zip(slope.graph, weights, strict=True) if pair[0].requires_grad]
        if not curved:
            return torch.zeros_like(self.delta), [torch.zeros_like(leaf) for leaf in by_theta]
        with self.convolutions.skipping_kernels(slope.keep is not Keep.ALL):
            back, *curvature = torch.autograd.grad(
                [output for output, _ in curved],
                wanted,
                [weight for _, weight in curved],
                retain_graph=again,
                materialize_grads=True,
            )
        return back, curvature

    def outer(self, loss: OuterLoss) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return the outer loss where the steps have led, and its partials by delta and theta."""
        value = loss(self.delta, self.theta)
        leaves = [self.delta, *self.theta.values()]
        direct, *adjoint = torch.autograd.grad(value, leaves, materialize_grads=True)
        return value.detach(), direct, adjoint

    def result(self, outer_loss: Tensor, direct: Tensor, bilevel: Tensor) -> Hypergradient:
        """Put everything together, without graphs."""
        theta = {name: value.detach() for name, value in self.theta.items()}
        state = pack(self.rule, self.slots, self.time, theta)
        return Hypergradient(
            direct.detach(), bilevel.detach(), theta, self.last_loss, outer_loss, state
        )


def _gradient(loss: Tensor, leaves: list[Tensor], graph: bool) -> list[Tensor]:
    if not loss.requires_grad and not loss.any():  # a side of the batch without rows
        return [torch.zeros_like(leaf, requires_grad=False) for leaf in leaves]
    return list(torch.autograd.grad(loss, leaves, create_graph=graph, materialize_grads=True))


def _detached(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.detach() for tensor in tensors]


def _leaves(parameters: Parameters) -> Parameters:
    return {name: value.detach().requires_grad_() for name, value in parameters.items()}
