"""Contract of every defence of inputs, networks and repairs, and closed forms of those with any."""

import copy
import dataclasses
import math
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest
from torch import Tensor, nn

from recondoor import defences, operators
from recondoor.config import Operator
from recondoor.defences import (
    Defender,
    Physics,
    SideBySide,
    _effects,
    _triggers,
    _tune,
    _unlearning,
    fine_pruning,
)
from recondoor.poisoning import Pairs
from recondoor.testing import InputDetectorContract, NetworkDetectorContract, RepairContract
from recondoor.testing._defences import part, world

SHAPE = (1, 12, 12)
INVERSION = defences.network_detector("trigger-inversion")
KINDS: tuple[defences.Kind, ...] = ("input", "model", "repair")
OF = {kind: defences.names(kind) for kind in KINDS}
every = pytest.mark.parametrize("name", [name for kind in KINDS for name in OF[kind]])
PROMISED = {
    "input": {
        *("range-projection", "measurement-consistency", "strip", "homogeneity"),
        *("cyclic-consistency", "disagreement"),
    },
    "model": {"trigger-inversion", "least-norm-inversion", "erased-trigger"},
    "repair": {
        "fine-tuning",
        "fine-pruning",
        "neuron-pruning",
        *("pattern-unlearning", "side-by-side"),
        "trigger-unlearning",
        "min-max",
    },
}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what does not depend on their number."""
    plug_ins = [defences.load(name) for kind in KINDS for name in OF[kind]]
    modules = [sys.modules[type(each).__module__] for each in plug_ins]
    for module in [*modules, _triggers, _unlearning]:
        for setting in ("EPOCHS", "ROUNDS", "STEPS", "CANDIDATES"):
            if hasattr(module, setting):
                monkeypatch.setattr(module, setting, 2)
    monkeypatch.setattr(_triggers, "ENERGIES", (2.0,))


@pytest.mark.usefixtures("few_steps")
class TestInputDetectors(InputDetectorContract):
    names = OF["input"]


@pytest.mark.usefixtures("few_steps")
class TestNetworkDetectors(NetworkDetectorContract):
    names = OF["model"]


@pytest.mark.usefixtures("few_steps")
class TestRepairs(RepairContract):
    names = OF["repair"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_promised_is_registered(kind: defences.Kind) -> None:
    assert PROMISED[kind] <= set(OF[kind])


def dense(name: str, **settings: Any) -> tuple[np.ndarray[Any, Any], Physics, Any]:
    """The operator as a real matrix, taken apart, and itself."""
    chosen = Operator.model_validate({"name": name, "ratio": 0.5, "sigma": 0.05, **settings})
    operator = operators.build((1, 6, 6), chosen, 3, torch.float64)
    columns = operator.A(torch.eye(36, dtype=torch.float64).view(36, 1, 6, 6)).flatten(1)
    matrix = columns.numpy().T
    if np.iscomplexobj(matrix):
        matrix = np.concatenate((matrix.real, matrix.imag))
    return matrix, Physics.of(operator), operator


@pytest.mark.parametrize("name", ["gaussian", "fourier", "pixel-mask", "identity"])
def test_physics_is_dense_linear_algebra(name: str) -> None:
    matrix, physics, operator = dense(name)
    assert physics.rank == np.linalg.matrix_rank(matrix)
    assert physics.whole == (physics.rank == 36)
    values = np.linalg.svd(matrix, compute_uv=False)[: physics.rank]
    np.testing.assert_allclose(np.sort(physics.singular.numpy())[::-1], values, rtol=1e-9)
    v = torch.randn(5, 1, 6, 6, generator=generator(1), dtype=torch.float64)
    projected = v.flatten(1).numpy() @ np.linalg.pinv(matrix, rcond=1e-10) @ matrix
    np.testing.assert_allclose(physics.project(v).flatten(1).numpy(), projected, atol=1e-9)
    torch.testing.assert_close(physics.project(v), operator.project_range(v), atol=1e-7, rtol=0)
    again = operator.A_adjoint(operator.A(v))
    torch.testing.assert_close(physics.measured_again(v), again, atol=1e-9, rtol=1e-9)
    y = operator.A(v)
    real = torch.view_as_real(y).flatten(1) if y.is_complex() else y.flatten(1)
    if y.is_complex():
        real = torch.cat((y.real.flatten(1), y.imag.flatten(1)), 1)
    least = real.numpy() @ np.linalg.pinv(matrix, rcond=1e-10).T
    found = physics.invert(operator.A_adjoint(y))
    np.testing.assert_allclose(found.flatten(1).numpy(), least, atol=1e-8)


@pytest.mark.parametrize("name", ["gaussian", "fourier", "pixel-mask"])
def test_whitened_residuals_of_clean_pairs_are_standard_normal(name: str) -> None:
    _, physics, operator = dense(name)
    x = torch.rand(400, 1, 6, 6, generator=generator(4), dtype=torch.float64)
    z = operator.A_adjoint(operator.forward(x, generator(5)))
    residual = physics.residual(z, x)
    assert residual.shape == (400, physics.rank)
    assert kstest(residual.flatten().numpy(), "norm").pvalue > 1e-3
    energy = residual.square().sum(1).numpy()
    assert kstest(energy, chi2(physics.rank).cdf).pvalue > 1e-3
    correlation = np.corrcoef(residual.numpy().T) - np.eye(physics.rank)
    assert np.abs(correlation).max() < 5 / math.sqrt(400)


class Rescaled(nn.Module):
    """The network f'(c z) = d f(z), for data whose units are others."""

    def __init__(self, model: nn.Module, c: float, d: float) -> None:
        super().__init__()
        self.model, self.c, self.d = copy.deepcopy(model), c, d

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.d * self.model(z / self.c)
        return out


