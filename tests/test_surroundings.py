"""The command line in odd surroundings: locales, no home, a deleted folder, no temporary files."""

import os
import subprocess
import sys
from pathlib import Path

from recondoor import config
from recondoor.core import seeding

SMALL = ("--set=data.limit=600", "--set=model.cae.width=2", "--set=model.cae.code=2")
SMOKE = ("study", "--preset", "smoke", "--attack=none,heuristic", *SMALL)
HOMELESS = """
import os, pwd, sys
os.environ.pop("HOME", None)
def nobody(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = nobody
from recondoor import cli
cli.main(sys.argv[1:])
"""


def run(
    *arguments: str, folder: Path, homeless: bool = False, **environment: str
) -> "subprocess.CompletedProcess[str]":
    start = ["-c", HOMELESS] if homeless else ["-m", "recondoor"]
    return subprocess.run(
        [sys.executable, *start, *arguments],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
        errors="replace",
    )  # fmt: skip


def refused(done: "subprocess.CompletedProcess[str]", *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert all(word in done.stderr for word in words), done.stderr


def test_a_study_with_ascii_alone_no_folder_for_temporary_files_and_a_large_seed(
    tmp_path: Path,
) -> None:
    poor = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TMPDIR": "/nonexistent"}
    seed = 2**62 + 1
    done = run(*SMOKE, "--out", "a", "--set", f"seed={seed}", folder=tmp_path, **poor)
    assert done.returncode == 0, done.stderr
    assert "a/report.html" in done.stdout
    assert f"seed = {seed}" in (tmp_path / "a" / "config.toml").read_text()


def test_no_home_folder(tmp_path: Path) -> None:
    options = {"folder": tmp_path, "homeless": True, "RECONDOOR_DATA": "", "XDG_CACHE_HOME": ""}
    done = run(*SMOKE, "--out", "a", **options)  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr
    for name in ("mnist", "fashion-mnist"):
        done = run(*SMOKE, "--dataset", name, **options)  # type: ignore[arg-type]
        refused(done, "no home folder is known", "--data-dir")
    done = run(*SMOKE, "--dataset", "~/a.npz", **options)  # type: ignore[arg-type]
    refused(done, "begins with ~", "write the path out")
    done = run("doctor", **options)  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_a_current_folder_that_was_deleted(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"rmdir {gone} && exec {sys.executable} -m recondoor study --preset smoke"
    done = subprocess.run(
        ["/bin/sh", "-c", script], cwd=gone, capture_output=True, text=True, check=False
    )
    refused(done, "the current folder has been deleted")


def test_seeds_beyond_32_and_64_bits_are_seeds_of_their_own() -> None:
    drawn = {
        seeding.numpy_generator(root, "order").integers(2**62)
        for root in (1, 2**32 + 1, 2**64 + 1, 10**29)
    }
    assert len(drawn) == 4


def test_a_byte_order_mark_and_windows_line_ends_in_settings(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbfseed = 3\r\n\r\n[poison]\r\nratio = 0.2\r\n")
    settings = config.load_config("quick", [path])
    assert (settings.seed, settings.poison.ratio) == (3, 0.2)
