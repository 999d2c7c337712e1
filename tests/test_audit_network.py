"""`recondoor audit model`, `audit input` and `clean` as a user meets them."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from audit_kit import (
    OPERATOR,
    REFERENCES,
    SHAPE,
    SMALL,
    Array,
    Bomb,
    furnish,
    make,
    refusal,
    run,
    saved,
)
from recondoor import cli, config, report
from recondoor.audit import read_network

INVERSION = ["--detectors", "trigger-inversion"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return furnish(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run with an original and a poisoned network."""
    place = tmp_path_factory.mktemp("runs")
    images = place / "images.npy"
    np.save(images, np.random.default_rng(0).random((1200, 12, 12)))
    options = ["--preset=smoke", f"--dataset={images}", "--set=artefact.size=3", f"--out={place}/a"]
    options += ["--set=data.validation=0.15", "--set=data.limit=none", "--set=train.max_epochs=1"]
    cli.main(["study", *options, "--attack=none,heuristic", "--set=model.width=4"])
    return place / "a"


def test_a_backdoor_is_found_and_shown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("audit", "model", "mine:backdoored", "--data=trusted.npz", *REFERENCES, code=3)
    assert capsys.readouterr().out.startswith("SUSPICIOUS: what is put at rows")
    out = here / "audits" / "backdoored"
    record = report.read_audit(out)
    assert record["verdict"] == "suspicious"
    assert record["truth"] is None
    found = {each["name"]: each for each in record["detectors"]}
    assert found["trigger-inversion"]["flagged"]
    assert found["trigger-inversion"]["basis"] == "references"
    assert record["level"] == 0.25
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 3
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    cli.main(["report", str(out)])
    assert (out / "report.html").read_text(encoding="utf-8") == page