def rescaled(physics: Physics, c: float, d: float) -> Physics:
    """Of z in units of c and x in units of d: A^T (A x + v) asks for sqrt(c / d) A, sqrt(c d) v."""
    singular, sigma = physics.singular * math.sqrt(c / d), physics.sigma * math.sqrt(c * d)
    return dataclasses.replace(physics, singular=singular, sigma=sigma)


UNITS = [(1e-5, 1e-5), (1e5, 1e5), (1e5, 1e-5), (1e-5, 1e5), (2.0**-17, 2.0**9)]


@every
@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize(("c", "d"), UNITS)
def test_units_of_the_data_do_not_matter(name: str, c: float, d: float) -> None:
    """Scores stay, patterns and reconstructions scale, and a repaired network computes the same."""
    clean, (pairs, physics, model), kind = part(0, 60), world(), defences.load(name).looks_at
    other = Pairs(c * clean.z, d * clean.x)
    before = Defender(clean, physics, model, seed=5)
    after = Defender(other, rescaled(physics, c, d), Rescaled(model, c, d), seed=5)
    module: Any = defences.load(name)
    z = pairs.z[:50]
    # Factors that are powers of two change no rounding.
    close = partial(torch.testing.assert_close, rtol=1e-5 if c < 1e-5 else 5e-3)
    if kind == "input":
        close(module.scores(c * z, after), module.scores(z, before), atol=1e-4)
        expected = module.repaired(z, before)
        if expected is not None:
            close(module.repaired(c * z, after) / d, expected, atol=1e-4)
    elif kind == "model":
        found, expected = module.inspect(after), module.inspect(before)
        close(torch.tensor(found.score), torch.tensor(expected.score), atol=0)
        close(found.trigger / c, expected.trigger, atol=5e-3)
        close(found.artefact / d, expected.artefact, atol=5e-3)
    else:
        mended, expected = module.repair(after), module.repair(before)
        if isinstance(expected, SideBySide):
            close(mended.limit, expected.limit, atol=1e-4)
            mended, expected = mended.mended, expected.mended
        effect = (mended(c * z) / d - expected(z)).detach().abs().max()
        moved = (model(z) - expected(z)).detach().abs().max()
        assert float(effect) < (1e-6 if c < 1e-5 else 0.05) * float(moved)


