"""What a verdict may say: clean only where something could be seen, and what goes wrong is told."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from audit_kit import OPERATOR, furnish, make, run, small_network
from recondoor import cli, config, defences, report
from recondoor.audit import Audit, Measured, Network, Request, audit_data
from recondoor.audit._make import references_lack, run_differs
from recondoor.config import Config
from recondoor.defences import homogeneity, measurement_residual, trigger_inversion
from recondoor.report import _audit_words

KINDS: tuple[defences.Kind, ...] = ("pairs", "input", "model")
PHYSICS = ("range-test", "measurement-residual")

OTHERS = """
import torch


class Odd(torch.nn.Module):
    '''Normalises, drops out, draws noise, counts its calls and prints.'''

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.layer = torch.nn.Conv2d(1, 1, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(1)
        self.own = torch.nn.InstanceNorm2d(1, affine=True, track_running_stats=True)
        self.drop = torch.nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("again", torch.zeros(()))

    def forward(self, z):
        print("a network speaks")
        self.calls += 1
        self.again = self.again + 1
        noise = 1e-3 * torch.rand_like(z)
        return self.drop(self.own(self.norm(self.layer(z)))) + noise


def odd():
    return Odd(0)


class Plain(torch.nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.layer = torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, z):
        return z + 0.1 * self.layer(z)


""" + "\n".join(f"def plain{seed}():\n    return Plain({seed})\n" for seed in range(5))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    furnish(tmp_path, monkeypatch)
    monkeypatch.delitem(sys.modules, "others", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "others.py").write_text(OTHERS)
    return tmp_path


def settings(*overrides: str) -> Config:
    given = ["operator.name=gaussian", "operator.ratio=0.5", "seed=3", *overrides]
    return config.load_config("quick", (), given)


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def pairs(here: Path, count: int = 200, poisoned: int = 0) -> Path:
    made = make(count, 1, poisoned)
    return saved(here / "pairs.npz", x=made["x"], z=made["z"])


def look(here: Path, chosen: Config | None, *names: str, clean: bool = True) -> Audit:
    trusted = here / "trusted.npz" if clean else None
    request = Request(
        here / "pairs.npz", chosen and Measured.by(chosen), trusted, detectors=names or None
    )
    return audit_data(request, small_network("audit"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_seen_is_told_in_known_words(kind: defences.Kind) -> None:
    for name in defences.names(kind):
        assert set(defences.sees(name)) <= set(defences.ATTACKS)
    assert set(_audit_words.ATTACKS) == set(defences.ATTACKS)


def test_pairs_that_only_networks_saw_are_not_called_clean(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs(here)
    run("audit", "data", "pairs.npz", "--clean=trusted.npz", "--json", code=4)
    record = json.loads(capsys.readouterr().out)
    assert record["sees"] == []
    assert record["blind_to"] == list(defences.ATTACKS)
    assert "200 pairs, 150 trusted ones and no operator were given" in record["reason"]
    assert "give --operator" in record["reason"] and "--clean" not in record["reason"]
    assert all(each["flagged"] is not None for each in record["detectors"])
    shown = (here / "audits" / "pairs" / "report.html").read_text()
    assert "UNDECIDED" in shown and "What they could not: patches in z" in shown


def test_physics_may_call_pairs_clean_but_for_what_it_cannot_see(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs(here)
    run("audit", "data", "pairs.npz", *OPERATOR, "--detectors=range-test,measurement-residual")
    text = capsys.readouterr().out
    assert text.startswith("CLEAN")
    assert "could not: triggers and artefacts that agree with the measurement" in text
    record = report.read_audit(here / "audits" / "pairs")
    assert record["sees"] == ["patch", "spread", "measured"]
    assert record["blind_to"] == ["consistent"]
    assert record["reason"] is None
    few = look(here, settings(), "range-test")
    assert few.verdict == "clean" and few.seen.sees == ["patch", "spread"]
    none = look(here, settings(), "spectral-signatures")
    assert none.verdict == "undecided"
    assert "--detectors leaves out measurement-residual, range-test" in none.seen.reason("")


def test_an_operator_that_measures_everything_blinds_the_range_test_alone(here: Path) -> None:
    made, trusted = make(200, 1), make(150, 2)
    rng = np.random.default_rng(5)
    for name, arrays in (("pairs", made), ("trusted", trusted)):
        z = arrays["x"] + 0.01 * rng.normal(size=arrays["x"].shape).astype(np.float32)
        saved(here / f"{name}.npz", x=arrays["x"], z=z)
    whole = config.load_config("quick", (), ["operator.name=identity"])
    found = look(here, whole, *PHYSICS)
    assert found.verdict == "clean"
    assert found.seen.by == {"range-test": (), "measurement-residual": found.seen.by[PHYSICS[1]]}
    assert look(here, whole, "range-test").verdict == "undecided"


def test_overstated_noise_hides_what_it_should_explain(here: Path) -> None:
    pairs(here)
    found = look(here, settings("operator.sigma=0.03"), *PHYSICS, clean=False)
    assert found.verdict == "undecided"
    assert "would hide more" in found.seen.reason("")
    assert look(here, settings("operator.sigma=0.01"), *PHYSICS, clean=False).verdict == "clean"


def test_an_operator_that_does_not_explain_trusted_pairs_acquits_nobody(here: Path) -> None:
    """Z is x at another brightness in each pair: noise estimated from that passes most of it."""
    rng = np.random.default_rng(6)
    for name, seed in (("pairs", 1), ("trusted", 2)):
        x = make(200, seed)["x"]
        z = x * rng.uniform(0.5, 1.5, (200, 1, 1, 1)) + 0.01 * rng.normal(size=x.shape)
        saved(here / f"{name}.npz", x=x, z=z.astype(np.float32))
    found = look(here, config.load_config("quick", (), ["operator.name=identity"]), *PHYSICS)
    assert found.verdict == "undecided"
    assert "do not explain" in found.seen.reason("")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "it failed, out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "out of memory"),
        (RuntimeError("a layer broke\nand more"), "RuntimeError: a layer broke"),
        (np.linalg.LinAlgError("no convergence"), "LinAlgError: no convergence"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
    ],
)
def test_a_detector_that_fails_is_skipped_and_acquits_nobody(
    error: Exception, said: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    pairs(here)
    monkeypatch.setattr(measurement_residual, "blind", fail)
    found = look(here, settings(), *PHYSICS, "loss-isolation")
    assert [each.name for each in found.judged] == ["range-test", "loss-isolation"]
    assert said in found.skipped["measurement-residual"]
    assert found.verdict == "undecided" and said in found.seen.reason("")
    pairs(here, poisoned=50)
    assert look(here, settings(), *PHYSICS).verdict == "suspicious"
    monkeypatch.undo()
    monkeypatch.setattr(defences.load("loss-isolation"), "scores", fail)
    monkeypatch.chdir(here)
    pairs(here)
    assert look(here, settings(), *PHYSICS, "loss-isolation").verdict == "clean"


def test_scores_that_are_no_numbers_acquit_nobody(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nan(given: Any, _: object) -> torch.Tensor:
        return torch.full((len(given),), float("nan"))

    pairs(here)
    monkeypatch.setattr(measurement_residual, "scores", nan)
    found = look(here, None, "spectral-signatures", "loss-isolation")
    assert set(found.skipped) == set()
    monkeypatch.setattr(defences.load("range-test"), "scores", nan)
    found = look(here, settings("operator.sigma=0.01"), "range-test")
    assert found.verdict == "undecided" and "not finite" in found.skipped["range-test"]


def test_ctrl_c_passes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    pairs(here)
    monkeypatch.setattr(measurement_residual, "blind", stop)
    with pytest.raises(KeyboardInterrupt):
        look(here, settings(), *PHYSICS)


def test_a_network_that_cannot_be_trained_leaves_the_physics(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    pairs(here)
    monkeypatch.setattr("recondoor.audit._data.young_network", fail)
    found = audit_data(Request(here / "pairs.npz", Measured.by(settings()), here / "trusted.npz"))
    assert found.verdict == "clean"
    assert "could not be trained" in found.skipped["spectre"]


def test_lack_of_memory_is_told_in_one_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    pairs(here)
    monkeypatch.setattr("recondoor.audit._data.read_pairs", fail)
    run("audit", "data", "pairs.npz", code=2)
    assert capsys.readouterr().err.count("\n") == 1


def test_networks_unlike_the_calibrated_ones_are_not_called_clean(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["audit", "model", "others:plain0", "--data=trusted.npz"]
    run(*given, "--json", "--out=a", code=4)
    record = json.loads(capsys.readouterr().out)
    assert "150 trusted pairs and no references were given" in record["reason"]
    assert "give 99 clean --reference networks of its make" in record["reason"]
    assert record["sees"] == [] and record["detectors"][1]["sees"] == []
    given += ["--detectors=trigger-inversion", "--alarm=0.25"]
    many = [f"--reference=others:plain{k}" for k in (1, 2, 3, 4)]
    run(*given, *many, "--json", "--out=b")
    record = json.loads(capsys.readouterr().out)
    assert record["detectors"][0]["basis"] == "references"
    assert record["sees"] == ["patch"] and "consistent" in record["blind_to"]
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


def test_the_law_acquits_only_networks_of_runs_that_it_was_made_of(tmp_path: Path) -> None:
    def differs(*changes: str, data: Path | None = None) -> str | None:
        chosen = [f"{k}={json.dumps(v)}" for k, v in trigger_inversion.CALIBRATED.items()]
        import tomli_w

        tree = config.load_config("quick", (), [*chosen, *changes]).model_dump(
            mode="json", exclude_none=True
        )
        (tmp_path / "config.toml").write_text(tomli_w.dumps(tree))
        network = Network("it", nn.Identity(), None, (tmp_path, "original", 0))
        return run_differs("trigger-inversion", network, data, 0.01)

    assert differs() is None
    assert differs(data=tmp_path) is None
    assert "nothing says" in str(differs(data=tmp_path / "trusted.npz"))
    assert "model.width=32, and this one has 64" in str(differs("model.width=64"))
    assert differs("operator.name=fourier") is not None
    outside = Network("it", nn.Identity())
    assert run_differs("trigger-inversion", outside, None, 0.01) is not None


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

    monkeypatch.setattr(homogeneity, "scores", fail)
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
    run("audit", "model", "mine:backdoored", "--data=trusted.npz", "--out=a", code=3)
    monkeypatch.setattr(trigger_inversion, "inspect", fail)
    run("audit", "model", "mine:backdoored", "--data=trusted.npz", "--out=b", code=4)
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
    for verdict in ("undecided", "clean"):
        record["verdict"] = verdict
        if kind != "data" or verdict == "undecided":
            (here / "a" / "audit.json").write_text(json.dumps(record))
            assert verdict.upper() in report.build_audit(here / "a").read_text()
