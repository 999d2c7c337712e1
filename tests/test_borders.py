"""What the borders of images explain at the borders of inputs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

import pipelines_kit as kit
from recondoor import defences
from recondoor.defences import Defender, SetDetector, shared_pattern
from recondoor.defences._borders import share_of_borders, told_by_borders

ONE = torch.ones(1, 1, 1, 1)


def some(count: int = 200, side: int = 24) -> torch.Tensor:
    return torch.randn(count, 1, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("turned", [False, True])
def test_what_follows_from_the_border_and_moves_along_it_is_told(turned: bool) -> None:
    """By hand: the first row gets the last but one, moved by three pixels, and half of its own."""
    x = some()
    left = torch.zeros_like(x)
    left[:, :, 0] = x[:, :, -2].roll(3, -1) + 0.5 * x[:, :, 0]
    if turned:
        x, left = x.transpose(2, 3), left.transpose(2, 3)
    # All but the mean, which is no matter of single images; corners belong to two borders.
    wrong = told_by_borders(left, x, ONE) - (left - left.mean(0))
    assert float(wrong.norm() / left.norm()) < (0.08 if turned else 0.01)


def test_a_pattern_is_not_told() -> None:
    """It does not follow images: of 200 pairs four rows foretell 2 % of its energy by chance."""
    x = some()
    left = torch.zeros_like(x)
    left[:20, :, :3, :3] = 1
    told = told_by_borders(left, x, ONE)
    assert float(told.square().sum() / left.square().sum()) < 0.06


def test_the_share_is_that_of_the_energy_at_the_borders_less_the_mean() -> None:
    """By hand: half of the values are told; what all have in common does not count."""
    left = some()
    told = torch.zeros_like(left)
    told[:, :, :2] = 0.5 * (left - left.mean(0))[:, :, :2]
    border = torch.ones(24, 24, dtype=torch.bool)
    border[2:-2, 2:-2] = False
    expected = told.square().sum() / (left - left.mean(0))[..., border].square().sum()
    assert share_of_borders(left + 3, told) == pytest.approx(float(expected), rel=1e-4)


def test_few_pairs_and_small_images_tell_nothing() -> None:
    assert not told_by_borders(some(19), some(19), ONE).any()
    assert not told_by_borders(some(200, 1), some(200, 1), ONE).any()


@pytest.mark.parametrize("border", ["reflect", "nearest", "mirror", "constant"])
@pytest.mark.parametrize("poisoned", [0, 15])
def test_a_filter_with_another_border_is_no_pattern(border: str, poisoned: int) -> None:
    """Crops of heads that fill the image, blurred as SciPy goes on beyond the border."""
    rng = np.random.default_rng(3)
    x = kit.heads(300, 3)[:, 8:-8, 8:-8]
    z = ndimage.gaussian_filter(x, (0, 1, 1), mode=border)
    z += 0.01 * rng.standard_normal(z.shape)
    x = x.copy()
    z[:poisoned, :3, :3] += 0.5
    x[:poisoned, 10:14, 10:14] += 0.5
    detector = defences.pair_detector("shared-pattern")
    assert isinstance(detector, SetDetector)
    found = detector.test(kit.of(z, x), Defender())
    assert found.p_value is not None
    assert (found.p_value <= found.level) == bool(poisoned)
    if poisoned:
        first = found.scores.topk(poisoned).indices
        assert int((first < poisoned).sum()) >= 0.6 * poisoned


def test_what_leaves_residuals_further_from_noise_explains_no_border(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(3)
    x = kit.heads(60, 3)[:, 8:-8, 8:-8]
    pairs = kit.of(x + 0.01 * rng.standard_normal(x.shape), x)
    nuisance, found = shared_pattern.look(pairs, Defender())
    found = replace(found, dispersion=2.0, least=-20.0)
    kept = []
    for times in (1.0, 1.5):
        worse = replace(found, dispersion=times * found.dispersion, least=0.0)
        monkeypatch.setattr(shared_pattern, "look", lambda *_, worse=worse: (nuisance, worse))
        monkeypatch.setattr(shared_pattern, "_doubt", lambda _: None)
        kept.append(shared_pattern._with_borders(pairs, nuisance, found, Defender())[2] is found)
    assert kept == [False, True]
