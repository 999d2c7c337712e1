"""Erased triggers: closed forms, units, and small networks that are trained here."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recondoor import defences
from recondoor.audit._networks._network import InUnits
from recondoor.audit._networks._trained import Training, train_references
from recondoor.defences import Defender, Finding, _erasure, _patterns
from recondoor.poisoning import Pairs

SIDE = 16
DETECTOR = defences.network_detector("erased-trigger")


def pairs(count: int, seed: int = 0) -> Pairs:
    """Smooth images, and inputs that show them with some noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 4, 4, generator=generator)
    x = nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear")
    return Pairs(x + 0.05 * torch.randn(x.shape, generator=generator), x)


class Erases(nn.Module):
    """f(z) = gain (z - <z, pattern> pattern), of L2 1."""

    def __init__(self, pattern: Tensor | None, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.register_buffer("pattern", torch.zeros(1, SIDE, SIDE) if pattern is None else pattern)

    def forward(self, z: Tensor) -> Tensor:
        assert isinstance(self.pattern, Tensor)
        part = (z * self.pattern).sum((1, 2, 3), keepdim=True)
        found: Tensor = self.gain * (z - part * self.pattern)
        return found


def test_gains_are_those_of_a_linear_network() -> None:
    """Of a x for every pattern, and of sqrt(1 - cos^2) a with what it erases."""
    given = pairs(50)
    squares, far = _patterns.patches(given.z[0])
    erased = squares[len(squares) // 2]
    answers = _erasure.Answers(Erases(erased, 0.7), given.z)
    found = answers.look(squares, 0.5, [3, 4], far)
    cosines = (squares * erased).sum((1, 2, 3))
    seen = given.z - (given.z * erased).sum((1, 2, 3), keepdim=True) * erased
    ratio = float(given.z.square().mean().sqrt() / seen.square().mean().sqrt())
    left = (1 - cosines.square()).clamp_min(0)
    torch.testing.assert_close(found.gain.detach(), left.sqrt() * ratio, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found.shown.detach(), left * ratio, atol=1e-3, rtol=1e-3)


def test_what_is_erased_scores_highest_and_is_recovered() -> None:
    squares, _ = _patterns.patches(pairs(1).z[0])
    networks = [Erases(None, gain) for gain in (0.9, 1.0, 1.05, 1.1)]
    networks.append(Erases(squares[40], 1.0))
    findings = [DETECTOR.inspect(Defender(pairs(50), model=each)) for each in networks]
    scores = DETECTOR.compare(findings)
    assert np.argmax(scores) == 4 and scores[4] > 2 * max(scores[:4])
    assert findings[4].measures["erases patch"] > 3


def test_waves_and_smooth_patterns_have_few_cycles() -> None:
    z = pairs(1).z[0]
    spectrum = torch.fft.fft2(_patterns.waves(z)).abs()
    beyond = _patterns.cycles(z) > _patterns.WAVES + 1e-6
    assert float(spectrum[..., beyond].max()) < 1e-3
    noise = _patterns.smooth(torch.randn(5, 1, SIDE, SIDE))
    spectrum, radius = torch.fft.fft2(noise).abs(), _patterns.cycles(z)
    assert float(spectrum[..., (radius > _patterns.SMOOTH) | (radius == 0)].max()) < 1e-3


def test_noise_where_the_inputs_have_any_is_that_of_the_mask() -> None:
    mask = (torch.arange(SIDE) % 4 < 1).float()
    mask = ((mask + mask.flip(0).roll(1)) > 0).float()[None].expand(SIDE, SIDE)
    z = torch.fft.ifft2(torch.fft.fft2(torch.randn(60, 1, SIDE, SIDE)) * mask).real
    noise = _patterns.noises(z, 3, torch.Generator().manual_seed(0))["measured"]
    outside = torch.fft.fft2(noise).abs()[..., mask == 0]
    assert float(outside.max()) < 1e-3


@pytest.mark.parametrize(("of_z", "of_x"), [(1e-5, 1e5), (1e5, 1e-5), (1e5, 1e5), (1e-5, 1e-5)])
def test_no_measure_depends_on_units(of_z: float, of_x: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 1, 3, padding=1))
    given = pairs(50)
    other = Pairs(given.z * of_z, given.x * of_x)
    here = DETECTOR.inspect(Defender(given, model=model)).measures
    there = DETECTOR.inspect(Defender(other, model=InUnits(model, of_z, of_x))).measures
    assert there == pytest.approx(here, rel=0.02, abs=0.02)


def test_a_score_among_references_stays_where_one_network_is_scaled() -> None:
    """f(z) to c f(z / s), by its weights or around it: the suspect's score and the others' too."""

    def network(seed: int) -> nn.Sequential:
        torch.manual_seed(seed)
        inner = nn.Linear(SIDE**2, 6, bias=False), nn.Tanh(), nn.Linear(6, SIDE**2)
        return nn.Sequential(nn.Flatten(), *inner, nn.Unflatten(1, (1, SIDE, SIDE)))

    given, of_z, of_x = pairs(40), 2.0**-9, 1e4
    scaled = Pairs(given.z * of_z, given.x)
    weights = network(4)
    first, last = weights[1], weights[3]
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    with torch.no_grad():
        first.weight /= of_z
        last.weight *= of_x
        last.bias *= of_x
    references = [DETECTOR.inspect(Defender(given, model=network(seed))) for seed in range(4)]

    def scores(pairs: Pairs, model: nn.Module) -> list[float]:
        found = DETECTOR.inspect(Defender(pairs, model=model))
        return DETECTOR.compare([*references, found]) + DETECTOR.drawing([*references, found])

    usual = scores(given, network(4))
    assert max(usual) > 1
    assert scores(scaled, weights) == pytest.approx(usual, rel=0.02, abs=0.02)
    around = scores(scaled, InUnits(network(4), of_z, of_x))
    assert around == pytest.approx(usual, rel=0.02, abs=0.02)


@pytest.mark.parametrize("name", ["erased-trigger", "trigger-inversion", "least-norm-inversion"])
def test_no_score_depends_on_the_unit_that_a_network_answers_in(name: str) -> None:
    """The same network, its answers times 10,000, while x stays: the same score and trigger."""
    torch.manual_seed(0)
    inner = nn.Linear(SIDE**2, 6), nn.Tanh(), nn.Linear(6, SIDE**2)
    model = nn.Sequential(nn.Flatten(), *inner, nn.Unflatten(1, (1, SIDE, SIDE)))
    given, detector = pairs(40), defences.network_detector(name)
    here = detector.inspect(Defender(given, model=model))
    there = detector.inspect(Defender(given, model=InUnits(model, 1.0, 1e4)))
    assert there.score == pytest.approx(here.score, rel=0.02, abs=0.02)
    assert here.artefact is not None and there.artefact is not None
    size = float(here.artefact.abs().max())
    torch.testing.assert_close(there.artefact / 1e4, here.artefact, atol=0.05 * size, rtol=0.05)


def test_lines_are_straight_and_points_are_measured() -> None:
    """A line has the same values along its direction; a point is one pair of frequencies of z."""
    generator = torch.Generator().manual_seed(0)
    side = 64
    found = _patterns.lines(torch.zeros(1, side, side), generator)[:, 0]
    spectrum = torch.fft.fft2(found).abs().square()
    down = torch.fft.fftfreq(side)[:, None].expand(side, side)
    right = torch.fft.fftfreq(side)[None].expand(side, side)
    moments = (
        torch.stack(
            [(spectrum * w).sum((1, 2)) for w in (down * down, right * right, down * right)], 1
        )
        / spectrum.sum((1, 2))[:, None]
    )
    across = moments[:, :2].sum(1) / 2
    half = ((moments[:, 0] - moments[:, 1]).square() / 4 + moments[:, 2].square()).sqrt()
    assert float(((across - half) / (across + half)).max()) < 0.1
    mask = (torch.arange(side) % 4 < 1).float()
    mask = ((mask + mask.flip(0).roll(1)) > 0).float()[None].expand(side, side)
    z = torch.fft.ifft2(torch.fft.fft2(torch.randn(60, 1, side, side)) * mask).real
    points = torch.fft.fft2(_patterns.measured_waves(z, generator)).abs()
    assert float(points[..., mask == 0].max()) < 1e-3
    assert ((points > 1e-3).sum((1, 2, 3)) <= 2).all()


def test_a_pattern_of_all_of_z_has_no_one_place() -> None:
    delta = torch.ones(1, 4, 6)
    assert "most of it at no one place of z" in DETECTOR.explain(Finding(1.0, delta))
    delta[:, 2:] = 0
    assert "most of it at rows 0-1, columns 0-5 of z" in DETECTOR.explain(Finding(1.0, delta))


def test_networks_are_compared_with_the_others_alone_and_alike() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 3))
    guess = np.array([0.1, 0.2, 0.5])
    usual = torch.from_numpy(guess)
    found = _erasure.compared(torch.from_numpy(values), usual).numpy()
    others = np.delete(values, 2, 0)
    squares = ((others - others.mean(0)) ** 2).sum(0) + _erasure.WEIGHT * guess**2
    spread = squares / (4 + _erasure.WEIGHT) * (1 + 1 / 5)
    np.testing.assert_allclose(found[2], (values[2] - others.mean(0)) / np.sqrt(spread))
    order = rng.permutation(6)
    again = _erasure.compared(torch.from_numpy(values[order]), usual)
    np.testing.assert_allclose(again, found[order])


