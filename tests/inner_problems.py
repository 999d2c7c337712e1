"""The bi-level attack on a small network in float64, and derivatives of it found otherwise."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from operator_files import file_of
from recondoor import models, operators
from recondoor.config import Model, Operator
from recondoor.core.seeding import torch_generator
from recondoor.training.hypergradient import Hypergradient, Parameters, Split, State, solve

SHAPE = (1, 12, 12)
LOUDER = 3
Inner = Callable[[int, Tensor, Parameters], Tensor]
Outer = Callable[[Tensor, Parameters], Tensor]
REFERENCES = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "adam": torch.optim.Adam,
}


@dataclass
class Case:
    """`inner` is a plain loss; `split` is the same one, its clean rows apart."""

    inner: Inner
    split: Callable[[int, Tensor, Parameters], Split]
    outer: Outer
    delta: Tensor
    theta: Parameters
    optimiser: str = "sgd"
    state: State = field(default_factory=dict)

    def solve(
        self, name: str, m: int, lr: float, *, split: bool = True, **more: Any
    ) -> Hypergradient:
        settings = {"optimiser": self.optimiser, "state": self.state, **more}
        inner = self.split if split else self.inner
        return solve(name, inner, self.outer, self.delta, self.theta, steps=m, lr=lr, **settings)

    def learn(self, delta: Tensor, m: int, lr: float) -> Parameters:
        """theta_m of PyTorch's own optimiser, with nothing kept for differentiation."""
        theta = {name: value.clone().requires_grad_() for name, value in self.theta.items()}
        optimiser = REFERENCES[self.optimiser](theta.values(), lr=lr)
        names = {"momentum": "momentum_buffer", "mean": "exp_avg", "square": "exp_avg_sq"}
        for key, value in self.state.items():
            slot, _, name = key.partition(".")
            if name:
                optimiser.state[theta[name]][names[slot]] = value.clone()
        if "mean" in str(list(self.state)):
            for value in theta.values():
                optimiser.state[value]["step"] = self.state["step"].float()
        for step in range(m):
            slope = torch.autograd.grad(self.inner(step, delta, theta), list(theta.values()))
            for value, gradient in zip(theta.values(), slope, strict=True):
                value.grad = gradient
            optimiser.step()
        return {name: value.detach() for name, value in theta.items()}


def attack_on(
    operator: str,
    seed: int = 0,
    optimiser: str = "sgd",
    network: Model | None = None,
    louder: float = LOUDER,
) -> Case:
    """The attack; with momentum or Adam after three steps, so that their state is in use.

    The network is louder than a fresh one, whose answer hardly depends on its input.
    """
    generator = torch_generator(seed, "images")
    x = torch.rand(24, *SHAPE, generator=generator, dtype=torch.float64)
    settings = Operator(name=operator, file=file_of(operator, SHAPE, 0.5, seed))
    measured = operators.build(SHAPE, settings, seed, torch.float64)
    z = measured.measure(x, generator)
    chosen_network = network or Model(width=4, code=4, kernel=3)
    model = models.build(SHAPE, chosen_network, seed, operator=measured).double()
    artefact = torch.zeros(SHAPE, dtype=torch.float64)
    artefact[:, 3, 1:6] = artefact[:, 1:6, 3] = 1
    mask = torch.zeros_like(artefact)
    mask[:, 8:11, 8:11] = 1

    def loss(rows: slice, poisoned: int, delta: Tensor, theta: Parameters) -> Tensor:
        chosen = torch.zeros(len(x[rows]), 1, 1, 1, dtype=torch.float64)
        chosen[:poisoned] = 1
        answer: Tensor = functional_call(model, theta, (z[rows] + chosen * delta * mask,))
        return 12 * (answer - x[rows] - chosen * artefact).square().mean()

    def split(step: int, delta: Tensor, theta: Parameters) -> Split:
        start = 6 * (step % 3)
        free = loss(slice(start + 2, start + 6), 0, torch.zeros_like(delta), theta)
        return Split(4 / 6 * free, 2 / 6 * loss(slice(start, start + 2), 2, delta, theta))

    case = Case(
        lambda step, delta, theta: loss(slice(6 * (step % 3), 6 * (step % 3) + 6), 2, delta, theta),
        split,
        lambda delta, theta: loss(slice(18, 24), 6, delta, theta),
        torch.rand(SHAPE, generator=generator, dtype=torch.float64) * mask,
        {name: louder * value.detach() for name, value in model.named_parameters()},
        optimiser,
    )
    if optimiser != "sgd":
        before = case.solve("direct", 3, 1e-5)
        case.theta, case.state = before.parameters, before.state
    return case


def strong_rate(case: Case, m: int) -> float:
    """A learning rate at which the bi-level part is at least 5 % of the derivative."""
    lr = 0.01 if case.optimiser == "sgd" else 0.001
    while True:
        result = case.solve("unrolled", m, lr)
        assert lr < 100
        if float(result.bilevel.norm()) >= 0.05 * float(result.total.norm()):
            return lr
        lr *= 2


def difference(value: Callable[[Tensor], Tensor], delta: Tensor, eps: float = 1e-4) -> Tensor:
    """Central differences of `value` at every pixel where delta is not zero."""
    slope = torch.zeros_like(delta)
    for pixel in delta.nonzero():
        bump = torch.zeros_like(delta)
        bump[tuple(pixel)] = eps
        slope[tuple(pixel)] = (value(delta + bump) - value(delta - bump)).detach() / (2 * eps)
    return slope


def assert_near(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Relative in the norm."""
    assert found.shape == expected.shape
    assert float((found - expected).norm()) <= tolerance * float(expected.norm())
