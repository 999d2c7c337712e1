"""Two networks side by side: how far they disagree about an input, and whose answer counts.

A network that was mended errs a little on clean inputs, and the given one draws the artefact where
the trigger is. About clean inputs the two agree, and about inputs with the trigger they do not: one
draws the artefact and hides the trigger, and the other shows the trigger and draws little.

Little is not nothing. A trigger that is mirrored is another pattern, which no network has learnt,
or one that draws elsewhere. So where they disagree both are asked about mirrored inputs too, and
the median counts. That takes a pipeline to which mirrored images are images like others, which the
clean pairs tell: the median may err little more about them than the mended network does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recondoor.core import seeding
from recondoor.defences._base import threshold
from recondoor.defences._erasure import in_discs
from recondoor.defences._unlearning import THOROUGH, unlearned
from recondoor.models import copy_of, evaluating
from recondoor.poisoning import Pairs

if TYPE_CHECKING:
    from recondoor.defences._base import Defender

FAINT = 0.1
"""Energy of an answer, as a share of the usual one, below which it makes no smaller a unit.

The two always differ by much of what they make of an empty slice.
"""

HELD = 0.25
"""Share of the clean pairs that the limit is made of, and that the unlearning does not see."""

ALARM = 0.02
"""Share of clean inputs, of the kind of these pairs, above the quantile that makes the limit."""

MARGIN = 2.0
"""The limit in units of that quantile: clean inputs of another person lie up to 1.6 times as high,
and inputs with a trigger 8 times (99 % of each; five networks of studies/network-audits)."""

MIRRORS = ((-1,), (-2,), (-2, -1))
"""Dimensions of an image along which an input is mirrored. With the mended network's answer to the
input as it is, the median is of seven answers, four of them the mended network's."""

WORSE = 1.1
"""Root mean square error of that median in units of the mended network's, up to which it counts: it
was 0.96 to 1.04 in eleven networks of studies/network-audits, and 1.68 in one."""

BATCH = 32


class SideBySide(nn.Module):
    """The given network's answer, but about inputs on which they disagree that of `instead`.

    An ordinary module: it takes what the two take, and its `state_dict` holds both, the limit and
    what is answered instead. It costs as much time as both, and four times as much where they
    disagree and mirrored inputs are asked about. Each input is judged alone.

    Args:
        given: maps (B, C, H, W) to the same; also (B, H, W), or complex images.
        mended: the same, for the same inputs.
        usual: mean energy of an answer to a clean input.
        limit: disagreement up to which the given network's answer counts, as `apart` has it.
        mirrored: whether mirrored inputs are asked about where they disagree, 0 or 1.
    """

    usual: Tensor
    limit: Tensor
    mirrored: Tensor

    def __init__(
        self,
        given: nn.Module,
        mended: nn.Module,
        usual: float | Tensor,
        limit: float | Tensor = 0.0,
        mirrored: float | Tensor = 0.0,
    ) -> None:
        super().__init__()
        self.given, self.mended = given, mended
        for name, value in (("usual", usual), ("limit", limit), ("mirrored", mirrored)):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32).clone())

    @classmethod
    def of(cls, given: nn.Module, mended: nn.Module, clean: Tensor) -> SideBySide:
        """Of clean inputs (N, ...), by which answers are usual; the limit is 0."""
        both = cls(given, mended, 0.0)
        with torch.no_grad(), evaluating(both):
            parts = [_energy(_channels(mended(part))) for part in torch.split(clean, BATCH)]
        both.usual.fill_(torch.cat(parts).double().mean())
        return both

    def forward(self, z: Tensor) -> Tensor:
        """What the two take to images of the same shape."""
        # Some networks change their input.
        given, mended = self.given(z.clone()), self.mended(z.clone())
        fallen = disagreement(given, mended, self.usual) > self.limit
        if bool(fallen.any()) and bool(self.mirrored):
            mended = mended.index_put((fallen,), self._median(z[fallen], mended[fallen]))
        return torch.where(fallen.view(-1, *[1] * (given.dim() - 1)), mended, given)

    @torch.no_grad()
    def instead(self, z: Tensor) -> Tensor:
        """What counts about inputs (N, ...) on which the two disagree; without gradients."""
        with evaluating(self):
            parts = [(part, self.mended(part.clone())) for part in torch.split(z, BATCH)]
            if bool(self.mirrored):
                return torch.cat([self._median(part, mended) for part, mended in parts])
        return torch.cat([mended for _, mended in parts])

    def _median(self, z: Tensor, mended: Tensor) -> Tensor:
        """At each pixel, of the mended network's answer and those of both to mirrored inputs."""
        found = [mended]
        for dims in MIRRORS:
            found += [network(z.flip(dims)).flip(dims) for network in (self.given, self.mended)]
        if not mended.is_complex():
            return torch.stack(found).median(0).values
        return torch.complex(
            torch.stack([each.real for each in found]).median(0).values,
            torch.stack([each.imag for each in found]).median(0).values,
        )

    @torch.no_grad()
    def apart(self, z: Tensor) -> Tensor:
        """How far the two disagree about each input of a batch (N, ...), (N,); without a unit."""
        with evaluating(self):
            parts = torch.split(z, BATCH)
            found = [
                disagreement(self.given(p.clone()), self.mended(p.clone()), self.usual)
                for p in parts
            ]
        return torch.cat(found)

    def replaced(self, z: Tensor) -> Tensor:
        """Which inputs of a batch (N, ...) the mended network answers, (N,), boolean."""
        return self.apart(z) > self.limit


