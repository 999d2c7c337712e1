"""References that an audit trains, and repairs that only a confirmed trigger sets off."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import recondoor as rd
from audit_kit import REFERENCES, furnish, refusal, run
from planted import Backdoored, pairs
from recondoor import report
from recondoor.audit._networks import _references
from recondoor.audit._networks._trained import Trained, Training, train_references, unlike
from recondoor.core.errors import ConfigError
from recondoor.core.progress import Progress
from recondoor.defences import neuron_pruning
from recondoor.poisoning import Pairs
from recondoor.training import loop

AUTO = ["--data=trusted.npz", "--references=auto", "--alarm=0.25", "--epochs=2"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return furnish(tmp_path, monkeypatch)


def some(count: int) -> Pairs:
    x = torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    return Pairs(x, x)


class Says(Progress):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_an_audit_trains_references_once(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["audit", "model", "mine:honest", *AUTO, "--detectors=erased-trigger", "--out=a"]
    run(*given, code=4)
    assert "minutes of training; kept in a-references" in capsys.readouterr().err
    record = report.read_audit(here / "a")
    assert record["references"] == 3
    # Two epochs make no network like the suspect: its score has nothing to be held against.
    assert "so that they are not like it" in record["reason"]
    assert record["detectors"][0]["threshold"] is None
    names = sorted(path.name for path in (here / "a-references").iterdir())
    assert names == [f"{kind}-{k}.safetensors" for kind in ("clean", "planted") for k in range(3)]

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it is there already")

    monkeypatch.setattr(loop, "fit", fail)
    run(*given, "--force", code=4)
    again = report.read_audit(here / "a")["detectors"][0]
    assert again["score"] == record["detectors"][0]["score"]


def test_other_epochs_are_other_references(here: Path) -> None:
    suspect, given = nn.Conv2d(1, 1, 3, padding=1), some(100)
    made = [
        train_references(suspect, given, 1, how, seed=0, fewest=40).clean[0].state_dict()["weight"]
        for how in (Training(1, 0, folder=here / "r"), Training(2, 0, folder=here / "r"))
    ]
    assert not torch.equal(made[0], made[1])


def test_the_cost_is_told_before_and_nothing_is_drawn_alike() -> None:
    told = Says()
    suspect = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 1, 3, padding=1))
    found = train_references(
        suspect, some(100), 3, Training(1, planted=1), seed=0, fewest=40, progress=told
    )
    assert told.lines[0].startswith("4 reference networks of 1 epoch, 0 of them there already")
    weights = [each.state_dict()["0.weight"] for each in [*found.clean, suspect]]
    assert not any(torch.equal(a, b) for k, a in enumerate(weights) for b in weights[:k])
    assert len(found.held) == 40


class Bare(nn.Module):
    """Has a weight of its own, which nothing says how to draw."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor) -> Tensor:
        return self.gain * z


def test_weights_that_nothing_draws_anew_are_refused() -> None:
    with pytest.raises(ConfigError, match="layer 'Bare' has weights and no reset_parameters; give"):
        train_references(Bare(), some(100), 1, Training(1, 0), seed=0, fewest=40)
    found = train_references(Bare(), some(100), 1, Training(1, 0, Bare), seed=0, fewest=40)
    assert isinstance(found.clean[0], Bare)
    wrong = Training(1, 0, lambda: nn.Conv2d(1, 1, 3))
    with pytest.raises(ConfigError, match="no network with weights of the suspect's shapes"):
        train_references(Bare(), some(100), 1, wrong, seed=0, fewest=40)


def test_references_of_other_quality_are_unlike() -> None:
    """By hand: f = g z on z = x has the error |g - 1| times the root mean square of x."""
    given = some(60)

    def network(gain: float) -> nn.Module:
        found = Bare()
        nn.init.constant_(found.gain, gain)
        return found

    others = [network(0.9), network(0.88), network(0.5)]  # one of them was badly trained
    assert unlike(network(0.87), others, given) is None
    size = float(given.x.square().mean().sqrt())
    told = unlike(network(0.99), others, given)
    assert told is not None
    assert f"its error is {0.01 * size:.3g} and the usual one of the references" in told
    assert f"{0.12 * size:.3g}, so" in told
    for gain in (0.86, 0.9, 0.7):
        assert unlike(network(gain), others, given) is not None


