"""The caller's process: no state of it changes a number, and none is changed."""

import contextlib
import locale
import logging
import os
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torch import nn

import recondoor as rd
from recondoor import audit, config, rundir, studies, sweeps
from recondoor.core import caller
from recondoor.core.errors import ConfigError
from recondoor.core.progress import NO_PROGRESS, Progress
from recondoor.defences import _triggers, fine_tuning, least_norm_inversion
from small_study import timeless

SETTINGS = ("data.limit=600", "model.width=2", "model.code=2", "attack.names=none,heuristic")


def tiny(*more: str) -> config.Config:
    return config.load_config("smoke", (), [*SETTINGS, *more])


BASE = {"model": {"width": 2, "code": 2}, "attack": {"names": ["none", "heuristic"]}}


def rows(folder: Path) -> list[dict[str, Any]]:
    """Rows of a run, but for what a clock measured."""
    return [timeless(row) for row in rundir.read_json(folder / "results.json")["rows"]]


def predictions() -> dict[str, Any]:
    found = studies.predict(tiny(), Path("nowhere"))
    return {name: replace(each, seconds=0.0) for name, each in found.items()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rd.run_study(tiny(), tmp_path_factory.mktemp("plain") / "run")


@contextlib.contextmanager
def other_type() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


SURROUNDINGS: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "float64": other_type,
    "no gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "another device": lambda: torch.device("meta"),
    "NumPy raises": lambda: np.errstate(all="raise"),
}


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_study_has_the_rows_of_a_plain_call(name: str, plain: Path, tmp_path: Path) -> None:
    with SURROUNDINGS[name]():
        found = rd.run_study(tiny(), tmp_path / "run")
    assert rows(found) == rows(plain)


def test_a_sweep_has_the_rows_of_a_plain_call(plain: Path, tmp_path: Path) -> None:
    point = {"name": "a", "set": {"data.limit": 600}}
    spec = sweeps.parse({"preset": "smoke", "base": BASE, "point": [point]})
    with other_type(), torch.no_grad():
        results = rd.run_sweep(spec, tmp_path)
    assert not results.failures
    (folder,) = (path.parent for path in tmp_path.rglob("results.json"))
    assert rows(folder) == rows(plain)


def test_a_prediction_is_that_of_a_plain_call() -> None:
    expected = predictions()
    with other_type(), torch.no_grad():
        assert predictions() == expected


def test_a_fit_trains_without_the_callers_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    z, x = (torch.rand(8, 1, 6, 6, generator=generator) for _ in range(2))
    plan = rd.PoisonPlan(torch.zeros(8, dtype=torch.bool))
    pairs = rd.PoisonedPairs(rd.Pairs(z, x), plan, None, rd.Artefact(torch.zeros(1, 6, 6)))
    model = nn.Conv2d(1, 1, 3, padding=1)
    before = model.weight.detach().clone()
    with torch.no_grad(), NO_PROGRESS.task("", 1) as task:
        settings = tiny("train.max_epochs=1", "train.batch=4").train
        rd.fit(model, pairs, settings, seed=0, validate=lambda model: {"val_loss": 0.0}, task=task)
        assert not torch.is_grad_enabled()
    assert not torch.equal(model.weight, before)


def state() -> dict[str, Any]:
    """What a process shares, as values that can be compared."""
    flags = torch.backends.cudnn
    return {
        "type": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "threads": torch.get_num_threads(),
        "precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn": (flags.allow_tf32, flags.benchmark, flags.deterministic, flags.enabled),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": repr(np.random.get_state()),  # noqa: NPY002
        "random": random.getstate(),
        "errors": np.geterr(),
        "filters": list(warnings.filters),
        "rcParams": dict(mpl.rcParams.copy()),
        "backend": mpl.get_backend(auto_select=False),
        "locale": locale.setlocale(locale.LC_ALL),
        "folder": Path.cwd(),
        "modules": list(sys.path),
        "environment": dict(os.environ),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "logging": {
            name: (logger.level, logger.propagate, logger.disabled, list(logger.handlers))
            for name, logger in [(None, logging.root), *logging.Logger.manager.loggerDict.items()]
            if isinstance(logger, logging.Logger)
        },
        "logging off": logging.root.manager.disable,
    }


def changed(before: dict[str, Any]) -> set[str]:
    now = state()
    now["logging"] = {name: now["logging"].get(name) for name in before["logging"]}
    return {name for name, value in before.items() if now[name] != value}


class Careless(Progress):
    """Changes whatever can be changed, as a plug-in or a library may; says so if it worked."""

    def __init__(self) -> None:
        self.changed: set[str] = set()

    @contextlib.contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Any]:
        if not self.changed:
            before = state()
            self.change()
            self.changed = changed(before)
        with NO_PROGRESS.task(description, total, done) as task:
            yield task

    def change(self) -> None:
        # Where a number is still to be made, these would be the fault of the one who changes them.
        torch.set_float32_matmul_precision("high")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
        torch.set_num_threads(torch.get_num_threads() + 1)
        torch.rand(1)
        np.random.random()  # noqa: NPY002
        random.random()
        np.seterr(all="ignore")
        warnings.simplefilter("always")
        mpl.use("pdf")
        mpl.rcParams["lines.linewidth"] = 17
        sys.path.insert(0, "/nowhere")
        locale.setlocale(locale.LC_NUMERIC, "C.UTF-8")
        os.environ["RECONDOOR_TEST"] = "1"
        os.environ.pop("HOME")
        signal.signal(signal.SIGUSR1, lambda *_: None)
        logging.root.addHandler(logging.NullHandler())
        logging.getLogger("recondoor.test").setLevel(3)
        logging.disable(logging.INFO)