@torch.no_grad()
def disagreement(given: Tensor, mended: Tensor, usual: Tensor) -> Tensor:
    """How far two answers to each input differ, (N,), 0 or more; no unit.

    The largest energy of their difference in a disc of the size of an artefact. Its unit is the
    geometric mean of the usual energy of an answer and the fainter one's of these two: they differ
    more about strong inputs, but not in proportion.

    Args:
        given: (N, C, H, W) or (N, H, W), real or complex.
        mended: the same.
        usual: mean energy of an answer to a clean input.
    """
    first, second = _channels(given), _channels(mended)
    level = torch.minimum(_energy(first), _energy(second)) + FAINT * usual
    least = torch.finfo(level.dtype).tiny
    return in_discs(first - second) / (level.sqrt() * usual.sqrt()).clamp_min(least)


def _energy(images: Tensor) -> Tensor:
    return images.square().sum((1, 2, 3))


def _channels(images: Tensor) -> Tensor:
    """Images (N, H, W) or (N, C, H, W), real or complex, as real ones (N, C, H, W)."""
    parts = torch.view_as_real(images).movedim(-1, 1) if images.is_complex() else images[:, None]
    return parts.reshape(len(images), -1, *images.shape[-2:])


def beside(defender: Defender) -> SideBySide:
    """The given network beside one that unlearns with most of the clean pairs of `defender`.

    The others make the limit, and tell whether mirrored inputs are asked about. Both networks are
    in evaluation mode.
    """
    assert defender.model is not None
    assert defender.clean is not None
    used, held = _split(defender.clean, defender.seed)
    mended = unlearned(replace(defender, clean=used), THOROUGH)
    both = SideBySide.of(copy_of(defender.model), mended, held.z).eval()
    rate = max(ALARM, 1 / (len(held) + 1))
    both.limit.fill_(MARGIN * threshold(both.apart(held.z), rate))
    both.mirrored.fill_(float(_mirrors_well(both, held)))
    return both


@torch.no_grad()
def _mirrors_well(both: SideBySide, held: Pairs) -> bool:
    """Whether the median errs little more about these pairs than the mended network does."""
    alone = median = 0.0
    parts = zip(torch.split(held.z, BATCH), torch.split(held.x, BATCH), strict=True)
    for z, x in parts:
        mended = both.mended(z)
        alone += float((mended - x).abs().square().double().sum())
        median += float((both._median(z, mended) - x).abs().square().double().sum())
    return median <= WORSE**2 * alone


def _split(pairs: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    """Pairs to unlearn with, and those that the limit is made of, drawn by the seed."""
    order = torch.randperm(len(pairs), generator=seeding.torch_generator(seed, "side-by-side"))
    kept = max(1, round(HELD * len(pairs)))
    parts = order[kept:], order[:kept]
    used, held = (Pairs(pairs.z[index], pairs.x[index]) for index in parts)
    return used, held