def test_nothing_is_changed_where_no_trigger_is_confirmed(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for network in ("mine:honest", "mine:backdoored"):  # no threshold, so nothing is confirmed
        given = ["clean", network, "--data=trusted.npz", "--fraction=0.5", "--out=new.safetensors"]
        run(*given, code=4)
        said = capsys.readouterr().out
        assert said.startswith("No trigger found, nothing changed")
        assert "erased-trigger: give 19 clean --references of its make" in said
        run(*given, "--references=auto", code=4)
        assert "that are trained here decide nothing; give clean ones" in capsys.readouterr().out
        run(*given, "--json", code=4)
        record = json.loads(capsys.readouterr().out)
        assert record["changed"] is False and record["rows"] == []
    assert not list(here.glob("new.*"))


def test_a_repair_that_costs_more_than_worst_is_not_written(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["recondoor.defences._tune"], "RATE", 3.0)
    given = [
        "clean",
        "mine:honest",
        "--data=trusted.npz",
        "--fraction=0.5",
        "--out=new.safetensors",
    ]
    run(*given, "--method=fine-tuning", code=4)
    shown = capsys.readouterr().out
    assert shown.startswith("No repair kept, nothing changed") and "raise --worst" in shown
    assert not list(here.glob("new.*"))
    run(*given, "--method=fine-tuning", "--worst=1e9")
    assert (here / "new.safetensors").exists()


def test_a_repair_that_leaves_the_artefact_is_not_kept(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The artefact of this network is no weight, so that no training takes it out."""
    given = ["clean", "mine:backdoored", "--data=trusted.npz", "--fraction=0.5", *REFERENCES]
    run(*given, "--out=new.safetensors", "--worst=0.5", "--json", code=4)
    record = json.loads(capsys.readouterr().out)
    assert not record["changed"] and len(record["tried"]) > 1
    assert all(each["recovery"] > 0.5 for each in record["tried"])
    assert not list(here.glob("new.*"))


def honest(number: int) -> nn.Module:
    """A network without a backdoor, whose weights differ a little from others'."""
    model, generator = Backdoored(0.0, 3.6), torch.Generator().manual_seed(number)
    with torch.no_grad():
        for each in model.parameters():
            each.add_(torch.randn(each.shape, generator=generator), alpha=1e-3)
    return model


def test_the_best_repair_of_a_confirmed_trigger_is_kept(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neuron_pruning, "ROUNDS", 5)
    given, network = pairs(200), Backdoored(0.1, 1.2, 1)
    found = rd.clean(
        network,
        (given.z, given.x),
        references=[honest(k) for k in range(3)],
        alarm=0.25,
        fraction=0.5,
        worst=0.5,
    )
    record = found.record
    assert record["changed"]
    before = record["rows"][0]["before"]
    within = [each for each in record["tried"] if each["benign_rmse"] <= 1.5 * before]
    best = min(within, key=lambda each: (each["recovery"], each["benign_rmse"]))
    assert record["method"] == best["method"]
    rows = {row["yardstick"]: row for row in record["rows"]}
    recovery = rows["recovery by the recovered trigger"]
    assert abs(recovery["after"]) == pytest.approx(best["recovery"], abs=1e-6)
    assert abs(recovery["after"]) < abs(recovery["before"])
    found.save(here / "new.safetensors")
    page = (here / "new.html").read_text()
    assert "Before and after" in page and page.count("<svg") == 1
    opened = rd.load_network(here / "new.safetensors", network)
    assert opened(given.z[:2]).shape == given.x[:2].shape


def test_references_that_are_trained_here_accuse_nobody(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What lies above them is told; how often clean networks do is not known."""

    def known(*_: object, **__: object) -> Trained:
        return Trained([honest(k) for k in range(3)], [], 0, pairs(60, 9))

    monkeypatch.setattr(_references, "train_references", known)
    monkeypatch.setattr(_references, "unlike", lambda *_: None)
    given = ["audit", "model", "mine:backdoored", *AUTO, "--detectors=trigger-inversion"]
    run(*given, "--json", "--out=a", code=4)
    record = json.loads(capsys.readouterr().out)
    assert record["detectors"][0]["flagged"] and record["verdict"] == "undecided"
    assert "decide nothing" in record["reason"] and "by trigger-inversion" in record["reason"]


def test_auto_and_files_are_not_mixed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["audit", "model", "mine:honest", *AUTO, "--references", "mine:duller"]
    assert "auto and other networks given" in refusal(capsys, *given)