def test_an_honest_network_is_not_flagged(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("audit", "model", "mine:honest", "--data=trusted.npz", *INVERSION, "--json", code=4)
    record = json.loads(capsys.readouterr().out)
    assert record["detectors"][0]["threshold"] is None
    # No more than three sentences; what is known of other networks lies below.
    assert len(record["reason"]) < 300 and record["reason"].count(". ") < 3


def test_a_threshold_of_networks_of_another_make_accuses_nobody(here: Path) -> None:
    """Nor does one of a network and its copies."""
    given = ["audit", "model", "mine:backdoored", "--data=trusted.npz", *INVERSION]
    run(*given, "--out=a", code=4)
    run(*given, "--alarm=0.25", *["--reference=mine:honest"] * 3, "--out=b", code=4)
    assert "1 of 3 references is of its make" in report.read_audit(here / "b")["reason"]


def test_references_make_a_threshold_or_rank(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["audit", "model", "mine:backdoored", "--data=trusted.npz"]
    given += ["--detectors=least-norm-inversion"]
    run(*given, "--reference=mine:honest", "--out=a", code=4)
    shown = capsys.readouterr().out
    assert shown.startswith("UNDECIDED: a network, 150 trusted pairs and 1 reference were given")
    assert "they only rank" in shown
    run(*given, *REFERENCES, "--out=b", "--json", code=3)
    record = json.loads(capsys.readouterr().out)
    assert record["detectors"][0]["basis"] == "references"
    assert record["references"] == 3
    assert (here / "b" / "report.html").read_text(encoding="utf-8").count("<svg") == 3


@pytest.mark.parametrize(
    ("network", "more", "said"),
    [
        ("missing.safetensors", [], "does not exist"),
        (".", [], "is a folder"),
        ("mine:nothing", [], "mine.py has no nothing"),
        ("nowhere:f", [], "No module named 'nowhere'"),
        ("mine:number", [], "returned int"),
        ("mine:broken", [], "no weights here"),
        ("mine:shrinking", [], "expected the same shape"),
        ("mine:wide", [], "does not take 2 images of (1, 12, 12)"),
        ("mine:endless", [], "NaN or infinite"),
        ("own.safetensors", ["--set=model.name=cae"], "--set model.cae.width=32"),
        ("broken.safetensors", [], "no readable safetensors"),
        ("mine.py", [], "no .safetensors or .onnx file"),
        ("mine:honest", ["--detectors=strip"], "there are erased-trigger, least-norm-inversion"),
        ("mine:honest", ["--alarm=2"], "--alarm"),
        ("mine:honest", ["--data=few.npz"], "at least 40"),
        ("mine:honest", ["--set=operator.ratio=0.5"], "give --operator too"),
        ("mine:honest", ["--out=."], "something else there"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_one_line(
    network: str, more: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(here / "own.safetensors")
    (here / "broken.safetensors").write_bytes(b"\x10" * 40)
    np.savez(here / "few.npz", **make(10, 1))  # type: ignore[arg-type]
    data = [] if any(text.startswith("--data") for text in more) else ["--data=trusted.npz"]
    assert said in refusal(capsys, "audit", "model", network, *data, *more)
    assert not (here / "audits").exists()


def test_data_is_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--data: none given" in refusal(capsys, "audit", "model", "mine:honest")


def test_a_runs_network_is_audited_with_its_truth(
    folder: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "model-heuristic-seed0.safetensors"
    try:  # whether so small a network learnt it is not the question
        cli.main(["audit", "model", str(path), *INVERSION, "--trust-paths", "--out=m"])
    except SystemExit as stopped:
        assert stopped.code in (3, 4)
    assert "overlap with the true trigger" in capsys.readouterr().out
    record = report.read_audit(here / "m")
    assert record["truth"].items() >= {"backdoored": True, "attack": "heuristic", "seed": 0}.items()
    rows = json.loads((folder / "results.json").read_text())["rows"]
    recovery = next(row["artefact_recovery"] for row in rows if row["model"] == "heuristic")
    assert record["truth"]["recovery"] == recovery
    assert "was trained on poisoned pairs" in (here / "m" / "report.html").read_text()


def test_a_runs_inputs_are_audited_with_their_truth(folder: Path, here: Path) -> None:
    path = folder / "model-heuristic-seed0.safetensors"
    run("audit", "input", path, folder, "--trust-paths", "--out=i", code=3)
    record = report.read_audit(here / "i")
    count = record["inputs"]["count"]
    assert record["truth"] == {"triggered": count // 2, "attack": "heuristic", "seed": 0}
    found = {each["name"]: each for each in record["detectors"]}
    assert found["range-projection"]["auc"] == found["range-projection"]["tpr"] == 1
    assert found["range-projection"]["flagged"] == count // 2
    run("audit", "input", path, folder, "--trust-paths", "--attack=original", "--out=j")
    assert report.read_audit(here / "j")["truth"]["triggered"] == 0


def inputs(path: Path, poisoned: int = 0, **changes: Array) -> Path:
    made = make(60, 7)
    made["z"][:poisoned, :, -3:, -3:] += 1
    np.savez(path, **({"z": made["z"]} | changes))
    return path


def test_inputs_with_a_trigger_are_found_and_repaired(here: Path) -> None:
    saved(here / "own.safetensors")
    inputs(here / "inputs.npz", poisoned=1)
    given = ["audit", "input", "own.safetensors", "inputs.npz", "--data=trusted.npz"]
    run(*given, *OPERATOR, *SMALL, code=3)
    out = here / "audits" / "own-inputs"
    record = report.read_audit(out)
    assert record["threshold_pairs"] == 120
    assert record["truth"] is None
    rows = list(csv.DictReader(io.StringIO((out / "suspicious.csv").read_text())))
    assert len(rows) == 60
    assert rows[0]["index"] == "0" and "no measurement gives" in rows[0]["reason"]
    with np.load(out / "repaired.npz") as found:
        assert set(found) == {
            "output",
            "repaired",
            "range-projection",
            "measurement-consistency",
        }
        assert found["repaired"].shape == (60, *SHAPE)
        np.testing.assert_array_equal(found["repaired"], found["range-projection"])
        change = np.abs(found["repaired"] - found["output"]).max((1, 2, 3))
        assert change[0] > 10 * change[1:].max()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2


def test_clean_inputs_are_called_clean_also_from_measurements(here: Path) -> None:
    saved(here / "own.safetensors")
    made = make(60, 7)
    np.savez(here / "inputs.npz", y=made["y"])
    given = ["audit", "input", "own.safetensors", "inputs.npz", "--data=trusted.npz", *SMALL]
    run(*given, *OPERATOR)
    np.savez(here / "inputs.npz", z=made["z"])
    run(*given, "--force", "--out=without-operator", code=4)
    record = report.read_audit(here / "without-operator")
    assert {gap["name"] for gap in record["skipped"]} == {
        "range-projection",
        "measurement-consistency",
        "cyclic-consistency",
    }
    assert record["repaired"] is None


@pytest.mark.parametrize(
    ("arrays", "more", "said"),
    [
        ({}, ["--alarm=0.001"], "takes 999"),
        ({"z": np.full((5, 12, 12), np.nan)}, [], "NaN"),
        ({"z": np.ones((5, 1, 8, 8))}, [], "expected (1, 12, 12)"),
        ({"z": np.ones((5, 12, 12)) + 0j}, [], "expected real numbers"),
        ({}, ["--attack=heuristic"], "only the folder of a run"),
        ({}, ["--set=seed=4"], "it did not measure the trusted pairs, 150 of 150"),
        ({}, ["--detectors=strp"], "did you mean 'strip'?"),
    ],
)
def test_inputs_that_cannot_be_audited_are_refused(
    arrays: dict[str, Array],
    more: list[str],
    said: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    saved(here / "own.safetensors")
    inputs(here / "inputs.npz", **arrays)
    given = ["audit", "input", "own.safetensors", "inputs.npz", "--data=trusted.npz", *SMALL]
    assert said in refusal(capsys, *given, *OPERATOR, "--set=operator.sigma=0.01", *more)
    np.savez(here / "inputs.npz", w=np.ones(3))
    assert "neither z nor y" in refusal(capsys, *given)


def test_inputs_as_text_of_another_kind(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(here / "own.safetensors")
    np.savez(here / "inputs.npz", z=np.array([Bomb(here / "planted")], dtype=object))
    given = ["audit", "input", "own.safetensors", "inputs.npz", "--data=trusted.npz", *SMALL]
    assert "Python objects" in refusal(capsys, *given)
    assert not (here / "planted").exists()


def test_a_network_is_mended_and_read_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(here / "own.safetensors")
    given = ["clean", "own.safetensors", "--data=trusted.npz", "--method=fine-tuning", *SMALL]
    before = (here / "own.safetensors").read_bytes()
    run(*given, "--fraction=0.5", "--out=new.safetensors", "--json")
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads((here / "new.json").read_text())
    assert (record["clean_pairs"], record["held_out"]) == (75, 75)
    benign = record["rows"][0]
    assert benign["yardstick"] == "benign RMSE" and benign["after"] < benign["before"]
    assert (here / "own.safetensors").read_bytes() == before
    assert read_network("new.safetensors", SHAPE).settings == config.Model(
        width=4, code=2, kernel=3
    )
    assert "is there already" in refusal(capsys, *given, "--fraction=0.5", "--out=new.safetensors")
    run(*given, "--fraction=0.5", "--out=new.safetensors", "--force")
    assert "before   after" in capsys.readouterr().out


def test_a_runs_network_is_mended_by_its_training_pairs(
    folder: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "model-heuristic-seed0.safetensors"
    trusted = ["--trust-paths", "--method=fine-tuning"]
    run("clean", path, *trusted, "--out=new.safetensors", "--json")
    record = json.loads(capsys.readouterr().out)
    assert record["clean_pairs"] == round(0.05 * 918)
    assert record["held_out"] == 120
    assert [row["yardstick"] for row in record["rows"]][-1] == "recovery by the true trigger"
    rows = json.loads((folder / "results.json").read_text())["rows"]
    (mine,) = (row for row in rows if (row["model"], row["seed"]) == ("heuristic", 0))
    before = {row["yardstick"]: row["before"] for row in record["rows"]}
    assert before["attack RMSE by the true trigger"] == pytest.approx(mine["attack_rmse"])
    assert before["benign RMSE"] == pytest.approx(mine["benign_rmse"])


def test_a_runs_weights_say_their_settings_themselves(folder: Path, here: Path) -> None:
    (here / "copy.safetensors").write_bytes(
        (folder / "model-heuristic-seed0.safetensors").read_bytes()
    )
    settings = read_network("copy.safetensors", SHAPE).settings
    assert settings is not None and settings.width == 4


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--fraction=0.05"], "a repair needs 40 or more"),
        (["--fraction=1"], "between 0 and 1"),
        (["--method=fine-tunin", "--fraction=0.5"], "did you mean 'fine-tuning'?"),
        (["--method=min-max", "--fraction=0.5"], "min-max needs the operator"),
        (["--out=new.pt"], "ends in .safetensors"),
    ],
)
def test_what_cannot_be_mended_is_refused(
    more: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = [] if any(text.startswith("--out") for text in more) else ["--out=new.safetensors"]
    given = ["clean", "mine:honest", "--data=trusted.npz"]
    assert said in refusal(capsys, *given, *out, *more)
    assert not (here / "new.safetensors").exists()


@pytest.mark.parametrize("command", [["audit", "model"], ["audit", "input"], ["clean"]])
def test_help_names_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([*command, "--help"])
    shown = capsys.readouterr().out
    for word in ("--data", "--operator", "--force", "For example"):
        assert word in shown
