"""Pixel range: what it sees, its honest p values, and the attack that stays in range."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import audit_kit
from recondoor import data, operators
from recondoor.audit import Request, _judgement, audit_data
from recondoor.config import from_dict
from recondoor.core.errors import ConfigError
from recondoor.defences import Defender, Physics, pixel_range
from recondoor.defences.measurement_residual import MeasurementResidual
from recondoor.defences.range_test import RangeTest
from recondoor.poisoning import Pairs, PoisonedPairs
from recondoor.studies import build_scene

SHAPE = (1, 8, 8)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def strokes(count: int, seed: int) -> Tensor:
    """White on black, on 256 levels, the border black."""
    x = torch.zeros(count, *SHAPE)
    drawn = torch.rand(count, 1, 6, 6, generator=generator(seed))
    x[:, :, 1:-1, 1:-1] = ((drawn - 0.5).clamp_min(0) * 2 * 255).round() / 255
    return x


def pairs(count: int, seed: int) -> Pairs:
    x = strokes(count, seed)
    return Pairs(x + 0.01 * torch.randn(x.shape, generator=generator(seed + 1)), x)


def scores(given: Pairs, clean: Pairs | None = None) -> Tensor:
    return pixel_range.PixelRange().scores(given, Defender(clean=clean))


@pytest.mark.parametrize("kind", ["darker", "brighter", "off the levels", "grey"])
@pytest.mark.parametrize("known", [True, False])
def test_what_is_unusual_stands_out(kind: str, known: bool) -> None:
    given = pairs(300, 1)
    x = given.x[:10]
    if kind == "darker":
        x -= 0.3 * (torch.rand(x.shape, generator=generator(5)) < 0.2)
    elif kind == "brighter":
        x[:, :, 0, 0] = 1.4
    elif kind == "off the levels":
        x += (0.001 * torch.rand(x.shape, generator=generator(5))) * (x < 0.9)
    else:
        x[:] = ((0.3 + 0.2 * torch.rand(x.shape, generator=generator(5))) * 255).round() / 255
    found = scores(given, pairs(300, 7) if known else None)
    assert float(found[:10].min()) > 1.5 * float(found[10:].max())


def test_levels_count_only_where_nearly_all_lie_on_them() -> None:
    given = pairs(300, 1)
    given.x[:60] += 0.001 * torch.rand(60, *SHAPE, generator=generator(5))
    usual = pixel_range.Usual.of(given.x.flatten(1).double())
    assert usual.step == 0
    usual = pixel_range.Usual.of(given.x[60:].flatten(1).double())
    assert usual.step == pytest.approx(1 / 255, rel=1e-4)


@pytest.mark.parametrize("tail", ["uniform", "lognormal", "constant"])
def test_false_alarms_keep_to_their_law(tail: str) -> None:
    """P values of clean pairs against clean ones, of whatever law, are no smaller than they say."""
    values = []
    for seed in range(200):
        x = torch.rand(160, *SHAPE, generator=generator(seed))
        if tail == "lognormal":
            x = x * torch.randn(160, 1, 1, 1, generator=generator(seed + 1000)).mul(1.5).exp()
        elif tail == "constant":
            x = torch.zeros_like(x)
        given, clean = Pairs(x[:60], x[:60]), Pairs(x[60:], x[60:])
        judged = _judgement.judge("pixel-range", given, Defender(clean=clean), 0.01)
        assert judged.p_value is not None
        values.append(judged.p_value)
    for level in (0.5, 0.1, 0.02):
        share = float(np.mean(np.array(values) <= level))
        assert share <= level + 4 * (level * (1 - level) / 200) ** 0.5


def test_without_clean_pairs_it_ranks_only() -> None:
    judged = _judgement.judge("pixel-range", pairs(100, 1), Defender(), 0.01)
    assert judged.threshold is None and judged.p_value is None


def world(space: str, count: int = 700) -> tuple[Pairs, Pairs, Pairs, float]:
    """Training pairs of a study of digits, clean pairs, all poisoned pairs, and the harm's L2."""
    config = from_dict(
        {
            "data": {"limit": 2 * count, "test": 0.4},
            "trigger": {"inject": "x"},
            "artefact": {"space": space},
            "poison": {"ratio": 0.02},
            "attack": {"names": ["none", "heuristic"]},
        }
    )
    scene = build_scene(config, data.load("mnist5k"), 0, torch.device("cpu"))
    artefact = scene.planted(config, scene.trigger)
    poisoned = PoisonedPairs(scene.train, scene.plan, scene.trigger, artefact)
    given = Pairs(*poisoned.batch(torch.arange(len(scene.train))))
    bad = Pairs(scene.test.z + scene.trigger.delta, scene.test.x + artefact.planted)
    return given, scene.test, bad, float(artefact.pattern.norm())


