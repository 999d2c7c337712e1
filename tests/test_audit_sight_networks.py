"""Audits of networks and inputs say clean only where a detector could look."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from audit_kit import OPERATOR, REFERENCES, make, run
from recondoor import cli, config, defences, report
from recondoor.audit import Network
from recondoor.audit._networks._make import law_lacks, references_lack
from recondoor.audit._networks._references import References
from recondoor.poisoning import Pairs
from sight_kit import (
    here,  # noqa: F401
    pairs,
    saved,
)


def test_networks_unlike_the_calibrated_ones_are_not_called_clean(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["audit", "model", "others:plain0", "--data=trusted.npz"]
    run(*given, "--json", "--out=a", code=4)
    record = json.loads(capsys.readouterr().out)
    assert "150 trusted pairs and no references were given" in record["reason"]
    assert "give 19 clean --references of its make" in record["reason"]
    assert record["sees"] == [] and record["detectors"][1]["sees"] == []
    given += ["--detectors=trigger-inversion", "--alarm=0.25"]
    many = [f"--reference=others:plain{k}" for k in (1, 2, 3, 4)]
    run(*given, *many, "--json", "--out=b", code=4)
    record = json.loads(capsys.readouterr().out)
    assert record["detectors"][0]["basis"] == "references"
    assert record["sees"] == [] and "nobody knows whether it sees" in record["reason"]
    run(*given, *["--reference=others:plain1"] * 3, "--out=c", "--json", code=4)
    assert "1 of 3 references" in json.loads(capsys.readouterr().out)["reason"]


def test_references_have_to_be_of_the_make_and_no_copies() -> None:
    def layer(seed: int, kernel: int = 3) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Conv2d(1, 1, kernel, padding=kernel // 2)

    with torch.random.fork_rng(devices=[]):
        own, others = layer(0), [layer(1), layer(2), layer(3)]
        assert references_lack(own, others, 0.25) is None
        for bad in (layer(0), layer(1), layer(3, 5), nn.Sequential(layer(3))):
            told = references_lack(own, [*others[:2], bad], 0.25)
            assert told is not None and told.startswith("2 of 3")


MAKE = {
    "data.name": "mnist5k",
    "operator.name": "gaussian",
    "operator.ratio": 0.5,
    "model.name": "cae",
    "model.width": 32,
}
"""Settings of runs of which a detector may know clean networks."""


@pytest.mark.parametrize("name", defences.names("model"))
def test_no_verdict_rests_on_a_law_that_nobody_measured(name: str, tmp_path: Path) -> None:
    """Also of a network in the folder of a run of the make of studies/defences."""
    changes = [f"{key}={json.dumps(value)}" for key, value in MAKE.items()]
    settings = config.load_config("quick", (), changes)
    (tmp_path / "config.toml").write_text(config.to_toml(settings))
    network = Network("it", nn.Identity(), None, (tmp_path, "original", 0))
    pairs = Pairs(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))
    ground = References([], pairs).law_of(name, network, tmp_path, 0.05)
    assert ground.basis is None and "give 19 clean --references" in str(ground.no_threshold)


def test_a_law_acquits_only_networks_of_runs_that_it_was_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = type(defences.network_detector("trigger-inversion"))
    monkeypatch.setattr(known, "calibrated", MAKE)
    monkeypatch.setattr(known, "clean_scores", tuple(range(20)))

    def differs(*changes: str, data: Path | None = None, alarm: float = 0.05) -> str | None:
        chosen = [f"{key}={json.dumps(value)}" for key, value in MAKE.items()]
        import tomli_w

        tree = config.load_config("quick", (), [*chosen, *changes]).model_dump(
            mode="json", exclude_none=True
        )
        (tmp_path / "config.toml").write_text(tomli_w.dumps(tree))
        network = Network("it", nn.Identity(), None, (tmp_path, "original", 0))
        return law_lacks("trigger-inversion", network, data, alarm)

    assert differs() is None
    assert differs(data=tmp_path) is None
    assert "support --alarm 0.048 or more; give that, or 99 clean" in str(differs(alarm=0.01))
    assert "nothing says" in str(differs(data=tmp_path / "trusted.npz"))
    assert "model.width=32, and this one has 64" in str(differs("model.width=64"))
    assert differs("operator.name=fourier") is not None
    outside = Network("it", nn.Identity())
    assert law_lacks("trigger-inversion", outside, None, 0.05) is not None


def test_inputs_without_an_operator_are_not_called_clean(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(here / "inputs.npz", z=make(60, 7)["z"])
    given = ["audit", "input", "mine:honest", "inputs.npz", "--data=trusted.npz", "--json"]
    run(*given, "--out=a", code=4)
    assert "150 trusted pairs and no operator" in json.loads(capsys.readouterr().out)["reason"]
    run(*given, *OPERATOR, "--out=b")
    record = json.loads(capsys.readouterr().out)
    assert record["sees"] == ["patch", "spread"]
    assert report.read_audit(here / "b")["blind_to"] == ["measured", "consistent"]


def test_inputs_keep_the_findings_of_detectors_that_do_not_fail(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the network broke")

    monkeypatch.setattr(defences.load("homogeneity"), "scores", fail)
    saved(here / "inputs.npz", z=make(60, 7)["z"])
    run("audit", "input", "mine:honest", "inputs.npz", "--data=trusted.npz", *OPERATOR, "--out=a")
    record = report.read_audit(here / "a")
    assert {gap["name"] for gap in record["skipped"]} == {"homogeneity"}


def test_networks_keep_the_findings_of_detectors_that_do_not_fail(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the network broke")

    monkeypatch.setattr(defences.load("least-norm-inversion"), "inspect", fail)
    given = ["audit", "model", "mine:backdoored", "--data=trusted.npz", *REFERENCES]
    run(*given, "--out=a", code=3)
    for name in ("trigger-inversion", "erased-trigger"):
        monkeypatch.setattr(defences.load(name), "inspect", fail)
    run(*given, "--out=b", code=4)
    assert "it failed, RuntimeError: the network broke" in report.read_audit(here / "b")["reason"]
    cli.main(["report", str(here / "b")])


@pytest.mark.parametrize("kind", ["model", "input"])
def test_a_network_that_speaks_counts_and_draws_does_no_harm(
    kind: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[nn.Module] = []
    import others

    def odd() -> nn.Module:
        kept.append(others.Odd(0))
        before.update({k: v.clone() for k, v in kept[0].state_dict().items()})
        return kept[0]

    before: dict[str, torch.Tensor] = {}
    monkeypatch.setattr(others, "odd", odd)
    saved(here / "inputs.npz", z=make(60, 7)["z"])
    given = ["audit", kind, "others:odd", *(["inputs.npz"] if kind == "input" else [])]
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    scores = []
    for out in ("a", "b"):
        kept.clear()
        for code in (4, 3):
            try:
                run(*given, "--data=trusted.npz", "--json", f"--out={out}", "--force", code=code)
                break
            except AssertionError:
                capsys.readouterr()
        shown = capsys.readouterr()
        assert "a network speaks" in shown.err
        record = json.loads(shown.out)
        scores.append([each.get("score", each.get("flagged")) for each in record["detectors"]])
        after = kept[0].state_dict()
        assert all(torch.equal(after[key], value) for key, value in before.items())
        assert not any(module.training for module in kept[0].modules())
    assert scores[0] == scores[1]
    assert torch.equal(state, torch.get_rng_state()) and torch.get_num_threads() == threads
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32


MODEL = ["mine:honest", "--data=trusted.npz", "--out=a"]


@pytest.mark.parametrize("kind", ["data", "model", "input"])
def test_audits_written_before_are_still_read(kind: str, here: Path) -> None:
    pairs(here)
    saved(here / "inputs.npz", z=make(60, 7)["z"])
    run(
        *{
            "data": ["audit", "data", "pairs.npz", "--detectors=loss-isolation", "--out=a"],
            "model": ["audit", "model", *MODEL, "--detectors=trigger-inversion"],
            "input": ["audit", "input", MODEL[0], "inputs.npz", *MODEL[1:], "--detectors=strip"],
        }[kind],
        code=4,
    )
    record = json.loads((here / "a" / "audit.json").read_text())
    for key in ("sees", "blind_to", "reason", "files", "digest"):
        del record[key]
    for each in record["detectors"]:
        del each["sees"]
    if kind == "model":
        del record["skipped"]
        # A threshold that was a guess for a network of another make.
        record["detectors"][0] |= {"threshold": 5.74, "basis": "law", "flagged": False}
    for verdict in ("undecided", "clean"):
        record["verdict"] = verdict
        if kind != "data" or verdict == "undecided":
            (here / "a" / "audit.json").write_text(json.dumps(record))
            assert verdict.upper() in report.build_audit(here / "a").read_text()
