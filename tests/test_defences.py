"""Contract of every registered defence of pairs, and closed forms of the ones that have any."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recondoor import defences
from recondoor.core.errors import ConfigError
from recondoor.defences import (
    Defender,
    _features,
    spectre,
)
from recondoor.poisoning import Pairs
from recondoor.testing import PairDetectorContract
from recondoor.testing._defences import world

NAMES = defences.names("pairs")
SHAPE = (1, 12, 12)
ALARM = 0.05
every = pytest.mark.parametrize("name", NAMES)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def defender(**more: Any) -> Defender:
    _, physics, model = world()
    return Defender(physics=physics, model=model, **more)


def part(pairs: Pairs, start: int, stop: int) -> Pairs:
    return Pairs(pairs.z[start:stop].clone(), pairs.x[start:stop].clone())


class TestContract(PairDetectorContract):
    names = NAMES


def variants(name: str) -> list[Callable[[Pairs, Defender], Tensor]]:
    detector: Any = defences.pair_detector(name)
    published = detector.baseline(part(world()[0], 0, 20), defender())
    return [detector.scores] if published is None else [detector.scores, detector.baseline]


def test_every_detector_of_pairs_is_registered() -> None:
    expected = {"measurement-residual", "range-test", "spectral-signatures", "spectre"}
    assert {*expected, "activation-clustering", "loss-isolation"} <= set(NAMES)


@every
def test_scores_do_not_depend_on_the_order_of_pairs(name: str) -> None:
    if name in ("spectre", "activation-clustering"):
        pytest.skip("its sample or its starts are drawn by position")
    pairs = part(world()[0], 0, 200)
    order = torch.randperm(200, generator=generator(7))
    shuffled = Pairs(pairs.z[order], pairs.x[order])
    for scores in variants(name):
        expected = scores(pairs, defender())[order]
        torch.testing.assert_close(scores(shuffled, defender()), expected, rtol=1e-4, atol=1e-7)


def planted(share: float) -> tuple[Pairs, Tensor]:
    """Pairs of which some have a bright square in a corner of x."""
    pairs = part(world()[0], 0, 400)
    poisoned = torch.arange(400) < round(400 * share)
    pairs.x[poisoned, :, :3, :3] += 3.0
    return pairs, poisoned


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("spectral-signatures", 0.3),
        ("activation-clustering", 0.3),
        ("spectre", 0.05),
        ("loss-isolation", 0.05),
    ],
)
def test_a_strong_artefact_in_the_residual_is_found(name: str, share: float) -> None:
    pairs, poisoned = planted(share)
    scores = defences.pair_detector(name).scores(pairs, defender())
    assert float(scores[poisoned].min()) > float(scores[~poisoned].quantile(0.95))


def test_spectral_signature_is_numpys_top_singular_vector() -> None:
    pairs = part(world()[0], 0, 200)
    features = world()[2].features(pairs.z).flatten(1).detach().double().numpy()  # type: ignore[operator]
    centred = features - features.mean(0)
    _, _, vectors = np.linalg.svd(centred, full_matrices=False)
    found = defences.pair_detector("spectral-signatures").baseline(pairs, defender())
    assert found is not None
    np.testing.assert_allclose(found.numpy(), (centred @ vectors[0]) ** 2, rtol=1e-4, atol=1e-9)


def test_quantum_entropy_scores_are_those_of_the_paper() -> None:
    """QUE of whitened data with a matrix exponential, as the paper writes it."""
    h = torch.randn(300, 5, generator=generator(3), dtype=torch.float64)
    h[:10, 0] += 8
    white = spectre._whitened(h, 0)
    excess = white.T @ white / len(white) - torch.eye(5, dtype=torch.float64)
    q = torch.linalg.matrix_exp(spectre.ALPHA * excess / torch.linalg.matrix_norm(excess, 2))
    expected = ((white @ q) * white).sum(1) / q.trace()
    found = spectre._que(h, 0)
    assert float(torch.corrcoef(torch.stack((found, expected)))[0, 1]) > 0.999
    assert set(found.topk(10).indices.tolist()) == set(range(10))


class Hooked(nn.Module):
    """A network without `features`, whose narrowest layer is the second."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.code = nn.Conv2d(4, 2, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(2, 1, 4, stride=4)

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.up(self.code(self.down(z)))
        return out


class Unhooked(nn.Module):
    """A network that calls no layer as a module."""

    def forward(self, z: Tensor) -> Tensor:
        return z


def test_features_come_from_the_narrowest_layer() -> None:
    pairs, model = part(world()[0], 0, 10), Hooked()
    expected = model.code(model.down(pairs.z)).flatten(1).double()
    torch.testing.assert_close(_features.features(model, pairs.z), expected.detach())
    assert not model.code._forward_hooks
    with pytest.raises(ConfigError, match=r"features\(z\)"):
        _features.features(Unhooked(), pairs.z)


def test_the_scale_of_a_pixel_is_its_median_absolute_deviation() -> None:
    x = torch.randn(1001, *SHAPE, generator=generator(4)) * 3
    found = _features.scaled_residual(Unhooked(), torch.zeros_like(x), x, _features.FINE)
    assert float(found.std()) == pytest.approx(1, abs=0.02)
    assert float(found.median(0).values.abs().max()) < 1e-6
    x[:300] += 100  # fewer than half move median and scale by little
    found = _features.scaled_residual(Unhooked(), torch.zeros_like(x), x, 0.0)
    assert 0.4 < float(found[300:].std()) < 1.1


@pytest.mark.parametrize("count", [99, 100, 250])
def test_threshold_is_exceeded_at_the_rate(count: int) -> None:
    """A further score is above it with probability floor((N + 1) alarm) / (N + 1), exactly."""
    scores = torch.rand(20_000, count + 1, generator=generator(5), dtype=torch.float64)
    above = [float(row[0]) > defences.threshold(row[1:], 0.01) for row in scores[:4000]]
    expected = int((count + 1) * 0.01 + 1e-9) / (count + 1)
    assert np.mean(above) == pytest.approx(expected, abs=4 * (expected / 4000) ** 0.5)


@pytest.mark.parametrize(
    ("count", "alarm", "said"),
    [(98, 0.01, "give 99 or more"), (5, 0.0, "between 0 and 1"), (5, 1.0, "between 0 and 1")],
)
def test_a_threshold_that_cannot_be_is_refused(count: int, alarm: float, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        defences.threshold(torch.rand(count), alarm)
    with pytest.raises(ConfigError, match="no clean pairs"):
        defences.pooled(defences.pair_detector("range-test").scores, world()[0], defender())
