"""What tests of the explorer share: a run that learns its backdoor, a sweep, audits, a browser."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, sync_playwright

import recondoor as rd
from page import browser
from recondoor import studies, sweeps
from recondoor.config import Config
from recondoor.explore import Access, Site, open_folder
from small_study import CPU, tiny

TRUSTED = Access(trust_paths=True)
SWEEP = """
preset = "smoke"
[base]
data.name = "{images}"
operator.name = "fourier"
attack.names = ["none", "heuristic"]
model = {{ width = 4, code = 8, kernel = 3 }}
train = {{ batch = 20, max_epochs = 3 }}
artefact.size = 3
[[block]]
name = "square"
grid."attack.l2" = [2, 12]
grid."poison.ratio" = [0.1, 0.3]
"""


def images(folder: Path) -> Path:
    """Six hundred smooth images of 12 x 12 pixels."""
    path = folder / "images.npy"
    generator = np.random.default_rng(5)
    rows, columns = np.mgrid[:12, :12] / 11
    turns = generator.uniform(0, 6, (600, 3, 1, 1))
    values = 0.5 + 0.4 * np.sin(turns[:, 0] + 4 * rows) * np.cos(turns[:, 1] + 3 * columns)
    np.save(path, values.astype(np.float32))
    return path


def settings(path: Path) -> Config:
    """A study of k-space whose square is learnt in seconds."""
    return tiny(
        path,
        data={"validation": 0.3, "test": 0.1},
        operator={"name": "fourier", "sigma": 0.02},
        trigger={"size": 3, "amplitude": 4.0},
        train={"batch": 10, "max_epochs": 12, "lr": 3e-3},
        model={"width": 8, "code": 32, "kernel": 3},
        attack={"names": ["none", "heuristic"]},
    )


def make_run(folder: Path) -> Path:
    """A finished run in `folder`/run."""
    return studies.run(settings(images(folder)), folder / "run", CPU)


def make_sweep(folder: Path) -> Path:
    """Two strengths by two ratios of a short study, with all runs kept, in `folder`/sweep."""
    spec = folder / "spec.toml"
    spec.write_text(SWEEP.format(images=images(folder)))
    found = sweeps.run(spec, folder / "sweep")
    assert found.failures == {}
    return found.out


def make_audit(run: Path, out: Path) -> Path:
    """An audit of a run's training pairs."""
    found = rd.audit_data(run, trust_paths=True, detectors=("range-test", "measurement-residual"))
    found.save(out)
    return out


@contextmanager
def shown(folder: Path, access: Access = TRUSTED) -> Iterator[Site]:
    """A folder's page, answering in a thread of its own."""
    site = Site(open_folder(folder), access)
    thread = threading.Thread(target=site.run)
    thread.start()
    try:
        yield site
    finally:
        site.stop()
        thread.join(20)
        assert not thread.is_alive()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's own Chromium, without a window, that reaches this machine alone."""
    options = ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--disable-gpu"]
    program = browser()
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program, args=options, chromium_sandbox=False
        )
        try:
            yield opened
        finally:
            opened.close()
