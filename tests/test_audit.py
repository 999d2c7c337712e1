"""`recondoor audit data` as a user meets it: files good and bad, verdicts, truth, what is left."""

import csv
import hashlib
import io
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from scipy.stats import betabinom
from sklearn.metrics import roc_auc_score, roc_curve

import audit_kit
from audit_cli_kit import (
    refusal,
    save,
)
from audit_kit import OPERATOR, SHAPE, make, small_network
from recondoor import cli, config, operators, report
from recondoor.audit import Measured, Request, _judgement, audit_data
from recondoor.core.errors import ReportError
from recondoor.defences import Defender
from recondoor.io.seal import sealed
from recondoor.poisoning import Pairs


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


PHYSICS = ["--detectors", "range-test,measurement-residual"]


def settings(*overrides: str) -> config.Config:
    given = ["operator.name=gaussian", "operator.gaussian.ratio=0.5", "seed=3", *overrides]
    return config.load_config("quick", (), given)


def run(*arguments: object, code: int = 0) -> None:
    audit_kit.run("audit", "data", *arguments, code=code)


def test_poisoned_pairs_are_found_and_everything_is_written(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(300, 1, poisoned=30)
    save(here / "pairs.npz", x=made["x"], z=made["z"])
    run("pairs.npz", *OPERATOR, *PHYSICS, code=3)
    text = capsys.readouterr().out
    assert text.startswith("SUSPICIOUS: 3")
    assert "sigma = 0.0" in text and "estimated from the pairs' own median residual" in text
    out = here / "audits" / "pairs"
    record = report.read_audit(out)
    assert record["verdict"] == "suspicious"
    flagged = {each["name"]: each["flagged"] for each in record["detectors"]}
    assert flagged["range-test"] == 30
    assert 30 <= flagged["measurement-residual"] <= 40
    assert record["operator"]["sigma"] == pytest.approx(0.01, rel=0.05)
    assert record["truth"] is None
    rows = list(csv.DictReader(io.StringIO((out / "suspicious.csv").read_text())))
    assert len(rows) == 300
    assert {int(row["index"]) for row in rows[:30]} == set(range(30))
    assert rows[0]["flagged_by"] == "range-test measurement-residual"
    assert "no measurement gives" in rows[0]["reason"]
    assert rows[-1]["reason"] == ""
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "SUSPICIOUS" in page and page.count("<svg") == 2
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    before = page
    capsys.readouterr()
    cli.main(["report", str(out)])
    assert capsys.readouterr().out.strip() == str(out / "report.html")
    assert (out / "report.html").read_text(encoding="utf-8") == before


def test_clean_pairs_are_called_clean_and_trusted_ones_make_thresholds(here: Path) -> None:
    given, trusted = make(200, 1), make(150, 2)
    save(here / "pairs.npz", x=given["x"], z=given["z"])
    save(here / "trusted.npz", x=trusted["x"], z=trusted["z"])
    run("pairs.npz", *OPERATOR, *PHYSICS)
    request = Request(here / "pairs.npz", Measured.by(settings()), here / "trusted.npz")
    found = audit_data(request, small_network("audit"))
    assert found.verdict == "clean"
    assert {each.basis for each in found.judged} == {"law", "clean pairs"}
    assert len(found.judged) == 8
    poisoned = make(200, 1, poisoned=60)
    save(here / "pairs.npz", x=poisoned["x"], z=poisoned["z"])
    found = audit_data(
        Request(here / "pairs.npz", None, here / "trusted.npz"), small_network("audit")
    )
    assert found.verdict == "suspicious"
    assert set(found.skipped) == {"range-test", "measurement-residual"}


def test_without_operator_or_clean_pairs_there_is_no_verdict(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(100, 1)
    save(here / "pairs.npz", x=made["x"], z=made["z"])
    run("pairs.npz", "--json", code=4)
    shown = capsys.readouterr()
    assert json.loads(shown.out)["verdict"] == "undecided"
    record = json.loads(shown.out)
    assert {each["basis"] for each in record["detectors"] if each["whole"] is None} == {None}
    assert "shared-pattern: " in record["reason"] and "give --operator" in record["reason"]


@pytest.mark.parametrize("form", ["npz", "h5", "matrix", "three axes"])
def test_measurements_become_inputs(form: str, here: Path) -> None:
    made = make(120, 1)
    expected = torch.from_numpy(made["z"])
    arrays = {"x": made["x"], "y": made["y"]}
    if form == "three axes":
        arrays = {"x": made["x"][:, 0], "z": made["z"][:, 0]}
    path = here / ("pairs.h5" if form == "h5" else "pairs.npz")
    if form == "h5":
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[name] = values
    else:
        save(path, **arrays)
    chosen = settings("operator.sigma=0.01")
    if form == "matrix":
        exact = operators.build(SHAPE, settings().operator, 3, torch.float64)
        np.save(here / "A.npy", exact.A(torch.eye(144).double().view(144, *SHAPE))[:, 0].T.numpy())
        chosen = settings(
            "operator.name=matrix", "operator.matrix.file=A.npy", "operator.sigma=0.01"
        )
    names = ("range-test", "measurement-residual")
    found = audit_data(Request(path, Measured.by(chosen), detectors=names))
    torch.testing.assert_close(found.given.pairs.z, expected, rtol=0, atol=1e-6)
    assert found.verdict == "clean"
    assert found.notes == []


def test_complex_measurements(here: Path) -> None:
    made = make(120, 1)
    chosen = settings("operator.name=fourier", "operator.sigma=0.01")
    exact = operators.build(SHAPE, chosen.operator, 3, torch.float64)
    y = exact.forward(torch.from_numpy(made["x"]).double(), torch.Generator().manual_seed(5))
    save(here / "pairs.npz", x=made["x"], y=y.numpy())
    names = ("range-test", "measurement-residual")
    found = audit_data(Request(here / "pairs.npz", Measured.by(chosen), detectors=names))
    assert found.verdict == "clean"
    assert found.defender.physics is not None


def test_another_audit_is_replaced_only_by_force(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(100, 1)
    save(here / "pairs.npz", x=made["x"], z=made["z"])
    arguments = ["pairs.npz", *OPERATOR, *PHYSICS]
    run(*arguments)
    capsys.readouterr()
    assert "--force" in refusal(capsys, *arguments)
    run(*arguments, "--force")


def test_a_run_is_audited_with_its_truth(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    np.save(here / "images.npy", rng.random((200, 12, 12)))
    options = ["--preset=smoke", "--dataset=images.npy", "--set=artefact.size=3", "--out=a"]
    cli.main(["attack", *options, "--attack=none,heuristic", "--set=data.limit=none"])
    capsys.readouterr()
    assert "names the path data.name='images.npy'" in refusal(capsys, "a", *PHYSICS)
    trusted = ["a", *PHYSICS, "--trust-paths"]
    run(*trusted, code=3)
    record = report.read_audit(here / "audits" / "a")
    assert record["truth"] == {"poisoned": 49, "attack": "heuristic", "seed": 0}
    assert {(each["auc"], each["tpr"]) for each in record["detectors"]} == {(1.0, 1.0)}
    assert record["notes"] == []
    run(*trusted, "--attack=original", "--out=b")
    assert "Truth: 0 of 162 pairs" in capsys.readouterr().out
    assert "this run has" in refusal(capsys, *trusted, "--attack=bilevel", "--out=c")
    assert "--seed" in refusal(capsys, *trusted, "--seed=7", "--out=c")
    assert "has its own" in refusal(capsys, "a", "--operator=fourier", "--out=c")
    np.save(here / "images.npy", rng.random((200, 12, 12)))
    assert "other images" in refusal(capsys, *trusted, "--out=c")


def test_the_own_network_sees_every_pair_once(here: Path) -> None:
    made = make(120, 1, poisoned=40)
    save(here / "pairs.npz", x=made["x"], z=made["z"])
    state = torch.get_rng_state()
    found = audit_data(Request(here / "pairs.npz", detectors=("loss-isolation",)))
    assert torch.equal(state, torch.get_rng_state())
    assert found.defender.model is not None
    few = save(here / "few.npz", x=made["x"][:50], z=made["z"][:50])
    found = audit_data(Request(few, detectors=("loss-isolation",)))
    assert found.judged == [] and "too few" in found.skipped["loss-isolation"]


def test_a_files_own_arrays_are_not_changed_by_its_audit() -> None:
    pairs = Pairs(torch.rand(100, *SHAPE), torch.rand(100, *SHAPE))
    z, x = pairs.z.clone(), pairs.x.clone()
    _judgement.judge("loss-isolation", pairs, Defender(model=small_network("audit")), 0.01)
    assert torch.equal(pairs.z, z) and torch.equal(pairs.x, x)


def test_auc_and_tpr_are_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(500) < 0.2
    scores = np.round(rng.normal(size=500) + truth, 1)  # rounded, so that there are ties
    assert _judgement.auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))
    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    expected = tpr[fpr <= 0.05].max()
    assert _judgement.tpr(scores, truth, 0.05) == pytest.approx(expected)
    assert _judgement.auc(scores, np.zeros(500, dtype=bool)) is None


def test_false_alarms_of_a_threshold_from_clean_pairs_are_beta_binomial() -> None:
    """How many of N further scores exceed the r-th smallest of M: simulated against the law."""
    rng, m, n, alarm = np.random.default_rng(2), 99, 50, 0.1
    rank = 90
    limits = np.sort(rng.random((20_000, m)), axis=1)[:, rank - 1]
    counts = (rng.random((20_000, n)) > limits[:, None]).sum(1)
    law = betabinom(n, m - rank + 1, rank)
    assert law.mean() == pytest.approx(n * alarm)
    for count in (0, 3, 8, 12):
        share = (counts >= count).mean()
        assert share == pytest.approx(law.sf(count - 1), abs=4 * 0.5 / 20_000**0.5)


def test_a_damaged_audit_is_named(here: Path) -> None:
    with pytest.raises(ReportError, match=r"audit\.json: cannot be read"):
        report.build_audit(here)
    (here / "audit.json").write_text("{")
    with pytest.raises(ReportError, match="not valid JSON"):
        report.build_audit(here)
    (here / "audit.json").write_text('{"schema": "recondoor.audit/1"}')
    with pytest.raises(ReportError, match="required"):
        report.build_audit(here)


def test_help_names_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["audit", "data", "--help"])
    shown = capsys.readouterr().out
    for word in ("--operator", "--clean", "--alarm", "Exit code 0: clean", "runs/a"):
        assert word in shown


def rewrite(folder: Path, record: dict[str, object]) -> None:
    """Write audit.json as somebody who forges the digests too."""
    names = [p.name for p in folder.iterdir() if p.suffix in (".npz", ".csv")]
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / "audit.json").write_text(json.dumps(sealed({**record, "files": files})))


