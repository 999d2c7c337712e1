"""Rules of the inner optimisers, each with the exact derivative of its step.

A rule works on one tensor at a time: theta, its gradient and the optimiser's slots for it, all of
one shape. `back` is the transposed derivative of `step`, written by hand: every rule is a few
elementwise operations, and of Adam's the automatic derivative is 0 * inf where a gradient has
always been zero.
"""

from typing import Protocol

import torch
from torch import Tensor

from recondoor.training.hypergradient._types import Parameters, State

Slots = tuple[Tensor, ...]
STEP = "step"


class Rule(Protocol):
    """What an inner optimiser defines."""

    slots: tuple[str, ...]

    def step(self, theta: Tensor, slope: Tensor, slots: Slots, lr: float, t: int) -> Slots:
        """Change `theta` in place and return the new slots; `t` counts steps from 1."""

    def back(
        self, adjoint: Tensor, adjoints: Slots, slope: Tensor, slots: Slots, lr: float, t: int
    ) -> tuple[Tensor, Slots]:
        """Return the adjoints of `slope` and of the old slots.

        `adjoint` and `adjoints` belong to the new theta and the new `slots`. The old theta's own
        share is `adjoint` itself: every rule adds something to theta.
        """


class SGD:
    """theta' = theta - lr g."""

    slots: tuple[str, ...] = ()

    def step(self, theta: Tensor, slope: Tensor, slots: Slots, lr: float, t: int) -> Slots:
        theta.sub_(slope, alpha=lr)
        return ()

    def back(
        self, adjoint: Tensor, adjoints: Slots, slope: Tensor, slots: Slots, lr: float, t: int
    ) -> tuple[Tensor, Slots]:
        return -lr * adjoint, ()


class Momentum:
    """v' = 0.9 v + g, theta' = theta - lr v'; as `torch.optim.SGD` with momentum."""

    slots: tuple[str, ...] = ("momentum",)
    DECAY = 0.9

    def step(self, theta: Tensor, slope: Tensor, slots: Slots, lr: float, t: int) -> Slots:
        velocity = self.DECAY * slots[0] + slope
        theta.sub_(velocity, alpha=lr)
        return (velocity,)

    def back(
        self, adjoint: Tensor, adjoints: Slots, slope: Tensor, slots: Slots, lr: float, t: int
    ) -> tuple[Tensor, Slots]:
        velocity = adjoints[0] - lr * adjoint
        return velocity, (self.DECAY * velocity,)


class Adam:
    """Adam with PyTorch's defaults (Kingma and Ba 2015)."""

    slots: tuple[str, ...] = ("mean", "square")
    BETAS = (0.9, 0.999)
    EPS = 1e-8

    def step(self, theta: Tensor, slope: Tensor, slots: Slots, lr: float, t: int) -> Slots:
        mean = torch.lerp(slope, slots[0], self.BETAS[0])
        square = torch.lerp(slope.square(), slots[1], self.BETAS[1])
        first, root = self._corrected(mean, square, t)
        theta.sub_(first / (root + self.EPS), alpha=lr)
        return mean, square

    def back(
        self, adjoint: Tensor, adjoints: Slots, slope: Tensor, slots: Slots, lr: float, t: int
    ) -> tuple[Tensor, Slots]:
        mean, square = slots
        first, root = self._corrected(mean, square, t)
        below = root + self.EPS
        unbias = [1 - beta**t for beta in self.BETAS]
        to_mean = adjoints[0] - lr / unbias[0] * adjoint / below
        # root = 0 says that every gradient so far was zero, and with it d square / d gradient: the
        # share that comes through the square is zero there, though d root / d square is infinite.
        steep = torch.where(root > 0, first / root, 0)
        to_square = adjoints[1] + lr / (2 * unbias[1]) * adjoint * steep / below.square()
        old = (self.BETAS[0] * to_mean, self.BETAS[1] * to_square)
        to_slope = (1 - self.BETAS[0]) * to_mean + 2 * (1 - self.BETAS[1]) * slope * to_square
        return to_slope, old

    def _corrected(self, mean: Tensor, square: Tensor, t: int) -> tuple[Tensor, Tensor]:
        first, second = (1 - beta**t for beta in self.BETAS)
        return mean / first, (square / second).sqrt()


OPTIMISERS: dict[str, Rule] = {"sgd": SGD(), "momentum": Momentum(), "adam": Adam()}


def unpack(rule: Rule, state: State | None, parameters: Parameters) -> tuple[list[Slots], int]:
    """Return the slots of each parameter, zero where `state` has none, and the steps taken."""
    state = state or {}
    slots = [
        tuple(
            state[f"{slot}.{name}"] if f"{slot}.{name}" in state else torch.zeros_like(value)
            for slot in rule.slots
        )
        for name, value in parameters.items()
    ]
    return slots, int(state.get(STEP, torch.zeros(())))


def pack(rule: Rule, slots: list[Slots], taken: int, parameters: Parameters) -> State:
    """Return what `unpack` takes: `<slot>.<parameter>` and the step count; empty without slots."""
    if not rule.slots:
        return {}
    state = {
        f"{slot}.{name}": value
        for name, values in zip(parameters, slots, strict=True)
        for slot, value in zip(rule.slots, values, strict=True)
    }
    return {**state, STEP: torch.tensor(taken)}
