"""A full disk, and a folder that is not for writing: each caller names what helps there."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audit_kit import OPERATOR, SMALL, make, refusal, run, saved
from recondoor import cli, rundir, studies
from recondoor.core.errors import RunError
from recondoor.io import gate
from recondoor.report import build
from small_study import CPU, tiny, write_images

Writer = Callable[..., None]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], Callable[[], None]]:
    """Lets every write of files whose path holds a text fail, until it is called off."""
    write = gate.write_bytes

    def fail(number: int, part: str) -> Callable[[], None]:
        def refuse(path: Path, content: bytes, *, inside: Path | None = None) -> None:
            if part in str(path):
                raise OSError(number, os.strerror(number), str(path))
            write(path, content, inside=inside)

        monkeypatch.setattr(gate, "write_bytes", refuse)
        return lambda: monkeypatch.setattr(gate, "write_bytes", write)

    return fail


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "pairs.npz", **make(120, 1))  # type: ignore[arg-type]
    np.savez(tmp_path / "trusted.npz", **make(150, 2))  # type: ignore[arg-type]
    return tmp_path


def last_line(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Of what is told on exit code 2, behind lines of progress."""
    run(*arguments, code=2)
    return capsys.readouterr().err.strip().splitlines()[-1]


def finished(folder: Path) -> Path:
    settings = tiny(write_images(folder), attack={"names": ["none", "heuristic"]})
    return studies.run(settings, folder / "run", CPU)


@pytest.mark.parametrize("part", ["audit.json", "evidence.npz", "report.html"])
def test_an_audit_on_a_full_disk_begins_anew(
    part: str, place: Path, failing: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("audit", "data", "pairs.npz", *OPERATOR, "--out", "audits/a")
    restore = failing(errno.ENOSPC, part)
    told = last_line(capsys, *command)
    assert "audits: the disk is full; free some space and give the same command again" in told
    assert "it begins anew" in told
    assert "carries on" not in told
    assert not list((place / "audits").iterdir())
    restore()
    run(*command)
    assert (place / "audits" / "a" / "report.html").exists()


@pytest.mark.parametrize("part", ["mended.safetensors", "mended.json"])
def test_a_repair_on_a_full_disk_begins_anew(
    part: str, place: Path, failing: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(place / "net.safetensors")
    command = ("clean", "net.safetensors", "--data", "trusted.npz", *SMALL, "--fraction", "0.5")
    restore = failing(errno.ENOSPC, part)
    told = last_line(capsys, *command, "--method", "fine-tuning", "--out", "mended.safetensors")
    assert "the disk is full" in told
    assert "it begins anew" in told
    restore()
    run(*command, "--method", "fine-tuning", "--out", "mended.safetensors")
    assert (place / "mended.json").exists()


def test_a_study_on_a_full_disk_carries_on(place: Path, failing: Any) -> None:
    settings = tiny(write_images(place), attack={"names": ["none"]})
    restore = failing(errno.ENOSPC, "model-original")
    with pytest.raises(RunError, match="give the same command again, it carries on where it st"):
        studies.run(settings, place / "run", CPU)
    restore()
    studies.run(settings, place / "run", CPU)
    assert len(rundir.RunDir(place / "run").read_results()["rows"]) == 1


def test_a_report_goes_to_another_folder(
    place: Path, failing: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finished(place)
    before = {path.name for path in folder.iterdir()}
    failing(errno.EROFS, str(folder))
    told = refusal(capsys, "report", folder)
    assert f"{folder}" in told
    assert "cannot be written (Read-only file system)" in told
    assert "recondoor report FOLDER --out ANOTHER" in told
    run("report", folder, "--out", "mine")
    assert (place / "mine" / "report.html").exists()
    assert (place / "mine" / "table1.csv").exists()
    assert {path.name for path in folder.iterdir()} == before


def test_reports_elsewhere_have_the_same_bytes(place: Path) -> None:
    folder = finished(place)
    build(folder, place / "mine")
    build(folder)
    for path in (place / "mine").rglob("*.*"):
        assert path.read_bytes() == (folder / path.relative_to(place / "mine")).read_bytes()


def test_one_place_takes_one_report(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = finished(place)
    told = refusal(capsys, "report", folder, folder, "--out", "mine")
    assert "--out: takes one report, and 2 folders are given" in told
    (place / "other").mkdir()
    (place / "other" / "audit.json").write_text("{}")
    told = refusal(capsys, "report", folder, "--out", "other")
    assert "other has files of its own (audit.json); choose another --out" in told


def test_an_audits_report_goes_to_another_folder(place: Path) -> None:
    run("audit", "data", "pairs.npz", *OPERATOR, "--out", "a")
    run("report", "a", "--out", "mine")
    assert (place / "mine" / "report.html").read_bytes() == (place / "a/report.html").read_bytes()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_finished_run_that_cannot_be_written_to_prints_its_table(
    as_json: bool, place: Path, failing: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = place / "run"
    options = ["--preset", "smoke", "--out", folder, "--attack", "none,heuristic"]
    options += ["--set", "train.max_epochs=1", "--set", "data.limit=200"]
    cli.main(["study", *map(str, options)])
    (folder / "report.html").unlink()
    capsys.readouterr()
    failing(errno.EACCES, str(folder))
    cli.main(["study", *map(str, options), *(["--json"] if as_json else [])])
    shown = capsys.readouterr()
    if as_json:
        assert json.loads(shown.out)["rows"]
    else:
        assert "heuristic" in shown.out
        assert "report:" not in shown.out
    assert "no report was written" in shown.err
    assert "recondoor report FOLDER --out ANOTHER" in shown.err


def test_a_disk_that_is_full_at_the_report_is_an_error(
    place: Path, failing: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--preset", "smoke", "--out", "run", "--attack", "none", "--set", "data.limit=200"]
    failing(errno.ENOSPC, "report.html")
    run("study", *options, code=2)
    shown = capsys.readouterr()
    assert "RMSE on the test set" in shown.out
    assert "the disk is full; free some space and give the same command again" in shown.err
