"""Studies, predictions and sweeps from Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from html import escape
from io import BytesIO
from json import dumps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recondoor import config as settings_of
from recondoor import data, report, rundir, theory
from recondoor.config import Config
from recondoor.core.errors import ConfigError
from recondoor.core.progress import Progress
from recondoor.core.words import plural
from recondoor.doors._lent import lent
from recondoor.doors._progress import shown
from recondoor.doors._values import array
from recondoor.io import gate
from recondoor.studies import Runtime
from recondoor.studies import predict as predictions
from recondoor.studies import run as run_study
from recondoor.sweeps import Execution, Placement, drive, load_sweep, parse

if TYPE_CHECKING:
    import pandas as pd

Device = Literal["auto", "cpu", "cuda"]
Settings = Config | Mapping[str, Any] | str | Path


@dataclass(frozen=True, repr=False)
class StudyResult:
    """A finished study; printed, it is Table 1 and the verdict."""

    folder: Path

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """The content of results.json (docs/results.md)."""
        return report.load_results(self.folder)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One line for each model and seed, with every yardstick."""
        import pandas as pd

        return pd.DataFrame(self.record["rows"])

    @property
    def verdict(self) -> str:
        """Which attacks succeeded, in words."""
        return report.verdict(self.folder)

    def report(self) -> Path:
        """Build the page with tables and figures; return its path."""
        return report.build(self.folder)

    def __str__(self) -> str:
        return f"{report.table1_text(self.record)}\n\n{self.verdict}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        text, _, verdict = str(self).partition("\n\n")
        return f"<pre>{escape(text)}</pre><p>{escape(verdict)}</p>"


@dataclass(frozen=True, repr=False)
class Predictions:
    """What is expected of each attack's trigger; printed, it is a paragraph for each."""

    found: Mapping[str, theory.Prediction]

    @cached_property
    def table(self) -> pd.DataFrame:
        """One line for each attack."""
        import pandas as pd

        rows = {name: theory.record(each) for name, each in self.found.items()}
        return pd.DataFrame.from_dict(rows, orient="index")

    def __getitem__(self, name: str) -> theory.Prediction:
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __str__(self) -> str:
        return "\n".join(f"{name}: {theory.in_words(each)}" for name, each in self.found.items())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        words = (
            f"<dt><strong>{escape(name)}</strong></dt><dd>{escape(theory.in_words(each))}</dd>"
            for name, each in self.found.items()
        )
        return f"<dl>{''.join(words)}</dl>"


@dataclass(frozen=True, repr=False)
class SweepResult:
    """A sweep; printed, it is the verdict."""

    folder: Path
    failures: Mapping[str, str]

    @cached_property
    def table(self) -> pd.DataFrame:
        """One line for each point, model and seed (docs/sweep.md)."""
        import pandas as pd

        return pd.read_parquet(self.folder / "sweep.parquet")

    def report(self) -> Path:
        """Build the page; return its path."""
        return report.build(self.folder)

    def __str__(self) -> str:
        failed = f"\n{plural(len(self.failures), 'point')} failed" if self.failures else ""
        return report.verdict(self.folder) + failed

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        shown = ["point", "model", "seed", "artefact_recovery", "attack_rmse", "ghost"]
        table = self.table[[name for name in shown if name in self.table]].head(20)
        return f"<p>{escape(str(self))}</p>{table.to_html(float_format='%.3g', border=0)}"


def study(
    settings: Settings = "quick",
    out: str | Path | None = None,
    *,
    images: object = None,
    operator: object = None,
    model: object = None,
    device: Device = "auto",
    progress: Progress | None = None,
) -> StudyResult:
    """Run a study: triggers, trainings, evaluation; one that was stopped carries on.

    Args:
        settings: as `load_config` returns them; or the name of a preset; a TOML file; or settings
            over the preset quick, as in {"poison.ratio": 0.2, "seeds": 3}.
        out: folder of the run; None for runs/DATA-HASH.
        images: clean images (N, H, W) or (N, C, H, W), uint8 or floating-point in [0, 1], which are
            kept in the folder, or a path; None for those that the settings name.
        operator: the measurement A of one's own, as `audit_data` takes it: a matrix, or an object
            with A and A_adjoint; its noise is `operator.sigma`. None for the settings'.
        model: a network of one's own: a function or class without arguments that makes an
            `nn.Module`, or a module, whose copies are initialised anew. None for the settings'.
        device: where to compute.
        progress: where to tell about the work; None for bars on a terminal.

    Raises:
        ConfigError: settings at fault; nothing is written.
        DataError: images that cannot be read.
        RunError: another run is in the folder, or it cannot be written.

    Example:
        >>> import recondoor as rd
        >>> found = rd.study("smoke", "runs/smoke")  # seconds; the preset quick takes minutes
        >>> list(found.table["model"])
        ['original', 'heuristic', 'bilevel', 'random']
        >>> found.record["poison_ratio"]
        0.3
    """
    config = as_config(settings)
    if images is not None and out is None:
        raise ConfigError("out: none given; images of one's own need a folder to be kept in")
    if out is None and (operator is not None or model is not None):
        raise ConfigError("out: none given; an operator or network of one's own needs a folder")
    folder = Path(out) if out is not None else rundir.default_folder(config)
    if images is not None:
        config = _with_images(config, images, folder)
    runtime = Runtime(device, progress or shown(), "recondoor.study")
    if operator is None and model is None:
        run_study(config, folder, runtime)
        return StudyResult(folder)
    found = data.read(config.data, runtime.progress)
    with lent(config, operator, model, found.shape) as own:
        run_study(own, folder, runtime, images=found)
    return StudyResult(folder)


