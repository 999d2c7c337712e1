"""Training a network to show patterns of all kinds, drawn anew, as it shows patterns in general."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from recondoor.core import seeding
from recondoor.defences import _patterns, _response
from recondoor.defences._tune import RATE, duplicate
from recondoor.defences._units import unit
from recondoor.models import reconstruct
from recondoor.training.loop import make_adam

if TYPE_CHECKING:
    from torch import Tensor, nn

    from recondoor.defences._base import Defender
    from recondoor.poisoning import Pairs

STEPS, BATCH = 400, 8

TURN = 0.5
"""Share of the steps after which most inputs are clean."""

STRENGTHS = 0.1, 1.2
"""Least and largest L2 of a pattern, in units of the usual L2 of z; uniform in the logarithm."""

LAST = 0.02
"""Rate of the last step, as a share of the first; it falls as a cosine."""

KINDS = 7
"""Kinds of patterns that are drawn."""

POINTS = 6
"""Points of k-space that a pattern of measured frequencies has."""

LINES = 2, 20
"""Least and largest number of lines in a bundle."""


@dataclass(frozen=True)
class Course:
    """How much is asked of the network beside its clean inputs.

    Args:
        carried: share of the inputs of a batch that carry a pattern, before the turn and after it.
        half: strength at which an input with a pattern counts half of what a clean one does.
    """

    carried: tuple[float, float]
    half: float


GENTLE = Course((0.8, 0.2), 0.5)
"""Wins the benign error back that unlearning costs."""

THOROUGH = Course((0.8, 0.4), 2.0)
"""Leaves less of a backdoor, and costs more benign error."""


def unlearned(defender: Defender, course: Course) -> nn.Module:
    """A copy of `defender.model`, trained on its clean pairs to show patterns as they are."""
    assert defender.model is not None
    assert defender.clean is not None
    generator = seeding.torch_generator(defender.seed, "pattern-unlearning")
    found = None if defender.found is None else defender.found.trigger
    patterns = Patterns(defender.clean.z, found, generator)
    lesson = Lesson.of(defender.model, defender.clean, patterns, course)
    model = duplicate(defender.model)
    training = model.training
    model.train()
    with seeding.torch_global(defender.seed, "repair"):
        _train(model, lesson, defender)
    return model.train(training)


def _train(model: nn.Module, lesson: Lesson, defender: Defender) -> None:
    """`STEPS` steps of Adam in place; the loss counts in the unit of x."""
    assert defender.clean is not None
    optimiser, of_x = make_adam(model, RATE), unit(defender.clean.x)
    with defender.progress.task("unlearn patterns", STEPS) as task:
        for step in range(STEPS):
            for group in optimiser.param_groups:
                group["lr"] = RATE * _falling(step / STEPS)
            inputs, targets, weights = lesson.batch(lesson.course.carried[step >= TURN * STEPS])
            optimiser.zero_grad(set_to_none=True)
            error = ((model(inputs) - targets) / of_x).square()
            (weights * error).mean().backward()
            optimiser.step()
            task.advance(1)


def _falling(done: float) -> float:
    return LAST + (1 - LAST) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Lesson:
    """What the network is asked.

    Args:
        z, x: inputs (N, C, H, W) and their targets: half the image, half the network's own answer,
            so that it changes no more than patterns ask.
        patterns: what is added.
        usual: usual L2 of z.
        shown: how patterns show; None where f(z) is of another size than z, so that none do.
        course: how much is asked.
    """

    z: Tensor
    x: Tensor
    patterns: Patterns
    usual: float
    shown: _response.Filter | None
    course: Course = GENTLE

    @classmethod
    def of(
        cls, model: nn.Module, pairs: Pairs, patterns: Patterns, course: Course = GENTLE
    ) -> Lesson:
        """Of clean pairs and the network as it was given."""
        usual = unit(pairs.z) * pairs.z[0].numel() ** 0.5
        answers = reconstruct(model, pairs.z)
        shown = None
        if answers.shape[-2:] == pairs.z.shape[-2:]:
            count = _response.PROBES
            index = torch.randint(len(pairs), (count,), generator=patterns.generator)
            added = usual * patterns.sizes(count) * patterns.draw(count)
            change = reconstruct(model, pairs.z[index] + added) - answers[index]
            reach = 2 * _patterns.size_of(pairs.z[0])
            shown = _response.Filter.fitted(added, change, reach)
        return cls(pairs.z, (pairs.x + answers) / 2, patterns, usual, shown, course)

    def batch(self, carried: float) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, targets (B, C, H, W) and what each counts, (B, 1, 1, 1)."""
        generator = self.patterns.generator
        index = torch.randint(len(self.z), (BATCH,), generator=generator)
        with_one = torch.rand(BATCH, generator=generator) < carried
        count, z = int(with_one.sum()), self.z[index]
        size, added, targets = (
            torch.zeros_like(z[:, :1, :1, :1]),
            torch.zeros_like(z),
            self.x[index],
        )
        if count:
            size[with_one] = self.patterns.sizes(count)
            added[with_one] = self.usual * size[with_one] * self.patterns.draw(count)
        if self.shown is not None:
            targets = targets + self.shown(added)
        return z + added, targets, 1 / (1 + (size / self.course.half).square())


