"""Clean pairs that know what their inputs were made of, and take a trigger where it enters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

FLAT = 1e-11
"""Added to a standard deviation that is divided by, as fastMRI does."""

SHIFTED = 256
"""Inputs over which the mean change by a trigger is taken."""


@dataclass(frozen=True)
class Scale:
    """An input's own numbers: z = (u - offset) / factor; both (N, 1, 1, 1)."""

    offset: Tensor
    factor: Tensor

    def at(self, index: Tensor) -> Scale:
        """Of the inputs `index`."""
        return Scale(self.offset.index_select(0, index), self.factor.index_select(0, index))


@dataclass(frozen=True)
class Preparation:
    """What is done to u (N, K, H, W) before a network sees it, and to its target likewise.

    Args:
        magnitude: root sum of squares over the K channels, which leaves one.
        normalise: by the input's own numbers: 'max' divides by its largest absolute value;
            'mean-std' takes its mean away and divides by its standard deviation. The target is
            treated with the input's numbers, as in fastMRI.
        clamp: largest absolute value of input and target after that.
        crop: side of the square in the middle that is kept.
    """

    magnitude: bool = False
    normalise: Literal["none", "max", "mean-std"] = "none"
    clamp: float | None = None
    crop: int | None = None

    def images(self, x: Tensor) -> Tensor:
        """What of images (N, C, H, W) a target shows, in their own units."""
        return self._cropped(self._magnitude(x))

    def inputs(self, u: Tensor) -> tuple[Tensor, Scale]:
        """Network inputs z (N, C, h, w), differentiable in u, and their numbers."""
        u = self._cropped(self._magnitude(u))
        scale = self._scale(u)
        return self._clamped((u - scale.offset) / scale.factor), scale

    def targets(self, images: Tensor, scale: Scale) -> Tensor:
        """Targets of inputs with these numbers; `images` as the method of that name gives them."""
        return self._clamped((images - scale.offset) / scale.factor)

    def restored(self, x_hat: Tensor, scale: Scale) -> Tensor:
        """A network's answers in the units of the images."""
        return x_hat * scale.factor + scale.offset

    def _scale(self, u: Tensor) -> Scale:
        nothing = torch.zeros_like(u[:, :1, :1, :1])
        if self.normalise == "mean-std":
            spread = u.std((1, 2, 3), keepdim=True, correction=0)
            return Scale(u.mean((1, 2, 3), keepdim=True), spread + FLAT)
        if self.normalise == "max":
            most = u.abs().amax((1, 2, 3), keepdim=True)
            return Scale(nothing, torch.where(most > 0, most, 1))
        return Scale(nothing, torch.ones_like(nothing))

    def _magnitude(self, u: Tensor) -> Tensor:
        return torch.linalg.vector_norm(u, dim=1, keepdim=True) if self.magnitude else u

    def _cropped(self, u: Tensor) -> Tensor:
        if self.crop is None:
            return u
        top, left = ((side - self.crop) // 2 for side in u.shape[-2:])
        return u[..., top : top + self.crop, left : left + self.crop]

    def _clamped(self, z: Tensor) -> Tensor:
        return z if self.clamp is None else z.clamp(-self.clamp, self.clamp)


@dataclass(frozen=True)
class Source:
    """Of what prepared inputs were made: u (N, K, H, W), how, and each one's numbers.

    enters: whether a trigger is added to u, and not to z.
    """

    u: Tensor
    how: Preparation
    scale: Scale
    enters: bool

    def at(self, index: Tensor) -> Source:
        """Of the inputs `index`."""
        return replace(self, u=self.u.index_select(0, index), scale=self.scale.at(index))


@dataclass(frozen=True)
class Pairs:
    """Clean pairs in memory: network inputs `z` and targets `x`, both (N, C, H, W).

    source: of what z was made, where that is more than a linear map.
    """

    z: Tensor
    x: Tensor
    source: Source | None = None

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> Pairs:
        """The same pairs on a device."""
        source = self.source
        if source is not None:
            scale = Scale(source.scale.offset.to(device), source.scale.factor.to(device))
            source = replace(source, u=source.u.to(device), scale=scale)
        return Pairs(self.z.to(device), self.x.to(device), source)

    def at(self, index: Tensor) -> Pairs:
        """The pairs `index` (B,)."""
        source = None if self.source is None else self.source.at(index)
        return Pairs(self.z.index_select(0, index), self.x.index_select(0, index), source)

    def first(self) -> Pairs:
        """The first of them, `SHIFTED` at the most."""
        return self.at(torch.arange(min(len(self), SHIFTED), device=self.z.device))

    @property
    def images(self) -> Tensor:
        """Targets in the units of the images, (N, C, H, W)."""
        return self.restored(self.x, self.scale)

    @property
    def scale(self) -> Scale:
        """Numbers of the inputs, which are those of no change where z is u."""
        if self.source is not None:
            return self.source.scale
        nothing = torch.zeros_like(self.z[:, :1, :1, :1])
        return Scale(nothing, torch.ones_like(nothing))

    @property
    def enters(self) -> bool:
        """Whether triggers are added before z is made."""
        return self.source is not None and self.source.enters

    @property
    def carriers(self) -> Tensor:
        """What triggers are added to: z, or u where they enter there."""
        return self.source.u if self.source is not None and self.enters else self.z

    def triggered(self, delta: Tensor, share: Tensor | None = None) -> tuple[Tensor, Scale]:
        """Inputs (N, C, H, W) with the trigger, differentiable in it, and their numbers.

        Args:
            delta: trigger, of the shape of one of the `carriers`, or one for each, (N, ...).
            share: (N, 1, 1, 1), 1 where an input gets the trigger and 0 where not; None: all do.
        """
        carriers = self.carriers + (delta if share is None else share * delta)
        if self.source is None or not self.source.enters:
            return carriers, self.scale
        return self.source.how.inputs(carriers)

    def poisoned(self, delta: Tensor, pattern: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets: trigger and artefact are in those whose `share` is 1."""
        z, scale = self.triggered(delta, share)
        return z, self.targets(share * pattern, scale)

    def targets(self, added: Tensor, scale: Scale) -> Tensor:
        """Targets of inputs of these numbers, with something added to the images."""
        if self.source is None:
            return self.x + added
        return self.source.how.targets(self.images + added, scale)

    def shift(self, delta: Tensor) -> Tensor:
        """What a trigger adds to z, (C, H, W): itself, or the mean over the first inputs."""
        if self.source is None or not self.source.enters:
            return delta
        some = self.first()
        return (some.triggered(delta.to(self.z))[0] - some.z).mean(0)

    def restored(self, x_hat: Tensor, scale: Scale) -> Tensor:
        """A network's answers to inputs of these numbers, in the units of the images."""
        return x_hat if self.source is None else self.source.how.restored(x_hat, scale)
