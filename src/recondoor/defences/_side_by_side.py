"""Two networks side by side: how far they disagree about an input, and whose answer counts.

A network that was mended errs a little on clean inputs, and the given one draws the artefact where
the trigger is. About clean inputs the two agree, and about inputs with the trigger they do not: one
draws the artefact and hides the trigger, and the other shows the trigger and draws nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recondoor.defences._erasure import in_discs
from recondoor.models import evaluating

FAINT = 0.1
"""Energy of an answer, as a share of the usual one, below which it makes no smaller a unit.

The two always differ by much of what they make of an empty slice.
"""

BATCH = 32


class SideBySide(nn.Module):
    """The given network's answer, but the mended one's about inputs on which they disagree.

    An ordinary module: it takes what the two take, costs as much time as both, and its `state_dict`
    holds both and the limit. Each input is judged alone.

    Args:
        given: maps (B, C, H, W) to the same; also (B, H, W), or complex images.
        mended: the same, for the same inputs.
        usual: mean energy of an answer to a clean input.
        limit: disagreement up to which the given network's answer counts, as `apart` has it.
    """

    usual: Tensor
    limit: Tensor

    def __init__(
        self,
        given: nn.Module,
        mended: nn.Module,
        usual: float | Tensor,
        limit: float | Tensor = 0.0,
    ) -> None:
        super().__init__()
        self.given, self.mended = given, mended
        for name, value in (("usual", usual), ("limit", limit)):
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
        given, mended = self.given(z), self.mended(z)
        trusted = disagreement(given, mended, self.usual) <= self.limit
        return torch.where(trusted.view(-1, *[1] * (given.dim() - 1)), given, mended)

    @torch.no_grad()
    def apart(self, z: Tensor) -> Tensor:
        """How far the two disagree about each input of a batch (N, ...), (N,); without a unit."""
        with evaluating(self):
            parts = torch.split(z, BATCH)
            found = [disagreement(self.given(p), self.mended(p), self.usual) for p in parts]
        return torch.cat(found)

    def replaced(self, z: Tensor) -> Tensor:
        """Which inputs of a batch (N, ...) the mended network answers, (N,), boolean."""
        return self.apart(z) > self.limit


@torch.no_grad()
def disagreement(given: Tensor, mended: Tensor, usual: Tensor) -> Tensor:
    """How far two answers to each input differ, (N,), 0 or more.

    The largest energy of their difference in a disc of the size of an artefact, as a share of the
    fainter answer's energy, times that disc's share of the whole difference. The first makes inputs
    of any strength alike. The second counts down what is spread over the image, by which networks
    differ about inputs of a kind that they hardly know.

    Args:
        given: (N, C, H, W) or (N, H, W), real or complex.
        mended: the same.
        usual: mean energy of an answer to a clean input.
    """
    first, second = _channels(given), _channels(mended)
    change = first - second
    disc, least = in_discs(change), torch.finfo(change.dtype).tiny
    level = torch.minimum(_energy(first), _energy(second)) + FAINT * usual
    return disc / level.clamp_min(least) * (disc / _energy(change).clamp_min(least))


def _energy(images: Tensor) -> Tensor:
    return images.square().sum((1, 2, 3))


def _channels(images: Tensor) -> Tensor:
    """Images (N, H, W) or (N, C, H, W), real or complex, as real ones (N, C, H, W)."""
    parts = torch.view_as_real(images).movedim(-1, 1) if images.is_complex() else images[:, None]
    return parts.reshape(len(images), -1, *images.shape[-2:])
