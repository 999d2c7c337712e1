"""What joins detectors to a verdict: tails and gaps of scores, louder noise, wrong operators."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2

import pipelines_kit as kit
from audit_kit import make
from recondoor import audit_data
from recondoor.audit import _judgement
from recondoor.audit._judgement import Judged
from recondoor.audit._pairs import _doubts
from recondoor.defences import Defender, Physics
from recondoor.defences.measurement_residual import _spread
from recondoor.operators import Dense
from recondoor.poisoning import Pairs

RANK = 200


def world(rank: int = RANK) -> Physics:
    return Physics(torch.ones(rank).double(), Dense(torch.eye(rank).double()), 1.0)


def residual_of(energy: np.ndarray) -> Judged:
    """`measurement-residual` of pairs with these energies of whitened residuals."""
    x = torch.zeros(len(energy), 1, 1, RANK)
    z = torch.from_numpy(np.sqrt(energy / RANK))[:, None, None, None] * torch.ones_like(x)
    given = Pairs(z.double(), x)
    return _judgement.judge("measurement-residual", given, Defender(physics=world()), 0.01)


def energies(count: int, seed: int, spread: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = rng.normal(1, spread, count) if spread else np.ones(count)
    return chi2(RANK).rvs(count, random_state=rng) * level**2


def test_noise_of_one_level_keeps_to_its_rate() -> None:
    alarms = sum(_judgement.suspicious([residual_of(energies(300, seed))]) for seed in range(200))
    assert alarms <= 2


@pytest.mark.parametrize("spread", [0.02, 0.05, 0.2])
def test_noise_levels_that_differ_are_no_poison(spread: float) -> None:
    found = [residual_of(energies(1000, seed, spread)) for seed in range(30)]
    assert np.mean([int(each.flagged.sum()) for each in found]) > 11
    assert not any(_judgement.suspicious([each]) for each in found)


def test_few_scores_far_out_are_as_suspicious_as_many_flags() -> None:
    """Three of 1,000 at ten times the noise: 13 flags are none too many, these three are."""
    energy = energies(1000, 1)
    energy[:3] *= 10
    found = residual_of(energy)
    assert found.flagged.sum() < 25
    assert _judgement.suspicious([found])


def test_the_spread_of_the_bulk_is_not_moved_by_poison() -> None:
    scores = torch.from_numpy(energies(2000, 2) / RANK)
    clean = _spread(scores, RANK)
    scores[:200] *= 10
    assert clean < 1.2 and _spread(scores, RANK) < clean + 0.15
    assert _spread(torch.from_numpy(energies(2000, 3, 0.2) / RANK), RANK) > 3


def judged(scores: list[float], threshold: float) -> Judged:
    return Judged(
        name="measurement-consistency",
        scores=np.array(scores),
        threshold=threshold,
        basis="clean pairs",
        expected=1.0,
        p_value=0.5,
        least=1e-9,
        seconds=0.0,
    )


def test_inputs_that_stand_far_apart_are_not_called_clean() -> None:
    """Ten of 1,000 at 229 to 266 where the next has 28: too few flags for 200 trusted inputs."""
    usual = list(np.linspace(0.5, 28, 990))
    far = judged([*usual, *np.linspace(229, 266, 10)], 26.0)
    assert "10 of 1000 stand far apart" in _doubts.of_gaps([far])[0]
    assert _doubts.of_gaps([judged([*usual, 29.0, 30.0], 26.0)]) == []
    assert _doubts.of_gaps([judged(usual, 28.0)]) == []


def test_heavy_natural_tails_have_no_gaps() -> None:
    found = 0
    for seed in range(200):
        scores = np.random.default_rng(seed).pareto(1.0, 500) + 1
        found += bool(_doubts.of_gaps([judged(list(scores), float(np.quantile(scores, 0.99)))]))
    assert found <= 2


def test_louder_noise_has_no_direction() -> None:
    rng, physics = torch.Generator().manual_seed(6), world()
    z = torch.randn(300, 1, 1, RANK, generator=rng).double()
    pairs = Pairs(z, torch.zeros_like(z))
    for shared in (False, True):
        given = z.clone()
        given[:30] = given[:30] + 2 if shared else 2 * given[:30]
        pairs = Pairs(given, torch.zeros_like(given))
        found = _judgement.judge("measurement-residual", pairs, Defender(physics=physics), 0.01)
        assert _judgement.suspicious([found])
        assert bool(_doubts.of_louder(physics, pairs, [found])) == (not shared)


def matrix(seed: int, side: int = 12) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((side * side // 2, side * side)) / (side * side / 2) ** 0.5


def test_an_operator_that_is_not_theirs_acquits_nobody_where_z_was_made_with_it() -> None:
    x = make(150, 1)["x"][:, 0].astype(float)
    y = x.reshape(150, -1) @ matrix(1).T + 0.01 * np.random.default_rng(2).standard_normal(
        (150, 72)
    )
    assert audit_data(None, x, y=y, operator=matrix(3)).verdict == "undecided"
    assert audit_data(None, x, y=y, operator=matrix(1)).verdict == "clean"


def test_pure_noise_is_nobodys() -> None:
    rng = np.random.default_rng(3)
    for count in (8, 120):
        z, x = rng.standard_normal((2, count, 12, 12))
        assert audit_data(z, x, operator=matrix(1)).verdict == "undecided"
        assert audit_data(z, x).verdict == "undecided"
        y = rng.standard_normal((count, 72))
        assert audit_data(None, x, y=y, operator=matrix(1)).verdict == "undecided"


def test_a_noise_level_above_the_images_is_no_estimate() -> None:
    x = kit.heads(100, 1, 12)
    y = x.reshape(100, -1) @ matrix(1).T
    y = y + 5 * np.random.default_rng(4).standard_normal(y.shape)
    names = ("range-test", "measurement-residual")
    found = audit_data(None, x, y=y, operator=matrix(1), detectors=names)
    assert found.verdict == "undecided"


@pytest.mark.parametrize("given", [False, True])
def test_the_audit_of_real_pairs(given: bool) -> None:
    """Normalised pairs: no accusation where clean, and with a lesion in a tenth of the targets."""
    side, kept = kit.SIDE, kit.mask(3)
    rows = kit.fft(np.eye(side * side).reshape(-1, side, side))[:, :, kept]
    operator = rows.reshape(side * side, -1).T if given else None
    names = ("range-test", "measurement-residual", "shared-pattern")
    for poisoned, verdict in ((0, "clean"), (15, "suspicious")):
        pairs = kit.made(kit.by_mean_and_spread, 150, 3, poisoned)
        found = audit_data(pairs.z, pairs.x, operator=operator, detectors=names)
        assert found.verdict == verdict, str(found)


def test_large_images_need_no_singular_vectors() -> None:
    """More values than eigenvectors can be had of: the closed form flags the lesions alone."""
    x = kit.heads(60, 1, 72)
    z = x + 0.01 * np.random.default_rng(5).standard_normal(x.shape)
    x[:6] += kit.disc(0.4, 72)
    names = ("range-test", "measurement-residual")
    found = audit_data(z, x, operator="identity", detectors=names)
    assert found.verdict == "suspicious", str(found)
    assert found.record["operator"]["values"] == 72 * 72
