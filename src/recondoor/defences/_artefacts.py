"""Which pattern makes a network draw, and what: a closer look at a network that is flagged.

The scan of `_erasure` compares networks, by one strength and few inputs. Its most compact answer is
rarely that to the trigger: of several strengths another one may be needed, and a square that is a
few pixels off draws only a part. So squares and waves are looked through again:

- at several strengths, by how compact the part of the answer is that inputs have in common. The
  surroundings of a square do not count at all, as an honest network answers there;
- the best squares are moved pixel by pixel;
- the best of all are judged by other inputs, which also give the artefact.

Each pixel of the artefact is the mean answer times the share of its energy that all inputs have in
common. So what a network makes of one input alone is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recondoor.core import seeding
from recondoor.defences import _patterns
from recondoor.defences._erasure import FAINT, Answers, in_discs
from recondoor.models import evaluating

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recondoor.defences._base import Defender, Finding

STRENGTHS = (0.5, 1.0)
"""L2 of a pattern in units of the usual L2 of z."""

SQUARES_SEEN, WAVES_SEEN, JUDGED = 8, 2, 16
"""Clean inputs that choose squares and waves, and others that judge them and give the artefact.

An odd slice or two can hide a square, as the loudest answers decide.
"""

SQUARES, WAVES = 4, 1
"""Patterns that are kept of each strength."""

AT_ONCE = 64
"""Patterns that are added at once."""

LEAST = 1e-4
"""Root mean square of a pixel of an answer, in units of f(z), that counts as nothing."""


@dataclass(frozen=True)
class Drawn:
    """What patterns (K, C, H, W) make a network draw.

    Args:
        compact: share of the answer's energy that all inputs have in common, in one disc, (K,).
        artefact: (K, C, H, W), in the unit of f(z).
    """

    compact: Tensor
    artefact: Tensor


@torch.no_grad()
def drawn(answers: Answers, added: Tensor, counts: Tensor, inputs: Sequence[int]) -> Drawn:
    """Of what is added to z, (K, C, H, W), where `counts` (K, 1, H, W) is 1."""
    change = answers.to(added, inputs) * counts[:, None]
    mean, variance = change.mean(1), change.var(1, correction=0)
    energy = change.square().sum((2, 3, 4)).mean(1)
    # The energy of a mean over few inputs has a part of what differs between them.
    common = (mean.square() - variance / max(1, len(inputs) - 1)).clamp_min(0)
    share = mean.square() / (mean.square() + variance + LEAST**2)
    return Drawn(in_discs(common.sqrt()) / (energy + FAINT**2), mean * share)


def sharpened(defender: Defender, finding: Finding) -> Finding:
    """The finding with the trigger and artefact of the most compact answer."""
    assert defender.model is not None
    assert defender.clean is not None
    z = defender.clean.z
    generator = seeding.torch_generator(defender.seed, "erased-trigger", "closer look")
    order = torch.randperm(len(z), generator=generator).tolist()
    others = order[-JUDGED:]
    kept, counts = [], []
    with (
        defender.progress.task("look closer at what is flagged", len(STRENGTHS)) as task,
        evaluating(defender.model),
    ):
        answers = Answers(defender.model, z)
        for strength in STRENGTHS:
            for patterns, where in (
                _squares(answers, strength, order[:SQUARES_SEEN]),
                _waves(answers, strength, order[:WAVES_SEEN]),
            ):
                kept.append(patterns * strength * answers.scale.z)
                counts.append(where)
            task.advance(1)
        added, where = torch.cat(kept), torch.cat(counts)
        found = drawn(answers, added, where, others)
    best = int((found.compact * (1 - _alike(found.artefact, added))).argmax())
    return replace(
        finding,
        trigger=added[best],
        artefact=found.artefact[best] * answers.scale.answer,
        counts=where[best].expand_as(added[best]).clone(),
    )


def _compact(
    answers: Answers, patterns: Tensor, counts: Tensor, strength: float, inputs: Sequence[int]
) -> Tensor:
    """How compact the answers to patterns (K, C, H, W) of L2 1 are, (K,)."""
    added = patterns * strength * answers.scale.z
    parts = zip(torch.split(added, AT_ONCE), torch.split(counts, AT_ONCE), strict=True)
    return torch.cat([drawn(answers, part, where, inputs).compact for part, where in parts])


def _squares(answers: Answers, strength: float, inputs: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The best squares (K, C, H, W), each moved to where it is best, and where answers count."""
    image = answers.z[0]
    corners = _patterns.corners(image)
    squares, far = _patterns.squares(image, corners)
    compact = _compact(answers, squares, far[:, None], strength, inputs)
    found = [
        _moved(answers, corners[k], float(compact[k]), strength, inputs)
        for k in _apart(corners, compact, _patterns.size_of(image))
    ]
    squares, far = _patterns.squares(image, found)
    return squares, far[:, None]


def _apart(corners: list[tuple[int, int]], compact: Tensor, side: int) -> list[int]:
    """The best squares of which no two overlap."""
    kept: list[int] = []
    for k in compact.argsort(descending=True).tolist():
        gaps = [max(abs(a - b) for a, b in zip(corners[k], corners[j], strict=True)) for j in kept]
        if len(kept) < SQUARES and min(gaps, default=side) >= side:
            kept.append(k)
    return kept


def _moved(
    answers: Answers,
    corner: tuple[int, int],
    compact: float,
    strength: float,
    inputs: Sequence[int],
) -> tuple[int, int]:
    """The corner of the best square near this one; steps fall from half the grid's to a pixel."""
    image, best = answers.z[0], compact
    step = max(1, _patterns.spacing(image) // 2)
    while True:
        near = _patterns.neighbours(image, corner, step)
        squares, far = _patterns.squares(image, near)
        found = _compact(answers, squares, far[:, None], strength, inputs)
        better = float(found.max()) > best
        if better:
            best, corner = float(found.max()), near[int(found.argmax())]
        elif step == 1:
            return corner
        step = max(1, step // 2)


def _waves(answers: Answers, strength: float, inputs: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The best waves (K, C, H, W), and ones, as answers count everywhere."""
    waves = _patterns.waves(answers.z[0])
    everywhere = torch.ones_like(waves[:, :1])
    compact = _compact(answers, waves, everywhere, strength, inputs)
    best = compact.topk(min(WAVES, len(waves))).indices
    return waves[best], everywhere[best]


def _alike(artefact: Tensor, added: Tensor) -> Tensor:
    """Cosine, without its sign, of each artefact with its pattern, (K,)."""
    first, second = (_patterns.unit_norm(each) for each in (artefact, added))
    found: Tensor = (first * second).sum((1, 2, 3)).abs()
    return found
