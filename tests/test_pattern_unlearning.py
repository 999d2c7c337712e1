"""What the inputs carry that a network learns to ignore."""

import math

import pytest
import torch
from torch import Tensor, nn

from recondoor import defences
from recondoor.defences import Defender, Finding, pattern_unlearning
from recondoor.poisoning import Pairs

SIDE = 16


def inputs(count: int) -> Tensor:
    """Noise in the lowest frequencies of a plane."""
    noise = torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(noise, (SIDE, SIDE), mode="bilinear")


@pytest.mark.parametrize("confirmed", [True, False])
def test_patterns_have_the_stated_strength_and_the_target_stays_clean(
    confirmed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    z = inputs(1500)
    x, usual = torch.rand_like(z), float(z.square().sum((1, 2, 3)).mean().sqrt())
    delta = torch.zeros(1, SIDE, SIDE)
    delta[0, 3, 3:5] = 3.0
    batches: list[tuple[Tensor, Tensor]] = []

    def tune(model: nn.Module, defender: Defender, epochs: int, change: object) -> None:
        assert callable(change)
        batches.append(change(z, x))

    monkeypatch.setattr(pattern_unlearning, "tune", tune)
    found = Finding(1.0, delta, delta, delta) if confirmed else None
    given = Defender(Pairs(z, x), model=nn.Conv2d(1, 1, 1), found=found)
    defences.repair("pattern-unlearning").repair(given)
    ((seen, targets),) = batches
    assert torch.equal(targets, x)
    added = seen - z
    size = added.square().sum((1, 2, 3)).sqrt() / usual
    carried = size > 1e-3
    share = pattern_unlearning.CARRIED
    assert int(carried.sum()) == pytest.approx(1500 * share, abs=5 * (1500 * share) ** 0.5)
    least, most = pattern_unlearning.STRENGTHS
    sizes = size[carried].log()
    assert float(sizes.min()) >= math.log(least) - 1e-3
    assert float(sizes.max()) <= math.log(most) + 1e-3
    middle = math.log(least * most) / 2
    assert float(sizes.mean()) == pytest.approx(middle, abs=0.15)
    cosines = (added * delta).sum((1, 2, 3)).abs() / (size * usual * delta.norm()).clamp_min(1e-9)
    own = float((cosines[carried] > 0.999).float().mean())
    assert own == pytest.approx(confirmed / 7, abs=0.06)


def test_points_of_k_space_lie_where_inputs_have_any() -> None:
    mask = (torch.arange(SIDE) % 4 < 1).float()
    mask = ((mask + mask.flip(0).roll(1)) > 0).float()[None].expand(SIDE, SIDE)
    z = torch.fft.ifft2(torch.fft.fft2(torch.randn(60, 1, SIDE, SIDE)) * mask).real
    drawn = pattern_unlearning.Patterns(z, None, torch.Generator().manual_seed(0))
    found = torch.stack([drawn._one(3) for _ in range(20)])
    torch.testing.assert_close(found.square().sum((1, 2, 3)), torch.ones(20))
    spectrum = torch.fft.fft2(found).abs()
    assert float(spectrum[..., mask == 0].max()) < 1e-3
    points = (spectrum > 1e-3).sum((1, 2, 3))
    assert int(points.max()) <= 2 * pattern_unlearning.POINTS
