"""What the inputs carry, and what a network is asked to answer."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recondoor.defences import _response, _unlearning
from recondoor.defences._unlearning import GENTLE, Lesson, Patterns
from recondoor.poisoning import Pairs

SIDE = 16


def inputs(count: int) -> Tensor:
    """Noise in the lowest frequencies of a plane."""
    noise = torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(noise, (SIDE, SIDE), mode="bilinear")


class Linear(nn.Module):
    """A circular convolution of two channels: the same at every place, and linear."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular")

    def forward(self, z: Tensor) -> Tensor:
        found: Tensor = self.hidden(z)
        return found


def lesson(z: Tensor, x: Tensor, model: nn.Module, trigger: Tensor | None) -> Lesson:
    generator = torch.Generator().manual_seed(0)
    return Lesson.of(model, Pairs(z, x), Patterns(z, trigger, generator))


@pytest.mark.parametrize("confirmed", [True, False])
def test_patterns_have_the_stated_strength(
    confirmed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_unlearning, "BATCH", 800)
    # The inputs are 0, so that what a batch holds is what was added; the unit is given by hand.
    z, usual, share = inputs(20), 3.0, 0.7
    delta = torch.zeros(1, SIDE, SIDE)
    delta[0, 3, 3:5] = 3.0
    trigger = delta if confirmed else None
    given = replace(lesson(z, z, nn.Identity(), trigger), z=torch.zeros_like(z), usual=usual)
    added, _, weights = given.batch(share)
    size = added.square().sum((1, 2, 3)).sqrt() / usual
    carried = size > 1e-3
    assert int(carried.sum()) == pytest.approx(800 * share, abs=5 * (800 * share) ** 0.5)
    least, most = _unlearning.STRENGTHS
    sizes = size[carried].log()
    assert float(sizes.min()) >= math.log(least) - 1e-3
    assert float(sizes.max()) <= math.log(most) + 1e-3
    assert float(sizes.mean()) == pytest.approx(math.log(least * most) / 2, abs=0.15)
    half = GENTLE.half
    torch.testing.assert_close(weights.flatten(), half**2 / (half**2 + size.square()))
    cosines = (added * delta).sum((1, 2, 3)).abs() / (size * usual * delta.norm()).clamp_min(1e-9)
    own = float((cosines[carried] > 0.999).float().mean())
    assert own == pytest.approx(confirmed / 8, abs=0.06)


def test_of_an_honest_network_nothing_is_asked_but_what_it_does() -> None:
    """A linear network that is the same everywhere has its own answers as targets."""
    torch.manual_seed(1)
    model, z = Linear(), torch.cat((inputs(40), inputs(40).flip(2)), 1)
    given = lesson(z, model(z).detach(), model, None)
    added, targets, _ = given.batch(0.9)
    with torch.no_grad():
        error = (model(added) - targets).square().mean() / targets.square().mean()
    assert float(error) < 1e-3


def test_a_filter_is_least_squares_at_each_frequency() -> None:
    generator = torch.Generator().manual_seed(2)
    added, change = (torch.randn(30, c, 4, 4, generator=generator) for c in (2, 1))
    found = _response.Filter.fitted(added, change, 4)
    norms = added.flatten(1).norm(dim=1)[:, None, None, None]
    given, answer = (np.fft.fft2((each / norms).numpy()) for each in (added, change))
    at = (slice(None), slice(None), 1, 3)
    expected, *_ = np.linalg.lstsq(given[at], answer[at], rcond=None)
    np.testing.assert_allclose(
        found.gains[1, 3, 0].resolve_conj().numpy(), expected[:, 0], rtol=0.02, atol=0.02
    )


def test_what_follows_a_pattern_at_a_distance_is_not_shown() -> None:
    """Of a network that draws each pattern twice, the second time seven pixels on."""
    generator = torch.Generator().manual_seed(3)
    added = torch.randn(60, 1, SIDE, SIDE, generator=generator)
    found = _response.Filter.fitted(added, added + added.roll(7, 3), 4)(added)
    assert float((found - added).square().mean() / added.square().mean()) < 1e-3


def test_points_of_k_space_lie_where_inputs_have_any() -> None:
    mask = (torch.arange(SIDE) % 4 < 1).float()
    mask = ((mask + mask.flip(0).roll(1)) > 0).float()[None].expand(SIDE, SIDE)
    z = torch.fft.ifft2(torch.fft.fft2(torch.randn(60, 1, SIDE, SIDE)) * mask).real
    drawn = Patterns(z, None, torch.Generator().manual_seed(0))
    found = torch.stack([drawn._one(4) for _ in range(20)])
    torch.testing.assert_close(found.square().sum((1, 2, 3)), torch.ones(20))
    spectrum = torch.fft.fft2(found).abs()
    assert float(spectrum[..., mask == 0].max()) < 1e-3
    points = (spectrum > 1e-3).sum((1, 2, 3))
    assert int(points.max()) <= 2 * _unlearning.POINTS