CHANGED = {
    *("precision", "deterministic", "warn only", "cudnn", "threads", "torch", "numpy", "random"),
    *("errors", "filters", "rcParams", "locale", "environment", "signals", "logging"),
    *("logging off", "backend", "modules"),
}


def careless_calls(run: Path, out: Path) -> dict[str, Callable[[Progress], object]]:
    """Every public function that tells of its progress."""
    subject = audit.Subject(str(run / "model-heuristic-seed0.safetensors"))
    point = {"preset": "smoke", "base": BASE, "point": [{"name": "a", "set": {"data.limit": 60}}]}
    model = audit.ModelRequest(subject, detectors=("least-norm-inversion",))
    request = audit.Request(run, detectors=("range-test",))
    execution, parsed = sweeps.Execution(threads=2), sweeps.parse(point)
    return {
        "study": lambda told: rd.run_study(tiny(), out, rd.Runtime(progress=told)),
        "ratios": lambda told: studies.run_ratios(tiny(), out, [0.2], rd.Runtime(progress=told)),
        "predict": lambda told: studies.predict(tiny(), out, rd.Runtime(progress=told)),
        "sweep": lambda told: rd.run_sweep(parsed, out, 0, replace(execution, progress=told)),
        "audit data": lambda told: audit.audit_data(request, None, told),
        "audit model": lambda told: audit.audit_model(model, told),
        "audit input": lambda told: audit.audit_input(audit.InputRequest(subject, run, 0.2), told),
        "clean": lambda told: audit.mend(audit.MendRequest(subject, "fine-tuning", 0.2), told),
    }


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of inversions and repairs, whose number changes no state."""
    for module in (_triggers, least_norm_inversion, fine_tuning):
        for setting in ("EPOCHS", "STEPS", "CANDIDATES"):
            if hasattr(module, setting):
                monkeypatch.setattr(module, setting, 1)
    monkeypatch.setattr(_triggers, "ENERGIES", (2.0,))


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("name", careless_calls(Path(), Path()))
def test_a_call_leaves_the_process_as_it_was(name: str, plain: Path, tmp_path: Path) -> None:
    call = careless_calls(plain, tmp_path / "out")[name]
    before, told = state(), Careless()
    call(told)
    assert changed(before) == set()
    assert told.changed == CHANGED


@pytest.mark.parametrize("chosen", ["svg", None])
def test_a_study_leaves_the_backend_as_it_was(chosen: str | None, tmp_path: Path) -> None:
    """Also where the caller has chosen none, and asking for it would choose one."""
    begin = f"mpl.use({chosen!r})" if chosen else ""
    script = f"""
import sys
from pathlib import Path
import matplotlib as mpl
import recondoor as rd
from recondoor.core.progress import Progress

class Careless(Progress):
    def task(self, description, total, done=0):
        mpl.use("pdf")
        return super().task(description, total, done)

{begin}
mpl.rcParams["lines.linewidth"] = 7
before = dict.__getitem__(mpl.rcParams, "backend"), dict(mpl.rcParams.copy())
settings = rd.load_config("smoke", (), {list(SETTINGS)!r})
rd.run_study(settings, Path("run"), rd.Runtime(progress=Careless()))
rd.build_report(Path("run"))
after = dict.__getitem__(mpl.rcParams, "backend"), dict(mpl.rcParams.copy())
assert before == after, (before[0], after[0], before[1].items() ^ after[1].items())
"""
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_network_of_python_leaves_where_modules_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: Path
) -> None:
    """Also one that imports a module beside it only when it is called."""
    (tmp_path / "late_part.py").write_text("weight = 0.5")
    (tmp_path / "late_network.py").write_text(
        "import torch\n\n\nclass Late(torch.nn.Module):\n    def forward(self, z):\n"
        "        import late_part\n\n        return late_part.weight * z\n"
    )
    monkeypatch.chdir(tmp_path)
    for name in ("late_part", "late_network"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    before = list(sys.path)
    audit.read_network("late_network:Late", (1, 28, 28))
    assert sys.path == before
    for name in ("late_part", "late_network"):
        del sys.modules[name]
    request = audit.Request(plain, detectors=("loss-isolation",), network="late_network:Late")
    assert [each.name for each in audit.audit_data(request).judged] == ["loss-isolation"]
    assert sys.path == before


def test_a_report_leaves_the_process_as_it_was(plain: Path) -> None:
    with mpl.rc_context({"lines.linewidth": 9.0}):
        before = state()
        rd.build_report(plain)
        rd.load_results(plain)
        assert changed(before) == set()


def test_a_call_that_fails_leaves_the_process_as_it_was() -> None:
    before, careless = state(), Careless()

    @caller.afresh()
    def fails() -> None:
        careless.change()
        os.chdir("/")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert changed(before) == set()


def test_a_folder_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    here = Path.cwd()
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    try:
        gone.rmdir()
        with caller.as_found():
            pass
    finally:
        os.chdir(here)


@pytest.mark.parametrize("name", careless_calls(Path(), Path()))
def test_inference_mode_is_refused_in_a_line(name: str, plain: Path, tmp_path: Path) -> None:
    call = careless_calls(plain, tmp_path / "out")[name]
    with torch.inference_mode(), pytest.raises(ConfigError, match=r"torch\.inference_mode") as said:
        call(NO_PROGRESS)
    assert len(str(said.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
