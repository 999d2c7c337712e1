"""What is asked of a network before detectors look, each answer with the remedy in one line."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from audit_kit import SHAPE, furnish, refusal, run
from recondoor.audit import read_network
from recondoor.audit._networks._probe import ROUNDING, lacking, probe
from recondoor.core.errors import DataError

NETWORKS = """
import torch
from torch import nn


class Of(nn.Module):
    def __init__(self, f):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)
        self.f = f

    def forward(self, z):
        return self.f(self.layer(z))


def fine():
    return nn.Sequential(Of(lambda h: h), nn.Dropout(0.5), nn.BatchNorm2d(1))


def noisy():
    return Of(lambda h: h + 0.1 * torch.rand_like(h))


def dropping():
    return Of(lambda h: nn.functional.dropout(h, 0.5, training=True))


def mixing():
    return nn.Sequential(Of(lambda h: h), nn.BatchNorm2d(1, track_running_stats=False))


def counting():
    calls = []
    return Of(lambda h: (calls.append(1), h + 0.1 * len(calls))[1])


def double():
    return Of(lambda h: h.double())


def several():
    return Of(lambda h: (h, h))


def flat():
    return Of(lambda h: h.flatten(1))


def cut():
    return Of(lambda h: h.detach())


def steep():
    return Of(lambda h: torch.sqrt((0 * h).abs()) + h)


def whole():
    return Of(lambda h: torch.from_numpy(h.numpy()))


def endless():
    return Of(lambda h: h / 0)


def empty():
    return Of(lambda h: torch.full_like(h, 2.0) * 3e38)


def large():
    return Of(lambda h: h[:10**9].new_zeros(10**13))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    furnish(tmp_path, monkeypatch)
    monkeypatch.delitem(__import__("sys").modules, "networks", raising=False)
    (tmp_path / "networks.py").write_text(NETWORKS)
    return tmp_path


def test_a_network_that_can_give_everything_lacks_nothing(here: Path) -> None:
    before = torch.random.get_rng_state()
    found = read_network("networks:fine", SHAPE)
    assert found.lacks == {}
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not found.model.training


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("noisy", "two answers to the same images"),
        ("dropping", "(dropout, noise)"),
        ("counting", "two answers"),
        ("mixing", "lets the others in a batch decide"),
        ("double", "returns torch.float64 on cpu"),
        ("several", "returns tuple"),
        ("flat", "maps (2, 1, 12, 12) to (2, 144); expected the same shape"),
        ("endless", "NaN or infinite"),
        ("empty", "NaN or infinite"),
        ("large", "out of memory"),
    ],
)
def test_what_every_detector_needs_is_asked_for(
    name: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refusal(capsys, "audit", "model", f"networks:{name}", "--data=trusted.npz")
    assert said in told
    if name in ("noisy", "dropping", "counting", "mixing"):
        assert "every detector" in told


@pytest.mark.parametrize(
    ("name", "said"),
    [("cut", "cuts it off"), ("steep", "NaN or infinite"), ("whole", "which fails: RuntimeError")],
)
def test_a_gradient_is_missed_by_those_that_need_one(
    name: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = f"networks:{name}"
    run("audit", "model", network, "--data=trusted.npz", "--json", code=4)
    record = json.loads(capsys.readouterr().out)
    assert {gap["name"] for gap in record["skipped"]} == {
        "erased-trigger",
        "least-norm-inversion",
        "trigger-inversion",
    }
    assert all(said in gap["reason"] for gap in record["skipped"])
    given = ["clean", network, "--data=trusted.npz", "--out=new.safetensors"]
    assert said in refusal(capsys, *given)
    assert lacking(("strip", "homogeneity"), read_network(network, SHAPE).lacks) == {}


@pytest.mark.parametrize(("share", "told"), [(0.5, False), (2.0, True)])
def test_rounding_is_no_dependence(share: float, told: bool) -> None:
    """A batch of three adds to each image `share` of what rounding may make."""

    class Mixing(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return 1 + share * ROUNDING * float(len(z) == 3) + 0 * z

    if told:
        with pytest.raises(DataError, match="batch"):
            probe("net", Mixing(), SHAPE)
    else:
        assert probe("net", Mixing(), SHAPE).lacks == {}


def test_a_little_noise_is_told_and_let_pass() -> None:
    class Noisy(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return 1 + 0 * z + 4e-3 * torch.rand_like(z)

    (note,) = probe("net", Noisy(), SHAPE).notes
    assert "at random" in note
    drawn = re.search(r"\(([\d.]+) of the largest value\)", note)
    assert drawn is not None and 0.002 < float(drawn[1]) <= 0.004


def test_a_probe_is_cheap() -> None:
    """Four calls of at most three images each, and one backwards."""
    seen: list[int] = []

    class Counted(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            seen.append(len(z))
            return z + 0.0

    probe("net", Counted(), SHAPE)
    assert seen == [2, 3, 3, 2]
