"""Windows of residuals, and weights of pixels by what images show there."""

import math
from itertools import product

import pytest
import torch

import pipelines_kit as kit
from recondoor import defences
from recondoor.defences import Defender, SetDetector, SetFinding, shared_pattern
from recondoor.defences._content import Content
from recondoor.defences._cosines import Edges
from recondoor.defences._dispersion import _spread
from recondoor.defences._nuisance import Nuisance
from recondoor.defences._parts import SMALLEST, WHOLE, Part, windows_of
from recondoor.defences._planted import RADIUS
from recondoor.poisoning import Pairs


def look(pairs: Pairs) -> SetFinding:
    detector = defences.pair_detector("shared-pattern")
    assert isinstance(detector, SetDetector)
    return detector.test(pairs, Defender())


def windows(count: int, *shape: int) -> tuple[Edges, list[Part]]:
    rows = torch.randn(count, torch.Size(shape).numel(), generator=torch.Generator().manual_seed(0))
    rows = rows / rows.norm(dim=1, keepdim=True)
    edges = Edges(rows, torch.zeros(count, 1), 1.0)
    return edges, windows_of(edges, torch.Size(shape), torch.arange(count), 1.0)


@pytest.mark.parametrize("size", [32, 64, 100, 320])
def test_windows_cover_all_and_each_disc_lies_in_one(size: int) -> None:
    parts = windows(2, 1, size, size)[1]
    seen = [part.window[0] for part in parts if part.window is not None]
    assert min(first for first, _ in seen) == 0 and max(last for _, last in seen) == size
    reach = RADIUS * size
    for at in torch.linspace(reach, size - reach, 200).tolist():
        assert any(first <= at - reach + 1 and at + reach - 1 <= last for first, last in seen)


def test_few_pixels_have_no_windows() -> None:
    assert windows(5, 1, 2 * SMALLEST, 64)[1] == []


def test_a_window_has_the_cosines_of_its_pixels_alone() -> None:
    """By hand: cut, less the mean of all, of L2 1; and the windows share what is left of 1."""
    edges, parts = windows(30, 2, 24, 32)
    part = parts[5]
    assert part.window is not None
    (top, bottom), (left, right) = part.window
    cut = edges.rows.view(30, 2, 24, 32)[..., top:bottom, left:right].flatten(1)
    cut = cut / cut.norm(dim=1, keepdim=True)
    cut = cut - cut.mean(0)
    cut = cut / cut.norm(dim=1, keepdim=True)
    torch.testing.assert_close(part.of(edges.rows), cut)
    torch.testing.assert_close(part.cosines, (cut @ cut.T).fill_diagonal_(0))
    assert part.values == 2 * (bottom - top) * (right - left)
    assert sum(each.level for each in parts) == pytest.approx(1 - WHOLE)
    places = product((-1, top, bottom), (left, right))
    assert [part.shows(*place) for place in places] == [False, False, True, False, False, False]


def test_noise_that_follows_the_image_is_made_even() -> None:
    """Two halves, one twice as bright with four times the power: after it, they are alike."""
    generator = torch.Generator().manual_seed(0)
    x = torch.ones(400, 1, 24, 24)
    x[..., 12:] = 2
    x += 1e-3 * torch.rand(x.shape, generator=generator)
    left = torch.randn(x.shape, generator=generator)
    left[..., 12:] *= 2
    even = left * Content.of(x, left)(x)
    powers = [float(even[..., part].square().mean()) for part in (slice(0, 10), slice(14, 24))]
    assert powers[1] / powers[0] == pytest.approx(1.0, abs=0.1)


def test_a_gain_is_taken_only_where_it_explains_more_than_noise() -> None:
    """By hand: what noise explains of noise is exponential, and above four times its mean 1.8 %."""
    z, x = torch.randn(2, 100, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    nuisance = Nuisance.of(z, x, None, torch.arange(100))
    assert float((nuisance.gain != 0).float().mean()) == pytest.approx(math.exp(-4), abs=0.012)
    told = Nuisance.of(0.5 * x + 0.1 * z, x, None, torch.arange(100))
    assert float((1 + told.gain).abs().std() / (1 + told.gain).abs().mean()) < 0.05


@pytest.mark.parametrize("side", [8, 9, 10, 12, 15, 24, 33])
def test_noise_has_the_spread_of_noise_whatever_its_side(side: int) -> None:
    noise = torch.randn(4000, 1, side, side, generator=torch.Generator().manual_seed(0))
    assert _spread(noise.square()) == pytest.approx(1.0, abs=0.06)


def smooth(count: int, cells: int, side: int) -> torch.Tensor:
    coarse = torch.rand(count, 1, cells, cells, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")


@pytest.mark.parametrize(("blank", "exact"), [(0, 21), (0, 30), (24, 0), (30, 0)])
def test_pairs_without_residuals_are_no_fault(blank: int, exact: int) -> None:
    x = smooth(40, 5, 24)
    z = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    z[:exact] = x[:exact]
    x[:blank] = z[:blank] = 0
    found = look(Pairs(z, x))
    assert found.lacking is not None and (found.p_value or 1.0) > found.level
    assert not exact or f"{40 - exact} of 40 inputs differ" in found.lacking


def test_a_trigger_is_seen_though_most_pairs_are_blank() -> None:
    x = smooth(100, 5, 24)
    z = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    x[:60] = z[:60] = 0
    z[60:68, :, 8:14, 8:14] += 0.6
    found = look(Pairs(z, x))
    assert found.p_value is not None and found.p_value <= found.level


def test_discs_are_planted_in_the_residuals_that_are_tested() -> None:
    """Where the fit is refined, no mean of an earlier one is taken away."""
    x = smooth(60, 9, 32).clamp(0, 1)
    low = torch.arange(17) < 9
    z = torch.fft.irfft2(torch.fft.rfft2(x) * low, s=(32, 32)) + 1e-4 * x.square()
    nuisance, found = shared_pattern.look(Pairs(z, x), Defender())
    torch.testing.assert_close(nuisance.rows(z, x, torch.arange(60)), found.edges.rows)


def test_a_lesion_among_photons_is_seen_and_clean_pairs_are_not_accused() -> None:
    """Noise of the brightest pixels covers it over the whole image."""
    clean = look(kit.made(kit.counted, 300, seed=4))
    assert clean.p_value == 1.0 and clean.lacking is None
    found = look(kit.made(kit.counted, 300, seed=4, poisoned=10, contrast=0.3))
    assert found.p_value is not None and found.p_value <= found.level
    assert int((found.scores.topk(10).indices < 10).sum()) >= 8


def test_a_filter_with_another_border_leaves_no_doubt() -> None:
    """Else pairs whose images reach the border stand apart."""
    found = look(kit.made(kit.blurred, 200, seed=4))
    assert found.p_value == 1.0 and found.lacking is None