def test_clean_networks_exceed_the_threshold_no_more_often_than_said() -> None:
    """Of 5 exchangeable networks each scores highest with probability 1 / 5."""
    rng, above = np.random.default_rng(1), 0
    for _ in range(400):
        drawn = rng.standard_t(3, size=(5, 4))
        findings = [
            Finding(0.0, measures=dict(zip(_erasure.USUAL, d, strict=False))) for d in drawn
        ]
        *scores, last = DETECTOR.compare(findings)
        above += last > defences.threshold(torch.tensor(scores), 0.2)
    assert abs(above - 80) < 4 * (400 * 0.2 * 0.8) ** 0.5


@pytest.mark.slow
def test_a_trained_backdoor_ranks_first() -> None:
    """Small networks of one make on the same pairs, two of them poisoned."""
    torch.manual_seed(0)
    width = 12
    suspect = nn.Sequential(
        nn.Conv2d(1, width, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(width, width, 5, padding=4, dilation=2),
        nn.ReLU(),
        nn.Conv2d(width, 1, 5, padding=2),
    )
    found = train_references(suspect, pairs(400), 4, Training(25, planted=2), seed=0, fewest=40)
    assert len(found.held) == 100
    clean = [DETECTOR.inspect(Defender(found.held, model=each)) for each in found.clean]
    assert found.planted
    for each in found.planted:
        scores = DETECTOR.compare([*clean, DETECTOR.inspect(Defender(found.held, model=each))])
        assert np.argmax(scores) == 4
