"""What a command prints, and into what: encodings, logs, full disks, readers that leave."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from recondoor.cli import _streams
from recondoor.core import terminal

TINY = ["--preset=smoke", "--set=data.limit=600", "--set=model.width=2", "--set=model.code=2"]
STUDY = ["study", *TINY, "--attack=none,heuristic", "--out=run", "--threads=1"]


def outside(command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Give a line to the shell, in which `recondoor` is the command."""
    program = f'recondoor() {{ "{sys.executable}" -m recondoor "$@"; }}; set -o pipefail; '
    settings = {**os.environ, **environment}
    return subprocess.run(
        ["bash", "-c", program + command],
        cwd=cwd, env=settings, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, and what the run told."""
    folder = tmp_path_factory.mktemp("streams")
    axes = 'preset = "smoke"\n[[point]]\nname = "a"\nset = {"poison.ratio" = 0.2}\n'
    (folder / "axes.toml").write_text(axes, encoding="utf-8")
    done = outside(f"recondoor {' '.join(STUDY)}", folder, FORCE_COLOR="1")
    assert done.returncode == 0, done.stderr
    (folder / "log").write_text(done.stderr)
    return folder


NETWORK = "run/model-heuristic-seed0.safetensors"
COMMANDS = {
    " ".join(STUDY): 0,
    "list": 0,
    "list settings": 0,
    "doctor": 0,
    "--help": 0,
    "audit model --help": 0,
    f"predict {' '.join(TINY)} --attack=heuristic --out=run": 0,
    "audit data run --detectors=range-test --force": 3,
    f"audit model {NETWORK} --detectors=least-norm-inversion --force": 4,
    f"audit input {NETWORK} run --alarm=0.2 --detectors=range-projection --force": None,
    f"clean {NETWORK} --method=fine-tuning --fraction=0.2 --force --out=mended.safetensors": 0,
    "sweep axes.toml --dry-run": 0,
    "study --preset=∞": 2,
    "study --dataset=é/ü.npy": 2,
}
ASCII_ONLY = {
    "PYTHONIOENCODING": {"PYTHONIOENCODING": "ascii"},
    "cron": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prints_in_ascii(command: str, finished: Path) -> None:
    done = outside(f"recondoor {command}", finished, **ASCII_ONLY["PYTHONIOENCODING"])
    assert (done.stdout + done.stderr).isascii()
    assert "Traceback" not in done.stderr
    expected = COMMANDS[command]
    assert done.returncode in ((0, 3, 4) if expected is None else (expected,)), done.stderr
    assert done.stdout or expected == 2


def test_the_table_under_cron_has_rules_and_minus_signs(finished: Path) -> None:
    done = outside(f"recondoor {' '.join(STUDY)}", finished, **ASCII_ONLY["cron"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].strip("-") == ""
    assert "Original (clean)" in done.stdout and "\\u" not in done.stdout


@pytest.mark.parametrize(
    ("encoding", "text", "written"),
    [
        ("ascii", "5 ± 1 − 2 – 3 ∞ → ─", b"5 +/- 1 - 2 - 3 inf -> -"),
        ("latin-1", "5 ± 1 − é", b"5 \xb1 1 - \xe9"),
        ("ascii", "é.npy \U0001f600", b"\\xe9.npy \\U0001f600"),
        ("utf-8", "± \udcff", "± \\udcff".encode()),
    ],
)
def test_what_an_encoding_lacks(encoding: str, text: str, written: bytes) -> None:
    assert text.encode(encoding, _streams.READABLE) == written


def test_forced_colour_draws_no_bars_in_a_log(finished: Path) -> None:
    log = (finished / "log").read_text(encoding="utf-8")
    assert "\x1b" not in log and "\r" not in log


@pytest.mark.parametrize(
    ("settings", "redrawn"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, True),
        ({"TERM": "dumb"}, False),
        ({"TTY_COMPATIBLE": "0"}, False),
        ({"TTY_INTERACTIVE": "0"}, False),
    ],
)
def test_bars_are_drawn_where_a_terminal_can(
    settings: dict[str, str], redrawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", **settings}.items():
        monkeypatch.setenv(name, value)
    parent, child = pty.openpty()
    with os.fdopen(child, "w") as screen, os.fdopen(parent, "rb", buffering=0):
        monkeypatch.setattr(sys, "stderr", screen)
        assert terminal.can_redraw() == redrawn


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("command", ["list settings", "doctor", "--help"])
def test_a_full_disk_is_named(command: str, buffered: str, tmp_path: Path) -> None:
    done = outside(f"recondoor {command} > /dev/full", tmp_path, PYTHONUNBUFFERED=buffered)
    assert done.returncode == 2
    assert done.stderr == "recondoor: standard output: No space left on device\n"


def test_a_full_log_stops_no_study(finished: Path) -> None:
    study = ["--out=other" if each == "--out=run" else each for each in STUDY]
    done = outside(f"recondoor {' '.join(study)} 2> /dev/full", finished)
    assert (finished / "other" / "report.html").exists()
    assert "Original (clean)" in done.stdout


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("list settings >&-", 0),
        ("list settings >&- 2>&- <&-", 0),
        ("list --bogus >&- 2>&-", 2),
        ("list settings 2> /dev/full", 0),
        ("list --bogus 2> /dev/full", 2),
        ("list settings | true", 141),
        ("list settings | head -c 5 > /dev/null", None),
    ],
)
def test_closed_streams_are_quiet(command: str, code: int | None, tmp_path: Path) -> None:
    done = outside(f"recondoor {command}", tmp_path)
    assert done.stderr == ""
    assert done.returncode in ((0, 141) if code is None else (code,))
    assert list(tmp_path.iterdir()) == []
