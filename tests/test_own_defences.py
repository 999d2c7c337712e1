"""Detectors and repairs of one's own that do not keep to what is asked of them."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import recondoor as rd
from recondoor.core.errors import ConfigError

DEFENCES = """
import torch
from recondoor.defences import InputDetector, PairDetector, Repair


class Size(PairDetector):
    needs = ()

    def scores(self, pairs, defender):
        return pairs.z.flatten(1).norm(dim=1)

    def explain(self, score):
        return score


class Inputs(InputDetector):
    needs = ()

    def scores(self, z, defender):
        return z.flatten(1).norm(dim=1)

    def explain(self, score):
        return "large"


class InPlace(Repair):
    needs = ("model",)

    def repair(self, defender):
        with torch.no_grad():
            for weight in defender.model.parameters():
                weight.mul_(0.5)
        return defender.model


class Nothing(Repair):
    needs = ("model",)

    def repair(self, defender):
        return None
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that no other test has imported."""
    name = f"defences_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(DEFENCES)
    monkeypatch.chdir(tmp_path)
    return name


def pairs() -> tuple[Tensor, Tensor]:
    x = torch.rand(160, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return 0.9 * x, x


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Conv2d(1, 1, 3, padding=1)


def test_a_repair_that_changes_what_it_was_given_is_compared_with_what_that_was(here: str) -> None:
    given, (z, x) = network(), pairs()
    before = copy.deepcopy(given)
    mended = rd.clean(given, (z, x), method=f"{here}:InPlace", worst=100)
    assert torch.equal(given.weight, before.weight)
    assert torch.equal(mended.network.weight, before.weight / 2)
    told = mended.table.loc["benign RMSE"]
    # Measured on other pairs than all; the two errors are far apart.
    for column, model in (("before", before), ("after", mended.network)):
        with torch.no_grad():
            assert told[column] == pytest.approx(
                float((model(z) - x).square().mean().sqrt()), rel=0.05
            )


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("Nothing", "returns NoneType; expected a torch.nn.Module"),
        ("Size", "is a detector of pairs; expected a repair"),
    ],
)
def test_what_repairs_nothing_is_told(here: str, method: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"--method: '{here}:{method}' {said}"):
        rd.clean(network(), pairs(), method=f"{here}:{method}")


def test_a_detector_of_something_else_or_without_words_is_told(here: str) -> None:
    with pytest.raises(ConfigError, match="is a detector of inputs; expected a detector of pairs"):
        rd.audit_data(*pairs(), detectors=f"{here}:Inputs")
    z, x = pairs()
    z[0] *= 9
    found = rd.audit_data(z[:40], x[:40], clean=(z[40:], x[40:]), detectors=f"{here}:Size")
    with pytest.raises(ConfigError, match="explain returns .*float.*; expected a text"):
        _ = found.suspicious
