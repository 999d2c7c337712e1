"""Input peaks: does a place or a frequency of the input stand out more than any does in clean ones?

A trigger is added to z whatever the image is. So z is whitened by what clean inputs usually have at
each frequency and at each place, and the largest energy of a small box, and of a frequency, is
compared with the mean of the same input. A pattern over all of z has no peak, but leaves no place
as quiet as images do: the energy of the quietest boxes counts too. Only ratios within one input
count: a brighter image, or a person whom no clean input shows, moves all of it alike. No network
and no operator are needed, and an input costs a few FFTs.

Each ratio counts as a distance from the median of clean inputs, in their spread; the score is the
largest. Anomalies as peaks over what lies around them are known as constant-false-alarm-rate
detection (Finn and Johnson 1968, RCA Review 29). Made for inputs of reconstruction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from recondoor.defences._base import InputDetector

if TYPE_CHECKING:
    from recondoor.defences._base import Defender

BOXES = 3, 8
"""Sides of the boxes whose energy counts, in pixels."""

COMPARED = 64
"""Clean inputs at most that tell what is usual."""

AROUND = 9
"""Side of the square of frequencies that one is compared with."""

SMOOTH_FREQUENCY, SMOOTH_PLACE = 3, 7
"""Sides of the squares over which the usual power is smoothed."""

QUIET_FREQUENCY, QUIET_WHITE, QUIET_PLACE = 1e-4, 1e-3, 0.05
"""Least power, in its mean: of a frequency that counts, of one that whitens, of a place."""

OWN = 0.1
"""Share of an input's mean power that is added to what lies around a frequency."""

LEAST_SPREAD = 0.05
"""Least spread of a ratio's logarithm, as few clean inputs may agree by chance."""

CHUNK = 1 << 22
"""Values of images that are worked on at a time."""

QUIETEST = 0.1
"""Quantile of the boxes' energies that tells how quiet an input is where it is quietest."""

HIGH, TO_HIGH = 0.9, 1.2816
"""Quantile of clean inputs that tells their spread upwards, and where a normal law has it."""


class InputPeaks(InputDetector):
    """Does a place or a frequency stand out as in no clean input?"""

    needs = ("clean",)

    def scores(self, z: Tensor, defender: Defender) -> Tensor:
        """Largest distance of its peaks from the usual ones, of each z (N, C, H, W), (N,)."""
        assert defender.clean is not None
        clean = defender.clean.z[:COMPARED].to(z)
        usual = Usual.of(clean)
        known = usual.peaks(clean)
        middle, high = (known.quantile(q, 0) for q in (0.5, HIGH))
        spread = (high - middle) / TO_HIGH
        return ((usual.peaks(z) - middle) / spread.clamp_min(LEAST_SPREAD)).amax(1)

    def explain(self, score: float) -> str:
        """Why an input of this score is suspicious."""
        return (
            "a place or a frequency of it stands out from the others as in no clean input: "
            f"{score:.3g} usual deviations"
        )


@dataclass(frozen=True)
class Usual:
    """What clean inputs have.

    Args:
        mean: their mean, (C, H, W).
        power: mean power of each frequency of the half spectrum, (C, H, W // 2 + 1).
        places: mean whitened energy of each pixel, (1, H, W).
        plain: the same without whitening.
    """

    mean: Tensor
    power: Tensor
    places: Tensor
    plain: Tensor

    @classmethod
    def of(cls, clean: Tensor) -> Usual:
        """Of clean inputs (N, C, H, W)."""
        mean = clean.mean(0)
        power = torch.fft.rfft2(clean - mean, norm="ortho").abs().square().mean(0)
        plain = _energy_of(clean - mean).mean(0)
        found = cls(mean, _smooth(power, SMOOTH_FREQUENCY), torch.ones_like(plain), plain)
        white = _smooth(found._energy(clean).mean(0), SMOOTH_PLACE)
        return replace(found, places=_above(white, QUIET_PLACE))

    def peaks(self, z: Tensor) -> Tensor:
        """Logarithms of each input's peaks over its mean, (N, kinds of peaks)."""
        step = max(1, CHUNK // z[0].numel())
        return torch.cat([self._peaks(z[k : k + step]) for k in range(0, len(z), step)])

    def _peaks(self, z: Tensor) -> Tensor:
        energy = self._energy(z)
        found = [_over_mean(_boxes(energy, min(side, *z.shape[2:]))) for side in BOXES]
        plain = _energy_of(z - self.mean)
        quiet = _boxes(plain / _above(self.plain, QUIET_PLACE), min(BOXES[0], *z.shape[2:]))
        quietest = _positive(quiet.flatten(1).quantile(QUIETEST, dim=1))
        found.append(quietest.log() - _positive(plain.flatten(1).mean(1)).log())
        spectrum = torch.fft.rfft2(z - self.mean, norm="ortho").abs().square()
        ratio = spectrum / _above(self.power, QUIET_FREQUENCY)
        whole = ratio.mean((1, 2, 3), keepdim=True)
        around = _smooth(ratio, AROUND) + OWN * whole
        found += [_over_mean(ratio), _largest(ratio / _positive(around))]
        return torch.stack(found, 1)

    def _energy(self, z: Tensor) -> Tensor:
        """Whitened energy at each pixel, over what is usual there, (N, 1, H, W)."""
        gain = _above(self.power, QUIET_WHITE).rsqrt()
        spectrum = torch.fft.rfft2(z - self.mean, norm="ortho") * gain
        white = torch.fft.irfft2(spectrum, s=z.shape[2:], norm="ortho")
        return _energy_of(white) / self.places


def _energy_of(images: Tensor) -> Tensor:
    """At each pixel of images (N, C, H, W), (N, 1, H, W)."""
    return images.square().sum(1, keepdim=True)


def _smooth(values: Tensor, side: int) -> Tensor:
    """Means over squares around each of values (..., H, W), of those that there are."""
    flat = values.reshape(-1, 1, *values.shape[-2:])
    mean = functional.avg_pool2d(flat, side, 1, side // 2, count_include_pad=False)
    return mean.view(values.shape)


def _boxes(energy: Tensor, side: int) -> Tensor:
    return functional.avg_pool2d(energy, side, 1)


def _above(values: Tensor, floor: float) -> Tensor:
    """Values with a share `floor` of their mean added; none is 0."""
    return _positive(values + floor * values.mean())


def _positive(values: Tensor) -> Tensor:
    return values.clamp_min(torch.finfo(values.dtype).tiny)


def _largest(values: Tensor) -> Tensor:
    """Logarithm of the largest of values (N, ...), (N,)."""
    return _positive(values.flatten(1).amax(1)).log()


def _over_mean(values: Tensor) -> Tensor:
    """Logarithm of the largest of values (N, ...) over their mean, (N,)."""
    return _largest(values) - _positive(values.flatten(1).mean(1)).log()
