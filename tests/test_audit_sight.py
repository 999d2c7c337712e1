"""What a verdict may say: clean only where something could be seen, and what goes wrong is told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audit_kit import OPERATOR, leave_open, make, run, small_network
from recondoor import config, defences, report
from recondoor.audit import Audit, Measured, Request, audit_data
from recondoor.config import Config
from recondoor.report._audit import _sentences as _audit_sentences
from sight_kit import (
    here,  # noqa: F401
    pairs,
    saved,
)

KINDS: tuple[defences.Kind, ...] = ("pairs", "input", "model")

PHYSICS = ("range-test", "measurement-residual")


def settings(*overrides: str) -> Config:
    given = ["operator.name=gaussian", "operator.gaussian.ratio=0.5", "seed=3", *overrides]
    return config.load_config("quick", (), given)


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
    assert set(_audit_sentences.ATTACKS) == set(defences.ATTACKS)


def test_pairs_that_only_networks_saw_are_not_called_clean(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_open(monkeypatch)
    pairs(here)
    run("audit", "data", "pairs.npz", "--clean=trusted.npz", "--json", code=4)
    record = json.loads(capsys.readouterr().out)
    assert record["sees"] == []
    assert record["blind_to"] == list(defences.ATTACKS)
    assert "200 pairs, 150 trusted ones and no operator were given" in record["reason"]
    assert "give --operator" in record["reason"] and "--clean" not in record["reason"]
    alone = [each for each in record["detectors"] if each["whole"] is None]
    assert alone and all(each["flagged"] is not None for each in alone)
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
    monkeypatch.setattr(defences.load("measurement-residual"), "blind", fail)
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
    monkeypatch.setattr(defences.load("measurement-residual"), "scores", nan)
    found = look(here, None, "spectral-signatures", "loss-isolation")
    assert set(found.skipped) == set()
    monkeypatch.setattr(defences.load("range-test"), "scores", nan)
    found = look(here, settings("operator.sigma=0.01"), "range-test")
    assert found.verdict == "undecided" and "not finite" in found.skipped["range-test"]


def test_ctrl_c_passes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    pairs(here)
    monkeypatch.setattr(defences.load("measurement-residual"), "blind", stop)
    with pytest.raises(KeyboardInterrupt):
        look(here, settings(), *PHYSICS)


def test_a_network_that_cannot_be_trained_leaves_the_physics(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    pairs(here)
    monkeypatch.setattr("recondoor.audit._pairs._data.young_network", fail)
    names = (*PHYSICS, "spectre")
    measured, trusted = Measured.by(settings()), here / "trusted.npz"
    found = audit_data(Request(here / "pairs.npz", measured, trusted, detectors=names))
    assert found.verdict == "clean"
    assert "could not be trained" in found.skipped["spectre"]


def test_lack_of_memory_is_told_in_one_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    pairs(here)
    monkeypatch.setattr("recondoor.audit._pairs._data.read_pairs", fail)
    run("audit", "data", "pairs.npz", code=2)
    assert capsys.readouterr().err.count("\n") == 1
