"""The folder of an audit: one audit's files, whole, and nobody else's deleted."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import audit_kit
from audit_kit import OPERATOR, make
from recondoor import report
from recondoor.audit import _folder
from recondoor.core.errors import ReportError

PAIRS = ["pairs.npz", *OPERATOR, "--detectors", "range-test,measurement-residual", "--out=a"]


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs and their audit, of which every test has a copy."""
    folder = tmp_path_factory.mktemp("audited")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        save(poisoned=0)
        audit_kit.run("audit", "data", *PAIRS)
    return folder


@pytest.fixture
def here(audited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(audited, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(poisoned: int) -> None:
    made = make(120, 1, poisoned=poisoned)
    np.savez("pairs.npz", x=made["x"], z=made["z"])


def verdict(folder: Path) -> tuple[str, int]:
    """What audit.json says, and how many pairs suspicious.csv flags."""
    record = report.read_audit(folder)
    rows = (folder / "suspicious.csv").read_text().splitlines()[1:]
    return record["verdict"], sum("range-test" in row for row in rows)


@pytest.mark.parametrize("moment", ["evidence.npz", "suspicious.csv", "audit.json", "report.html"])
def test_an_audit_that_is_killed_leaves_the_old_one_whole(here: Path, moment: str) -> None:
    save(poisoned=40)
    program = f"""
import os, sys
from recondoor import cli
from recondoor.io import gate
true = gate.write_bytes
def write(path, content, *, inside=None):
    true(path, content, inside=inside)
    if path.name == {moment!r}:
        os.kill(os.getpid(), 9)
gate.write_bytes = write
cli.main(sys.argv[1:])
"""
    command = [sys.executable, "-c", program, "audit", "data", *PAIRS, "--force"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -9
    assert verdict(here / "a") == ("clean", 0)
    audit_kit.run("audit", "data", *PAIRS, "--force", code=3)
    assert verdict(here / "a") == ("suspicious", 40)
    assert sorted(path.name for path in (here / "a").iterdir()) == [
        "audit.json",
        "evidence.npz",
        "figures",
        "report.html",
        "suspicious.csv",
    ]


def test_nothing_is_left_beside_an_audit(here: Path) -> None:
    audit_kit.run("audit", "data", *PAIRS, "--force")
    assert sorted(path.name for path in here.iterdir()) == ["a", "pairs.npz"]


def test_a_file_system_that_cannot_exchange_folders_is_served_too(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_folder, "EXCHANGE", 1 << 20)  # a flag that no system knows
    save(poisoned=40)
    audit_kit.run("audit", "data", *PAIRS, "--force", code=3)
    assert verdict(here / "a") == ("suspicious", 40)
    assert sorted(path.name for path in here.iterdir()) == ["a", "pairs.npz"]


@pytest.mark.parametrize("name", ["notes.txt", "figures/mine.jpg", "checkpoints"])
def test_force_deletes_no_file_that_no_audit_wrote(
    here: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "a" / name).write_text("mine")
    said = audit_kit.refusal(capsys, "audit", "data", *PAIRS, "--force")
    assert Path(name).name in said and "--force would delete it" in said
    assert (here / "a" / name).read_text() == "mine"


def test_figures_that_are_a_link_are_not_emptied(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "a" / "figures").rename(here / "home")
    (here / "a" / "figures").symlink_to(here / "home")
    kept = sorted(path.name for path in (here / "home").iterdir())
    assert "link" in audit_kit.refusal(capsys, "audit", "data", *PAIRS, "--force")
    assert sorted(path.name for path in (here / "home").iterdir()) == kept


def test_files_of_two_audits_are_told_apart(here: Path) -> None:
    save(poisoned=40)
    audit_kit.run("audit", "data", *PAIRS[:-1], "--out=b", code=3)
    for name in ("evidence.npz", "suspicious.csv"):
        own = (here / "b" / name).read_bytes()
        (here / "b" / name).write_bytes((here / "a" / name).read_bytes())
        with pytest.raises(ReportError, match=f"{name} is not of this audit"):
            report.build_audit(here / "b")
        (here / "b" / name).write_bytes(own)
    report.build_audit(here / "b")


def test_a_changed_verdict_is_told(here: Path) -> None:
    path = here / "a" / "audit.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"verdict": "undecided"}))
    with pytest.raises(ReportError, match="changed after it was written"):
        report.build_audit(here / "a")


def test_an_audit_of_the_first_release_has_no_digests_and_is_read(here: Path) -> None:
    path = here / "a" / "audit.json"
    record = json.loads(path.read_text())
    del record["digest"], record["files"]
    path.write_text(json.dumps(record))
    report.build_audit(here / "a")


@pytest.mark.parametrize("name", ["audit.json", "evidence.npz"])
@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
def test_a_strangers_audit_is_made_of_regular_files(here: Path, name: str, kind: str) -> None:
    path = here / "a" / name
    path.rename(here / "elsewhere")
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(here / "elsewhere" if kind == "link" else "/dev/zero")
    with pytest.raises(ReportError, match=name) as caught:
        report.build_audit(here / "a")
    assert "\n" not in str(caught.value)


def test_what_a_terminal_would_obey_is_shown(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    naughty = "\x1b[2J\u202efdp"
    (here / "pairs.npz").rename(here / f"{naughty}.npz")
    audit_kit.run("audit", "data", f"{naughty}.npz", *PAIRS[1:-1], f"--out={naughty}")
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\u202e" not in shown
    assert r"\x1b[2J\u202efdp" in shown
    page = (here / naughty / "report.html").read_text()
    assert "\u202e" not in page and r"\u202e" in page