class Patterns:
    """Patterns of all kinds, at L2 of 1 and of either sign."""

    def __init__(self, z: Tensor, trigger: Tensor | None, generator: torch.Generator) -> None:
        self.z, self.generator = z, generator
        self.trigger = None if trigger is None else _patterns.unit_norm(trigger[None])

    def sizes(self, count: int) -> Tensor:
        """Strengths (count, 1, 1, 1)."""
        least, most = STRENGTHS
        drawn = torch.rand(count, 1, 1, 1, generator=self.generator)
        found: Tensor = least * (most / least) ** drawn
        return found.to(self.z)

    def draw(self, count: int) -> Tensor:
        """(count, C, H, W), of kinds drawn at random."""
        kinds = KINDS + (self.trigger is not None)
        chosen = torch.randint(kinds, (count,), generator=self.generator).tolist()
        return torch.stack([self._one(kind) for kind in chosen]) * self._signs(count)

    def _signs(self, count: int) -> Tensor:
        signs = 2.0 * torch.randint(2, (count, 1, 1, 1), generator=self.generator) - 1
        return signs.to(self.z)

    def _one(self, kind: int) -> Tensor:
        if kind == KINDS and self.trigger is not None:
            return self.trigger[0]
        channels, height, width = self.z.shape[1:]
        if kind < 2:
            flat = self._patch(height, width) if kind == 0 else self._wave(height, width)
            return _patterns.in_channels(flat[None].to(self.z), channels)[0]
        if kind < 4:
            least, most = (1, 1) if kind == 2 else LINES
            count = int(torch.randint(least, most + 1, (), generator=self.generator))
            return self._sum(_patterns.lines(self.z[0], self.generator, count))
        if kind == 4:
            return self._sum(_patterns.measured_waves(self.z[:16], self.generator, POINTS))
        noise = torch.randn(1, channels, height, width, generator=self.generator).to(self.z)
        return _patterns.unit_norm(_patterns.smooth(noise) if kind == 5 else noise)[0]

    def _sum(self, parts: Tensor) -> Tensor:
        signed = (parts * self._signs(len(parts))).sum(0, keepdim=True)
        return _patterns.unit_norm(signed)[0]

    def _patch(self, height: int, width: int) -> Tensor:
        most = max(3, min(height, width) // 5)
        sides = torch.randint(2, most, (2,), generator=self.generator).tolist()
        top, left = (
            int(torch.randint(length - side + 1, (), generator=self.generator))
            for length, side in zip((height, width), sides, strict=True)
        )
        flat = torch.zeros(height, width)
        flat[top : top + sides[0], left : left + sides[1]] = 1
        return flat

    def _wave(self, height: int, width: int) -> Tensor:
        most = min(height, width) // 3
        down, right = torch.randint(-most, most + 1, (2,), generator=self.generator).tolist()
        phase = float(torch.rand((), generator=self.generator))
        turns = down * torch.arange(height)[:, None] / height + right * torch.arange(width) / width
        return torch.cos(2 * torch.pi * (turns + phase))