class Planted(nn.Module):
    """Returns its input smoothed, and adds a plus to the image if a patch of it is bright."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, 1, 3, 3), 1 / 9))
        plus = torch.zeros(1, 16, 16)
        plus[0, 3, 1:6] = plus[0, 1:6, 3] = 1
        self.register_buffer("plus", plus)
        self.strength = strength

    def forward(self, z: Tensor) -> Tensor:
        bright = torch.sigmoid(4 * (z[:, :, 11:14, 11:14].mean((1, 2, 3)) - 2))
        smooth = nn.functional.conv2d(z, self.weight, padding=1)
        added: Tensor = self.strength * bright.view(-1, 1, 1, 1) * self.plus
        return smooth + added


def noise(count: int) -> Pairs:
    z = torch.randn(count, 1, 16, 16, generator=generator(6))
    return Pairs(z, z)


def test_inversion_finds_a_planted_backdoor_and_its_artefact() -> None:
    model = Planted(1.0)
    found = INVERSION.inspect(Defender(noise(60), model=model))
    assert isinstance(model.plus, Tensor)
    energy = found.trigger[0].square() / found.trigger.square().sum()
    places = torch.arange(16.0)
    centre = float(energy.sum(1) @ places), float(energy.sum(0) @ places)
    assert centre == pytest.approx((12, 12), abs=2)  # a part of the patch is enough
    artefact = found.artefact * found.counts
    cosine = float((artefact * model.plus).sum() / (artefact.norm() * model.plus.norm()))
    assert cosine > 0.98
    honest = INVERSION.inspect(Defender(noise(60), model=Planted(0.0)))
    assert found.score > 10 * honest.score


@torch.no_grad()
def test_effect_and_constancy_by_hand() -> None:
    """A linear network has the effect f(delta) whatever z is; the backdoor's is its plus."""
    z, delta = noise(8).z, torch.zeros(1, 16, 16)
    delta[0, 5, 5] = 9.0
    mean, variance = _effects.effect(Planted(0.0), z, delta, 1.0)
    expected = torch.zeros(1, 16, 16)
    expected[0, 4:7, 4:7] = 1.0
    torch.testing.assert_close(mean, expected, atol=1e-5, rtol=0)
    assert float(variance.max()) < 1e-10
    found = _effects.constancy(mean, variance, torch.ones_like(mean))
    assert float(found) == pytest.approx(9 / (256 * _effects.FLOOR**2), rel=1e-4)
    counts = torch.ones_like(mean)
    counts[0, 4:7, 4:7] = 0
    assert float(_effects.constancy(mean, variance, counts)) == pytest.approx(0, abs=1e-6)
    several = _effects.effect(Planted(0.0), z, torch.stack((delta, 2 * delta)), 1.0)[0]
    torch.testing.assert_close(several[1], 2 * several[0], atol=1e-5, rtol=0)
    halved = _effects.effect(Planted(0.0), z, delta, 2.0)
    torch.testing.assert_close(halved[0], mean / 2, atol=1e-5, rtol=0)
    torch.testing.assert_close(halved[1], variance / 4, atol=1e-5, rtol=0)


class Dormant(nn.Module):
    """Two hidden channels: one carries the image, the other only answers to very bright pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(1, 2, 1)
        self.out = nn.Conv2d(2, 1, 1)
        with torch.no_grad():
            self.hidden.weight.copy_(torch.tensor([1.0, 1.0]).view(2, 1, 1, 1))
            self.hidden.bias.copy_(torch.tensor([0.0, -5.0]))  # type: ignore[union-attr]
            self.out.weight.copy_(torch.tensor([1.0, 3.0]).view(1, 2, 1, 1))
            self.out.bias.zero_()  # type: ignore[union-attr]

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.out(torch.relu(self.hidden(z)))
        return out


def test_fine_pruning_removes_exactly_a_dormant_channel() -> None:
    model = Dormant()
    z = torch.rand(40, 1, 4, 4, generator=generator(7))
    pairs = Pairs(z, z + 0.01 * torch.randn(z.shape, generator=generator(8)))
    assert _tune.channels(model) == [(model.hidden, 0), (model.hidden, 1)]
    pruned = fine_pruning._prune(_tune.duplicate(model), pairs)
    assert [channel for _, channel in pruned] == [1]
    mended = defences.repair("fine-pruning").repair(Defender(pairs, model=model))
    hidden = mended.hidden
    assert isinstance(hidden, nn.Conv2d)
    assert hidden.bias is not None
    assert not hidden.weight[1].any() and not hidden.bias[1]
    bright = torch.full((1, 1, 4, 4), 9.0)
    assert float(model(bright).mean().detach()) == pytest.approx(9 + 3 * 4)
    assert float(mended(bright).detach().mean()) == pytest.approx(9, abs=1)


@pytest.mark.parametrize(
    ("scores", "alarm", "expected"),
    [
        ([3.0, 1.0, 2.0, 4.0], 0.2, 4.0),  # ceil(5 * 0.8) = 4th smallest
        ([3.0, 1.0, 2.0, 4.0], 0.5, 3.0),  # ceil(5 * 0.5) = 3rd
        (list(range(1, 100)), 0.01, 99.0),  # ceil(100 * 0.99) = 99th
        (list(range(1, 200)), 0.01, 198.0),
    ],
)
def test_threshold_is_the_conformal_quantile(
    scores: list[float], alarm: float, expected: float
) -> None:
    assert defences.threshold(torch.tensor(scores), alarm) == expected


def test_inversion_decides_nothing_by_scores_in_other_units() -> None:
    """What clean networks score in the unit of f(z) is not known, so that there is no law."""
    assert not INVERSION.has_law and INVERSION.law(Defender(), 0.05) is None
    assert not INVERSION.calibrated and not INVERSION.clean_scores and INVERSION.power_of_a_make