def test_what_an_audit_says_cannot_break_its_page(here: Path) -> None:
    save(here / "pairs.npz", **make(120, 1))
    run("pairs.npz", *OPERATOR, *PHYSICS, "--out=a")
    naughty = "\"'><script>alert(1)</script>"
    record = json.loads((here / "a" / "audit.json").read_text())
    record["name"] = naughty
    record["provenance"]["command"] = naughty
    record["notes"], record["skipped"] = [naughty], [{"name": naughty, "reason": naughty}]
    rewrite(here / "a", record)
    text = report.build_audit(here / "a").read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(1)") == 6
    record["detectors"][0]["name"] = naughty
    rewrite(here / "a", record)
    with pytest.raises(ReportError, match="does not match"):
        report.build_audit(here / "a")


@pytest.mark.parametrize("change", ["flagged", "verdict", "index", "score", "picture", "text"])
def test_an_audit_that_contradicts_itself_is_refused(change: str, here: Path) -> None:
    save(here / "pairs.npz", **make(120, 1))
    run("pairs.npz", *OPERATOR, *PHYSICS, "--out=a")
    record = json.loads((here / "a" / "audit.json").read_text())
    evidence = dict(np.load(here / "a" / "evidence.npz"))
    if change == "flagged":
        record["detectors"][0]["expected"] = None
    elif change == "verdict":
        record |= {"verdict": "suspicious", "detectors": []}
    elif change == "index":
        evidence["index"] = evidence["index"] + 1000
    elif change == "score":
        del evidence["score-range-test"]
    elif change == "picture":
        evidence["z"] = evidence["z"][:, 0]
    else:
        evidence["x"] = np.array(["text"])
    save(here / "a" / "evidence.npz", **evidence)
    rewrite(here / "a", record)
    with pytest.raises(ReportError, match="audit again"):
        report.build_audit(here / "a")
