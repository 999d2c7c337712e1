"""The networks that a learned trigger is optimised against, of which the variants differ."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from recondoor.attacks._problem import Problem, Tools
from recondoor.training.hypergradient import Hypergradient, Parameters
from recondoor.training.loop import (
    Weights,
    make_adam,
    optimiser_tensors,
    restore_optimiser,
)


class Carried:
    """Variants paper and warm: one surrogate, carried on by the inner steps themselves.

    It begins at random (paper) or after `attack.warm_steps` Adam steps on pairs poisoned with the
    first trigger (warm).
    """

    def __init__(self, problem: Problem, tools: Tools) -> None:
        self._problem, self._tools = problem, tools
        self.model = problem.build_model("surrogate").to(problem.pairs.z.device)
        self._inner: Weights = {}

    def begin(self, delta: Tensor) -> None:
        """Warm up."""
        if self._problem.settings.bilevel.variant == "warm":
            optimiser = train(self._problem, self.model, delta, self._tools)
            self._inner = inner_state(self._problem, self.model, optimiser)

    def __iter__(self) -> Iterator[tuple[nn.Module, Weights]]:
        yield self.model, self._inner

    def advance(self, results: list[Hypergradient], delta: Tensor, k: int) -> None:
        """Go to where the inner steps ended."""
        put(self.model, results[0].parameters)
        self._inner = results[0].state

    def arrays(self) -> Weights:
        """Everything that a resumed attack needs."""
        inner = {f"inner.{name}": value for name, value in self._inner.items()}
        return {f"theta.{name}": value for name, value in parameters(self.model).items()} | inner

    def restore(self, arrays: Weights) -> None:
        """Put what `arrays` returned back."""
        put(self.model, part(arrays, "theta"))
        self._inner = {
            name: value.to(self._problem.pairs.z.device)
            for name, value in part(arrays, "inner").items()
        }


class Ensemble:
    """Variant ensemble: K surrogates of staggered ages, begun anew as they reach the oldest age.

    As MetaPoison's (Huang et al., NeurIPS 2020): each makes one Adam step on pairs poisoned with
    the current trigger after each outer step, and the unrolled inner steps are only looked at.
    """

    def __init__(self, problem: Problem, tools: Tools) -> None:
        self._problem, self._tools = problem, tools
        self._models: list[nn.Module] = []
        self._lives = [0] * problem.settings.surrogates
        self._ages = [self._oldest * k // len(self._lives) for k in range(len(self._lives))]
        for k in range(len(self._lives)):
            self._models.append(self._build(k))
        self._optimisers = [make_adam(model, problem.surrogate_lr) for model in self._models]

    @property
    def _oldest(self) -> int:
        return max(1, self._problem.settings.warm_steps)

    def _build(self, k: int) -> nn.Module:
        stream = f"surrogate-{k}-{self._lives[k]}"
        return self._problem.build_model(stream).to(self._problem.pairs.z.device)

    def begin(self, delta: Tensor) -> None:
        """Bring every surrogate to its age."""
        for k, age in enumerate(self._ages):
            for step in range(age):
                self._step(k, delta, "warm", step)
                self._tools.task.advance(0, f"surrogate {k + 1}, step {step + 1} of {age}")

    def _step(self, k: int, delta: Tensor, *stream: str | int) -> None:
        problem = self._problem
        index = problem.draw("inner", "ensemble", k, *stream)
        problem.step(self._models[k], self._optimisers[k], index, delta)

    def __iter__(self) -> Iterator[tuple[nn.Module, Weights]]:
        for model, optimiser in zip(self._models, self._optimisers, strict=True):
            yield model, inner_state(self._problem, model, optimiser)

    def advance(self, results: list[Hypergradient], delta: Tensor, k: int) -> None:
        """One Adam step each; begin anew what is too old."""
        for which in range(len(self._models)):
            self._step(which, delta, k)
            self._ages[which] += 1
            if self._ages[which] >= self._oldest:
                self._ages[which] = 0
                self._lives[which] += 1
                self._models[which] = self._build(which)
                self._optimisers[which] = make_adam(self._models[which], self._problem.surrogate_lr)

    def arrays(self) -> Weights:
        """Everything that a resumed attack needs."""
        found: Weights = {
            "ages": torch.tensor(self._ages),
            "lives": torch.tensor(self._lives),
        }
        for k, (model, optimiser) in enumerate(zip(self._models, self._optimisers, strict=True)):
            found |= {f"theta-{k}.{name}": value for name, value in parameters(model).items()}
            tensors = optimiser_tensors(optimiser)
            found |= {f"adam-{k}.{name}": value for name, value in tensors.items()}
        return found

    def restore(self, arrays: Weights) -> None:
        """Put what `arrays` returned back."""
        self._ages, self._lives = arrays["ages"].tolist(), arrays["lives"].tolist()
        for k, (model, optimiser) in enumerate(zip(self._models, self._optimisers, strict=True)):
            put(model, part(arrays, f"theta-{k}"))
            moments = part(arrays, f"adam-{k}")
            if moments:
                restore_optimiser(optimiser, moments)


def train(problem: Problem, model: nn.Module, delta: Tensor, tools: Tools) -> torch.optim.Adam:
    """Train a surrogate for `attack.warm_steps` Adam steps on pairs poisoned with `delta`."""
    optimiser, count = make_adam(model, problem.surrogate_lr), problem.settings.warm_steps
    for step in range(count):
        index = problem.draw("inner", "warm", step)
        problem.step(model, optimiser, index, delta)
        tools.task.advance(0, f"warm-up {step + 1} of {count}")
    return optimiser


def clean_surrogate(problem: Problem, tools: Tools, stream: str) -> nn.Module:
    """A network like the victim's, trained for `attack.warm_steps` steps on pairs without poison.

    Its weights are fixed.
    """
    clean = replace(problem, poison_ratio=0.0)
    model = problem.build_model(stream).to(problem.pairs.z.device)
    train(clean, model, torch.zeros_like(problem.pairs.carriers[0]), tools)
    return model.requires_grad_(False)


def inner_optimiser(problem: Problem) -> str:
    """Optimiser of the inner steps."""
    default = "sgd" if problem.settings.bilevel.variant == "paper" else "adam"
    return problem.settings.bilevel.inner_optimiser or default


def inner_state(problem: Problem, model: nn.Module, optimiser: torch.optim.Adam) -> Weights:
    """What inner steps by Adam carry on from: the moments of the surrogate's own training."""
    if inner_optimiser(problem) != "adam":
        return {}
    found: Weights = {}
    for name, value in model.named_parameters():
        entry = optimiser.state.get(value)
        if entry:
            found |= {f"mean.{name}": entry["exp_avg"], f"square.{name}": entry["exp_avg_sq"]}
            found["step"] = entry["step"]
    return found


def parameters(model: nn.Module) -> Parameters:
    """The network's parameters by name, detached."""
    return {name: value.detach() for name, value in model.named_parameters()}


def put(model: nn.Module, values: Weights) -> None:
    """Copy `values` into the network, whose memory layout stays."""
    for name, value in parameters(model).items():
        value.copy_(values[name])


def part(arrays: Weights, prefix: str) -> Weights:
    """Tensors whose name starts with `prefix` and a dot, without it."""
    return {
        name.partition(".")[2]: value
        for name, value in arrays.items()
        if name.partition(".")[0] == prefix
    }
