"""One bi-level problem and everybody who differentiates it; run alone, the memory of one of them.

`_hypergradient_probe.py NAME STEPS BATCH RATIO THREADS` prints the bytes by which a fresh process
grows at most during one derivative, after a training step has loaded all that is loaded lazily.
"""

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from recondoor import models
from recondoor.config import Model
from recondoor.training.hypergradient import Parameters, Split, solve
from training import plain_model

SHAPE = (1, 28, 28)
LR = 0.01
LIBRARIES = ("torchopt", "higher")
MISSING = [name for name in LIBRARIES if find_spec(name) is None]
Derive = Callable[["Problem", int], Tensor]


@dataclass(frozen=True)
class Problem:
    """Batches of noise, some rows with a trigger: what is in the images costs no time."""

    model: nn.Module
    x: Tensor
    z: Tensor
    delta: Tensor
    poisoned: int

    @classmethod
    def make(cls, steps: int, batch: int, ratio: float, *, contiguous: bool = False) -> "Problem":
        """`contiguous` is the network as one writes it down; else ours, channels_last."""
        generator = torch.Generator().manual_seed(0)
        ours = models.build(SHAPE, Model(), 0)
        x, z = (torch.rand(steps + 1, batch, *SHAPE, generator=generator) for _ in range(2))
        delta = torch.rand(SHAPE, generator=generator)
        model: nn.Module = ours
        if contiguous:
            model = plain_model()
            with torch.no_grad():
                for a, b in zip(model.parameters(), ours.parameters(), strict=True):
                    a.copy_(b)
        return cls(model, x, z, delta, round(ratio * batch))

    def inputs(self, step: int, delta: Tensor) -> Tensor:
        """Inputs of inner batch `step`, its first rows poisoned."""
        z = self.z[step]
        return torch.cat([z[: self.poisoned] + delta, z[self.poisoned :]])

    def part(self, step: int, z: Tensor, rows: slice, theta: Parameters) -> Tensor:
        """What some rows add to the mean squared error of a batch."""
        error: Tensor = functional_call(self.model, theta, (z,)) - self.x[step, rows]
        return error.square().sum() / self.x[step].numel()

    def split(self, step: int, delta: Tensor, theta: Parameters) -> Split:
        """The inner loss of the fast path."""
        clean, dirty = slice(self.poisoned, None), slice(0, self.poisoned)
        return Split(
            self.part(step, self.z[step, clean], clean, theta),
            self.part(step, self.z[step, dirty] + delta, dirty, theta),
        )

    def outer(self, delta: Tensor, theta: Parameters) -> Tensor:
        """Mean squared error of the last batch, all of it poisoned."""
        return self.part(-1, self.z[-1] + delta, slice(None), theta)


def error(answer: Tensor, x: Tensor) -> Tensor:
    return (answer - x).square().mean()


def ours(name: str) -> Derive:
    """One of our solvers, through the fast path."""

    def derive(problem: Problem, steps: int) -> Tensor:
        theta = {key: value.detach() for key, value in problem.model.named_parameters()}
        return solve(
            name, problem.split, problem.outer, problem.delta, theta, steps=steps, lr=LR
        ).total

    return derive


def create_graph(problem: Problem, steps: int) -> Tensor:
    """Automatic differentiation of the whole, as a tutorial writes it."""
    delta = problem.delta.clone().requires_grad_()
    theta = {key: value.detach() for key, value in problem.model.named_parameters()}
    theta = {key: value.requires_grad_() for key, value in theta.items()}
    for step in range(steps):
        loss = error(
            functional_call(problem.model, theta, (problem.inputs(step, delta),)), problem.x[step]
        )
        slope = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        theta = {key: v - LR * g for (key, v), g in zip(theta.items(), slope, strict=True)}
    return torch.autograd.grad(problem.outer(delta, theta), delta)[0]


def torchopt(problem: Problem, steps: int) -> Tensor:
    """TorchOpt's differentiable SGD."""
    from torchopt import MetaSGD

    delta, model = problem.delta.clone().requires_grad_(), copy.deepcopy(problem.model)
    optimiser: Any = MetaSGD(model, lr=LR)
    for step in range(steps):
        optimiser.step(error(model(problem.inputs(step, delta)), problem.x[step]))
    return torch.autograd.grad(error(model(problem.z[-1] + delta), problem.x[-1]), delta)[0]


def higher(problem: Problem, steps: int) -> Tensor:
    """The inner loop of `higher`."""
    from higher import innerloop_ctx

    delta = problem.delta.clone().requires_grad_()
    optimiser = torch.optim.SGD(problem.model.parameters(), lr=LR)
    with innerloop_ctx(problem.model, optimiser) as (model, inner):
        for step in range(steps):
            inner.step(error(model(problem.inputs(step, delta)), problem.x[step]))
        return torch.autograd.grad(error(model(problem.z[-1] + delta), problem.x[-1]), delta)[0]


def sgd_step(problem: Problem, steps: int = 1) -> Tensor:
    """A plain training step, the unit of time."""
    parameters = list(problem.model.parameters())
    loss = error(problem.model(problem.z[0]), problem.x[0])
    for value, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        value.detach().sub_(slope, alpha=0.0)  # the next derivative starts from the same network
    return loss.detach()


OURS: dict[str, Derive] = {"unrolled": ours("unrolled"), "checkpointed": ours("checkpointed")}
THEIRS: dict[str, Derive] = {
    "create_graph": create_graph,
    **{
        name: derive
        for name, derive in {"torchopt": torchopt, "higher": higher}.items()
        if name not in MISSING
    },
}


def resident(line: str) -> int:
    """A line of /proc/self/status in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.split(f"{line}:")[1].split()[0])


def main() -> None:
    name, steps, batch, ratio, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    problem = Problem.make(int(steps), int(batch), float(ratio))
    sgd_step(problem)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts from here
    before = resident("VmRSS")
    {**OURS, **THEIRS}[name](problem, int(steps))
    print(resident("VmHWM") - before)


if __name__ == "__main__":
    main()