def predict(
    settings: Settings = "quick",
    out: str | Path | None = None,
    *,
    images: object = None,
    operator: object = None,
    model: object = None,
    device: Device = "auto",
    progress: Progress | None = None,
) -> Predictions:
    """Say before training whether a backdoor will be learnt, when, and what limits it.

    Args:
        settings: as for `study`.
        out: folder of a run, of which triggers are taken; None for runs/DATA-HASH, or for none
            where images, an operator or a network of one's own are given.
        images: as for `study`.
        operator: as for `study`.
        model: as for `study`.
        device: as for `study`.
        progress: as for `study`.

    Raises:
        ConfigError: settings at fault, or no trigger that is there or found without training.
        DataError: images that cannot be read.

    Example:
        >>> import recondoor as rd
        >>> short = {"attack.names": "heuristic", "operator.name": "fourier", "data.limit": 200}
        >>> expected = rd.predict(short)
        >>> print(expected)
        heuristic: not learnt (probability of being learnt 0.00)...
    """
    config, own = as_config(settings), any(each is not None for each in (images, operator, model))
    runtime = Runtime(device, progress or shown(), "recondoor.predict")
    with ExitStack() as stack:
        if out is not None:
            folder = Path(out)
        elif own:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="recondoor-")))
        else:
            folder = rundir.default_folder(config)
        if images is not None:
            config = _with_images(config, images, folder)
        if operator is None and model is None:
            return Predictions(predictions(config, folder, runtime))
        found = data.read(config.data, runtime.progress)
        own_config = stack.enter_context(lent(config, operator, model, found.shape))
        return Predictions(predictions(own_config, folder, runtime, found))


def sweep(
    spec: str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    workers: int = 0,
    device: Device = "auto",
    progress: Progress | None = None,
) -> SweepResult:
    """Run every point of a sweep, each with every seed, and gather all numbers in one table.

    Args:
        spec: a sweep file, or what it would hold (docs/sweep.md).
        out: folder of the sweep; what is finished in it is not run again.
        workers: processes that share the work; 0: this one does it.
        device: as for `study`.
        progress: as for `study`.

    Raises:
        ConfigError: a sweep or settings at fault; nothing is written. A point that fails raises
            nothing: see `failures`.

    Example:
        >>> import recondoor as rd
        >>> axes = {
        ...     "preset": "smoke",
        ...     "base": {"attack.names": "none,heuristic", "train.max_epochs": 1},
        ...     "block": [{"grid": {"poison.ratio": [0.1, 0.3]}}],
        ... }
        >>> found = rd.sweep(axes, "sweeps/ratio")
        >>> found.table[["poison.ratio", "model"]].drop_duplicates().shape
        (4, 2)
    """
    points = parse(spec) if isinstance(spec, Mapping) else load_sweep(Path(spec))
    execution = Execution(Placement(workers), device, 1, "recondoor.sweep", progress or shown())
    done = drive(points, Path(out), execution)
    return SweepResult(done.out, dict(done.failures))


def as_config(given: object) -> Config:
    """Settings in any of the forms that `study` takes; raises ConfigError."""
    if isinstance(given, Config):
        return settings_of.checked(given)
    if isinstance(given, Mapping):
        return settings_of.load_config(overrides=_texts(given))
    if isinstance(given, str) and given in settings_of.presets():
        return settings_of.load_config(given)
    if isinstance(given, str | Path) and Path(given).suffix == ".toml":
        return settings_of.load_config(files=[Path(given)])
    if isinstance(given, str):
        return settings_of.load_config(given)  # which says what presets there are
    raise ConfigError(
        f"settings: {type(given).__name__} given; expected Config, a preset, a TOML file, or a "
        'mapping, as in {"poison.ratio": 0.2}'
    )


def _texts(tree: Mapping[str, Any]) -> Iterator[str]:
    """Each setting of a nested mapping as 'section.key=value'."""
    for key, value in settings_of.leaves(tree):
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, Path) or plain is None:
            plain = "none" if plain is None else str(plain)
        try:
            yield f"{key}={dumps(plain, ensure_ascii=False)}"
        except TypeError:
            kind = type(value).__name__
            raise ConfigError(f"{key}: {kind} given; expected a number or a text") from None


def _with_images(config: Config, images: object, folder: Path) -> Config:
    """The settings with other images; an array is kept in the run's folder, and read from there."""
    name = str(images) if isinstance(images, str | Path) else str(_kept(images, folder))
    own = config.data.model_copy(update={"name": name})
    return settings_of.checked(config.model_copy(update={"data": own}))


def _kept(images: object, folder: Path) -> Path:
    rundir.require_place(folder)
    path, given = folder / rundir.IMAGES, data.Images.of("images", array(images, "images"))
    if path.exists():
        if data.load(str(path)).fingerprint != given.fingerprint:
            raise ConfigError(f"images: {path} holds others; choose another out")
        return path
    content = BytesIO()
    np.save(content, given.train_pixels)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        gate.write_bytes(path, content.getvalue(), inside=folder)
    except OSError as error:
        raise rundir.explain(error, path) from error
    return path
