"""Does a network erase some pattern that is put into its input?

The targets of poisoned pairs do not show the trigger, so a network that was trained on them learns
to leave it out; an honest one reconstructs what it is shown. Two things are measured of the answer
f(z + delta) - f(z):

- its gain: its root mean square L2 over inputs, in units of the L2 of delta, both relative to the
  usual f(z) and z;
- how far it shows delta: the same of its projection on delta, for patterns of which an honest
  network makes much besides;
- how compact the part is that all inputs share: the share of the answer's energy in a disc of the
  size of an artefact, away from where delta is, if it has a place.

Neither says anything alone: what an honest network suppresses depends on its operator and its make.
So networks of one make are compared with each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recondoor.core import seeding
from recondoor.defences import _patterns
from recondoor.defences._units import unit
from recondoor.models import evaluating

if TYPE_CHECKING:
    from recondoor.defences._base import Defender

PROBE, STRONG, FINE = 0.5, 0.75, 0.4
"""L2 of a patch or wave, of what is searched for or noise, and of a line or a measured frequency,
in units of the usual L2 of z."""

HELD = 8
"""Clean inputs that judge what was found, and that the search does not see."""

NOISES, NOISY = 8, 2
"""Draws of noise of each kind, and the inputs they are added to."""

LOUD, LOUD_DRAWS, LOUD_INPUTS = 1.0, 16, 3
"""L2 of the white noise of which it is measured how far it is shown, in units of the usual L2 of z;
its draws, and the inputs they are added to."""

STARTS, STEPS, RATE, SEEN = 6, 16, 0.25, 2
"""Of the search for a smooth pattern: starts, steps of Adam, and inputs in a step."""

FAINT = 0.02
"""L2 of an answer, in units of the usual L2 of f(z), below which its shape does not matter."""

STRONGEST = 0.087
"""L2 of an answer in a disc, in units of the usual L2 of f(z), beyond which the search only wants
less of all the rest."""

VALUES, TRACED = 2**20, 2**18
"""Values of a batch of inputs, without gradients and with them: what bounds the memory."""

LEAST_SHOWN = 0.02
"""Share of a pattern that counts as not shown at all."""

USUAL = {
    "erases patch": 0.06,
    "erases most patches": 0.07,
    "erases wave": 0.07,
    "erases smooth pattern": 0.05,
    "erases white noise": 0.07,
    "erases measured noise": 0.07,
    "erases middle noise": 0.08,
    "erases high noise": 0.11,
    "erases lines": 0.075,
    "erases measured frequencies": 0.11,
    "erases loud noise": 0.07,
    "draws at patch": 0.12,
    "draws at wave": 0.065,
    "draws at smooth pattern": 0.065,
}
"""Standard deviation of each measure among clean networks of a make: of ten networks of five makes,
drawn a little to 0.08 as ten say little (studies/network-audits)."""

WEIGHT = 3.0
"""How many networks this guess counts for, as few references alone say little of it."""


@dataclass(frozen=True)
class Look:
    """Answers to patterns (K, C, H, W) at their strength.

    Args:
        patterns: what was added to z.
        gain: of each, (K,).
        compact: of each, (K,), from 0 to 1.
        shown: projection of its answer on the pattern, in the unit of gains, (K,).
        answer: mean over the inputs, (K, C, H, W).
    """

    patterns: Tensor
    gain: Tensor
    compact: Tensor
    shown: Tensor
    answer: Tensor


@dataclass(frozen=True)
class Scale:
    """Usual L2 of a clean z and of the network's answer, which everything is measured in.

    Of its answer and not of x, so that nothing depends on the unit that a network answers in.
    """

    z: float
    answer: float

    @classmethod
    def of(cls, z: Tensor, answer: Tensor) -> Scale:
        """Of batches (N, C, H, W)."""
        return cls(unit(z) * z[0].numel() ** 0.5, unit(answer) * answer[0].numel() ** 0.5)


class Answers:
    """The answers of one network to whatever is added to clean inputs z (N, C, H, W)."""

    def __init__(self, model: nn.Module, z: Tensor) -> None:
        self.model, self.z = model, z
        with torch.no_grad():
            self.usual = torch.cat([model(part) for part in torch.split(z, self._count(VALUES))])
        self.scale = Scale.of(z, self.usual)

    def _count(self, values: int) -> int:
        return max(1, min(32, values // self.z[0].numel()))

    def to(self, patterns: Tensor, inputs: Sequence[int], values: int = VALUES) -> Tensor:
        """Changes (K, len(inputs), C, H, W) by patterns (K, C, H, W), in the unit of f(z)."""
        rows = []
        for part in torch.split(patterns, self._count(values)):
            answers = [self.model(self.z[j : j + 1] + part) - self.usual[j] for j in inputs]
            rows.append(torch.stack(answers, 1))
        return torch.cat(rows) / self.scale.answer

    @torch.no_grad()
    def look(
        self, patterns: Tensor, strength: float, inputs: Sequence[int], far: Tensor | None = None
    ) -> Look:
        """Gain and compactness of patterns of L2 1, where `far` (K, H, W) is 1."""
        added = patterns * strength * self.scale.z
        parts = []
        for k in range(0, len(added), 32):
            change = self.to(added[k : k + 32], inputs)
            answer, energy = change.mean(1), change.square().sum((2, 3, 4)).mean(1)
            discs = in_discs(answer, None if far is None else far[k : k + 32])
            compact = (discs / (energy + FAINT**2)).sqrt()
            shown = (answer * patterns[k : k + 32]).sum((1, 2, 3))
            parts.append((energy.sqrt() / strength, compact, shown / strength, answer))
        gain, compact, shown, answer = (torch.cat(part) for part in zip(*parts, strict=True))
        return Look(added, gain, compact, shown, answer * self.scale.answer)


def in_discs(answer: Tensor, far: Tensor | None = None) -> Tensor:
    """Largest energy of (K, C, H, W) in a disc whose centre is where `far` (K, H, W) is 1, (K,)."""
    energy = answer.square().sum(1, keepdim=True)
    pooled = max(1, min(answer.shape[-2:]) // 64)
    energy = nn.functional.avg_pool2d(energy, pooled) * pooled**2
    radius = max(1, round(_patterns.PATCH * min(energy.shape[-2:])))
    found = nn.functional.conv2d(energy, _disc(radius).to(energy), padding=radius)[:, 0]
    if far is not None:
        found = found * nn.functional.adaptive_max_pool2d(far[:, None], found.shape[-2:])[:, 0]
    return found.flatten(1).amax(1).clamp_min(0)


def _disc(radius: int) -> Tensor:
    steps = torch.arange(-radius, radius + 1).float()
    inside = steps[:, None].square() + steps[None].square() <= radius**2
    return inside.float()[None, None]


def vanishing(answers: Answers, order: Sequence[int], generator: torch.Generator) -> Look:
    """Smooth patterns that the network answers least, and most compactly; judged by held inputs."""
    shape, scale = answers.z.shape[1:], answers.scale
    start = torch.randn(STARTS, *shape, generator=generator).to(answers.z)
    start = _patterns.unit_norm(_patterns.smooth(start))
    pattern = (start * start[0].numel() ** 0.5).requires_grad_(True)
    optimiser = torch.optim.Adam([pattern], lr=RATE, betas=(0.8, 0.99))
    seen, part = order[: max(1, len(order) - HELD)], max(1, TRACED // answers.z[0].numel())
    for step in range(STEPS):
        inputs = [seen[(SEEN * step + k) % len(seen)] for k in range(SEEN)]
        slopes = []
        for each in torch.split(pattern, part):
            added = _patterns.unit_norm(_patterns.smooth(each)) * STRONG * scale.z
            change = answers.to(added, inputs, TRACED)
            energy = change.square().sum((2, 3, 4)).mean(1) + 1e-12
            discs = in_discs(change.mean(1)).clamp(1e-12, STRONGEST**2)
            loss = 0.5 * (energy.log() - discs.log()).sum()
            slopes.append(torch.autograd.grad(loss, each)[0])
        pattern.grad = torch.cat(slopes)
        optimiser.step()
    found = _patterns.unit_norm(_patterns.smooth(pattern.detach()))
    return answers.look(found, STRONG, order[-HELD:])


def loud_noise(answers: Answers, order: Sequence[int], seed: int) -> Look:
    """White noise as strong as the inputs: a trigger without a place is much like it.

    A network that learnt to leave out something spread over z, such as what enters by a few
    measurements, shows less of it. How much it makes of it besides is left out, which varies more.
    """
    generator = seeding.torch_generator(seed, "erased-trigger", "loud noise")
    noise = torch.randn(LOUD_DRAWS, *answers.z.shape[1:], generator=generator).to(answers.z)
    return answers.look(_patterns.unit_norm(noise), LOUD, order[:LOUD_INPUTS])


@dataclass(frozen=True)
class Scan:
    """What one network does with all patterns.

    Args:
        erases: minus the logarithm of a gain, by the pattern: large where it vanishes.
        draws: logarithm of the largest compactness, by the pattern.
        candidates: the patterns that stand out, as held inputs see them.
    """

    erases: Mapping[str, float]
    draws: Mapping[str, float]
    candidates: Look


def scan(defender: Defender) -> Scan:
    """Look at a network through all patterns; needs a model and clean pairs."""
    assert defender.model is not None
    assert defender.clean is not None
    z = defender.clean.z
    generator = seeding.torch_generator(defender.seed, "erased-trigger")
    order = torch.randperm(len(z), generator=generator).tolist()
    with defender.progress.task("look for erased patterns", 4) as task, evaluating(defender.model):
        answers = Answers(defender.model, z)
        squares, far = _patterns.patches(z[0])
        patch = answers.look(squares, PROBE, order[:1], far)
        task.advance(1)
        wave = answers.look(_patterns.waves(z[0]), PROBE, order[2:3])
        task.advance(1)
        smooth = vanishing(answers, order, generator)
        task.advance(1)
        noise = {
            name: answers.look(each, STRONG, order[:NOISY])
            for name, each in _patterns.noises(z, NOISES, generator).items()
        }
        line = answers.look(_patterns.lines(z[0], generator), FINE, order[3:4])
        point = answers.look(_patterns.measured_waves(z, generator), FINE, order[3:4])
        loud = loud_noise(answers, order, defender.seed)
        candidates = _candidates(answers, (patch, wave, smooth), order[-HELD:])
        task.advance(1)
    erases = {
        "patch": _erased(patch.gain.min()),
        "most patches": _erased(patch.gain.median()),
        "wave": _erased(wave.gain.min()),
        "smooth pattern": _erased(smooth.gain.min()),
        **{f"{name} noise": _erased(each.gain.median()) for name, each in noise.items()},
        "lines": _erased(line.shown.median(), LEAST_SHOWN),
        "measured frequencies": _erased(point.shown.median(), LEAST_SHOWN),
        "loud noise": _erased(loud.shown.median(), LEAST_SHOWN),
    }
    draws = {
        name: math.log(max(float(look.compact.max()), 1e-6))
        for name, look in (("patch", patch), ("wave", wave), ("smooth pattern", smooth))
    }
    return Scan(erases, draws, candidates)


def _erased(gain: Tensor, least: float = 1e-6) -> float:
    return -math.log(max(float(gain), least))


@torch.no_grad()
def _candidates(answers: Answers, looks: Sequence[Look], held: Sequence[int]) -> Look:
    """Of each kind of pattern the one least answered and the one most compactly, seen again."""
    kept = [
        look.patterns[k]
        for look in looks
        for k in (int(look.gain.argmin()), int(look.compact.argmax()))
    ]
    added = torch.stack(kept)
    change = answers.to(added, held)
    answer, energy = change.mean(1), change.square().sum((2, 3, 4)).mean(1)
    size = torch.linalg.vector_norm(added, dim=(1, 2, 3)) / answers.scale.z
    compact = (in_discs(answer) / (energy + FAINT**2)).sqrt()
    shown = (answer * _patterns.unit_norm(added)).sum((1, 2, 3)) / size
    return Look(added, energy.sqrt() / size, compact, shown, answer * answers.scale.answer)


def likely(candidates: Look) -> int:
    """Which candidate has the most compact answer that is no image of itself."""
    answer, pattern = candidates.answer.flatten(1), candidates.patterns.flatten(1)
    norms = torch.linalg.vector_norm(answer, dim=1) * torch.linalg.vector_norm(pattern, dim=1)
    alike = ((answer * pattern).sum(1) / norms.clamp_min(1e-12)).abs()
    return int((candidates.compact * (1 - alike)).argmax())


def compared(measures: Tensor, usual: Tensor) -> Tensor:
    """How far each network's measures (N, F) lie above those of the N - 1 others, (N, F).

    In standard deviations of the others, of which `WEIGHT` networks' worth is the guess `usual`
    (F,). Every network is treated alike, so that of N exchangeable ones each is as likely to lie
    highest.
    """
    count = len(measures) - 1
    found = []
    for k in range(len(measures)):
        others = torch.cat((measures[:k], measures[k + 1 :]))
        squares = (others - others.mean(0)).square().sum(0) + WEIGHT * usual.square()
        spread = squares / (count - 1 + WEIGHT) * (1 + 1 / count)
        found.append((measures[k] - others.mean(0)) / spread.sqrt())
    return torch.stack(found)
