"""Small sweeps for tests: images, two sweep files, and what a run of them leaves."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

from recondoor import sweeps

TIMES = ("seconds", "samples_per_s")
# A point takes about a second, so that it can be killed in its midst.
SPEC = """
preset = "smoke"
seeds = 2
[base]
data.name = "{images}"
attack.names = ["none", "heuristic"]
model = {{ width = 4, code = 4, kernel = 3 }}
train = {{ batch = 10, max_epochs = {epochs}, patience = 1000 }}
artefact.size = 3
[[block]]
name = "corner"
set.trigger.margin = 0
grid."attack.l2" = [1, 2.5]
[[point]]
name = "weak"
set.poison.ratio = 0.2
"""


def write(folder: Path) -> Path:
    """Write images and a sweep file `short`, and `long`, to be killed; return the folder."""
    images = folder / "images.npy"
    np.save(images, np.random.default_rng(0).random((60, 12, 12)))
    for name, epochs in (("short", 2), ("long", 12)):
        (folder / f"{name}.toml").write_text(SPEC.format(images=images, epochs=epochs))
    return folder


def run_here(folder: Path) -> Path:
    """Run the long sweep in this process; return its folder."""
    results = sweeps.run(folder / "long.toml", folder / "undisturbed")
    assert results.failures == {}
    return results.out


def lines(out: Path) -> list[dict[str, Any]]:
    """The table without what a clock says."""
    rows: list[dict[str, Any]] = parquet.read_table(out / "sweep.parquet").to_pylist()
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def contents(out: Path) -> dict[str, int]:
    """Modification times of everything that a point's study wrote."""
    return {str(path): path.stat().st_mtime_ns for path in out.glob("points/*/*/[!.l]*")}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", *map(str, arguments)]


def wait_for(condition: Callable[[], object], seconds: float = 240) -> None:
    patience = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < patience, "waited in vain"
        time.sleep(0.02)