def test_consistent_pairs_leave_the_range_and_those_in_range_do_not() -> None:
    _, clean, bad, harm = world("consistent")
    assert float(bad.x.amin((1, 2, 3)).max()) < -0.05
    _, _, inside, left = world("consistent-in-range")
    stray = ((inside.x < -1e-5) | (inside.x > 1 + 1e-5)).double()
    assert float(stray.mean()) < 0.002
    assert 0.05 * harm < left < harm
    assert float(scores(bad, clean).min()) > float(scores(clean, clean).max())


@pytest.mark.parametrize("space", ["consistent", "consistent-in-range"])
def test_physics_sees_neither(space: str) -> None:
    _, clean, bad, _ = world(space)
    operator = operators.build((1, 28, 28), from_dict({}).operator, 0, torch.float64)
    defender = Defender(physics=Physics.of(operator))
    assert not bool(RangeTest().scores(bad, defender).any())
    found, usual = (MeasurementResidual().scores(each, defender) for each in (bad, clean))
    torch.testing.assert_close(found, usual, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"trigger": {"inject": "z"}}, "set trigger.inject to x or y"),
        ({"trigger": {"inject": "x"}}, "set attack.names to none,heuristic"),
        (
            {"trigger": {"inject": "x"}, "attack": {"names": ["heuristic"], "l2": 3.0}},
            "leave attack.l2",
        ),
    ],
)
def test_what_would_leave_the_range_again_is_refused(
    settings: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=f"consistent-in-range.*{said}"):
        from_dict({**settings, "artefact": {"space": "consistent-in-range"}})


def test_a_few_consistent_pairs_are_suspicious_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _, clean, bad, _ = world("consistent", 1500)
    count, few = 400, 12
    z, x = clean.z[:count].clone(), clean.x[:count].clone()
    z[:few], x[:few] = bad.z[:few], bad.x[:few]
    np.savez("pairs.npz", z=z.numpy(), x=x.numpy())
    np.savez("trusted.npz", z=clean.z[count:].numpy(), x=clean.x[count:].numpy())
    options = ["--operator", "gaussian", "--set", "operator.gaussian.ratio=0.5"]
    options += ["--set", "operator.sigma=0.01"]
    options += ["--detectors", "pixel-range,range-test,measurement-residual"]
    audit_kit.run("audit", "data", "pairs.npz", *options, "--clean", "trusted.npz", code=3)
    assert "12 of 400 pairs are flagged by pixel-range" in capsys.readouterr().out
    # Without clean pairs it cannot be known whether that is natural, but clean they are not called.
    audit_kit.run("audit", "data", "pairs.npz", *options, "--out=b", code=4)
    assert "12 of 400 pairs stand apart" in capsys.readouterr().out
    np.savez("pairs.npz", z=clean.z[:count].numpy(), x=clean.x[:count].numpy())
    audit_kit.run("audit", "data", "pairs.npz", *options, "--out=c")
    assert capsys.readouterr().out.startswith("CLEAN")
    request = Request(Path("pairs.npz"), None, Path("trusted.npz"), detectors=("pixel-range",))
    found = audit_data(request)
    assert found.verdict != "suspicious"
