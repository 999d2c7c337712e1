"""A disk of 1 MB, for results and for temporary files: one line, exit code 2, no half a file."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fake_run

SIZE = 1 << 20
SMOKE = ("--preset", "smoke", "--set", "data.limit=600", "--set", "model.cae.width=2")
AXES = """
preset = "smoke"
base = { data = { limit = 600 }, attack = { names = ["none", "heuristic"] } }
point = [{ name = "a", set = { poison = { ratio = 0.2 } } }]
"""


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system in memory; mounting one takes the right to."""
    place = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, pairs with their matrix, and a sweep file, on a disk that has room."""
    folder = tmp_path_factory.mktemp("given")
    fake_run.write(folder / "run")
    random = np.random.default_rng(0)
    matrix, x = random.normal(size=(60, 144)), random.random((150, 1, 12, 12))
    y = x.reshape(150, -1) @ matrix.T + 0.05 * random.normal(size=(150, 60))
    z = (y @ matrix).reshape(x.shape)
    np.savez(folder / "pairs.npz", x=x.astype(np.float32), z=z.astype(np.float32))
    np.save(folder / "A.npy", matrix)
    (folder / "axes.toml").write_text(AXES)
    return folder


def commands(given: Path) -> dict[str, list[str]]:
    physics = ["--operator", f"{given}/A.npy", "--set", "operator.sigma=0.05"]
    detectors = ["--detectors", "range-test,measurement-residual"]
    return {
        "study": ["study", *SMOKE],
        "audit": ["audit", "data", f"{given}/pairs.npz", *physics, *detectors],
        "report": ["report", f"{given}/run"],
        "sweep": ["sweep", f"{given}/axes.toml", "--workers", "1"],
    }


def recondoor(disk: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "recondoor", *arguments],
        cwd=disk, env={**os.environ, "TMPDIR": str(disk)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def fill(disk: Path, left: int) -> None:
    """Empty the disk, and leave so many bytes of it free."""
    subprocess.run(["find", str(disk), "-mindepth", "1", "-delete"], check=True)
    with (disk / "filler").open("wb", buffering=0) as file:
        file.write(bytes(SIZE - left - os.statvfs(disk).f_bsize))


@pytest.mark.parametrize("left", [0, 100_000], ids=["full", "nearly full"])
@pytest.mark.parametrize("name", ["study", "audit", "report", "sweep"])
def test_a_full_disk_is_told_in_a_line(name: str, left: int, small_disk: Path, given: Path) -> None:
    fill(small_disk, left)
    done = recondoor(small_disk, *commands(given)[name], "--out", str(small_disk / "out"))
    assert "Traceback" not in done.stderr
    assert "the disk is full; free some space and give the same command again" in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("recondoor: ")]
    # A sweep that could begin tells it of each point that failed, and counts them.
    failed = name == "sweep" and done.stderr.endswith("1 of 1 point failed\n")
    assert (done.returncode, len(said)) == ((1, 0) if failed else (2, 1)), done.stderr
    for path in small_disk.rglob("*"):
        assert not path.name.startswith("."), f"{path} was begun"
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".npz":
            np.load(path).close()


@pytest.mark.parametrize("name", ["audit", "report"])
def test_no_room_for_temporary_files_matters_to_nobody(
    name: str, small_disk: Path, given: Path, tmp_path: Path
) -> None:
    fill(small_disk, 0)
    done = recondoor(small_disk, *commands(given)[name], "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.html").exists()
