"""How large residuals usually are where images look so: noise and misfits follow what is shown.

Counted photons are noisier where the image is bright, magnitudes where it is dark, and what no
filter explains lies at edges. So pixels are sorted by what the image has around them, its mean and
its roughness, and each is divided by the usual size of residuals in its class.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

CLASSES = 12
"""Classes of brightness, and as many of roughness, with equally many pixels each."""

LOOKED = 1_000_000
"""Pixels that the classes' borders are read off, at most."""

USUAL = 50
"""Pixels of the mean power that each class has besides its own, so that few say little."""

LEAST = 0.02
"""Power of a class, in the mean, that is added to all."""


@dataclass(frozen=True)
class Content:
    """Weights of pixels by what images show around them.

    Args:
        bright, rough: borders of the classes, (CLASSES - 1,) each.
        weights: of the classes, the brighter ones last, (CLASSES**2,).
    """

    bright: Tensor
    rough: Tensor
    weights: Tensor

    @classmethod
    def of(cls, x: Tensor, left: Tensor) -> Content:
        """Of residuals `left` and their images x, (N, C, H, W)."""
        bright, rough = map(_borders, _features(x))
        found = cls(bright, rough, torch.ones(CLASSES**2))
        classes, power = found._classes(x).flatten(), left.square().flatten().double()
        many = torch.bincount(classes, minlength=CLASSES**2)
        total = torch.bincount(classes, weights=power, minlength=CLASSES**2)
        mean = power.mean().clamp_min(1e-300)
        usual = (total + USUAL * mean) / (many + USUAL)
        return cls(bright, rough, (usual / mean + LEAST).rsqrt().float())

    def __call__(self, x: Tensor) -> Tensor:
        """What to multiply the residuals of images x (N, C, H, W) with."""
        return self.weights[self._classes(x)]

    def _classes(self, x: Tensor) -> Tensor:
        bright, rough = _features(x)
        return CLASSES * torch.searchsorted(self.bright, bright) + torch.searchsorted(
            self.rough, rough
        )


def _features(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the 3x3 pixels around each, and their standard deviation over 5x5."""
    mean = _around(x)
    variance = (_around(x.square()) - mean.square()).clamp_min(0)
    return mean, _around(variance).sqrt()


def _around(x: Tensor) -> Tensor:
    return functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)


def _borders(values: Tensor) -> Tensor:
    flat = values.flatten()
    some = flat[:: max(1, len(flat) // LOOKED)].sort().values
    places = torch.arange(1, CLASSES) * len(some) // CLASSES
    return some[places].contiguous()
