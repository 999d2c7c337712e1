"""The command line: thin, and torch is imported only by commands that compute."""

import os
import shlex
import sys
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from recondoor import __version__, registry
from recondoor.errors import ConfigError, RecondoorError

if TYPE_CHECKING:
    from recondoor.config import Config
    from recondoor.study import Runtime
    from recondoor.sweep import How

HELP = """When does a backdoor planted in an image-reconstruction network succeed?

To begin with:

    recondoor doctor                           what would stop a study here
    recondoor study --preset smoke             all stages, in seconds
    recondoor study                            the paper's study, in minutes
    recondoor study --set poison.ratio=0.1 --seeds 3
    recondoor study --ratios 0.01,0.1,0.3      choose the ratio as the paper
    recondoor report runs/* sweeps/axes        build old reports anew
    recondoor predict --attack heuristic       will it be learnt, before training
    recondoor sweep axes.toml --dry-run        many studies: what would it cost
"""

app = App(
    name="recondoor",
    help=HELP,
    help_format="plaintext",
    version=__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=(), show_default=lambda value: value or None),
)


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """Options that all stages share."""

    preset: Annotated[str, Parameter(help="smoke, quick or paper")] = "quick"
    files: Annotated[
        tuple[Path, ...],
        Parameter(
            name="--config", help="TOML file with any part of the settings; may be given again"
        ),
    ] = ()
    overrides: Annotated[
        tuple[str, ...],
        Parameter(name="--set", help="one setting, as in poison.ratio=0.1; may be given again"),
    ] = ()
    dataset: Annotated[str | None, Parameter(help="registered data set, or a path")] = None
    data_dir: Annotated[Path | None, Parameter(help="folder with the data set's files")] = None
    attack: Annotated[
        str | None, Parameter(help="attacks to run, comma-separated (attack.names)")
    ] = None
    seeds: Annotated[int | None, Parameter(help="number of seeds")] = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[
        int | None, Parameter(help="CPU threads; default: all cores, or OMP_NUM_THREADS")
    ] = None
    out: Annotated[Path | None, Parameter(help="run folder; default: runs/DATA-HASH")] = None

    def resolve(self) -> "Config":
        """Return the settings that these options stand for; raises ConfigError."""
        from recondoor import config

        named = {
            "data.name": self.dataset,
            "data.dir": self.data_dir and str(self.data_dir),
            "attack.names": self.attack,
            "seeds": self.seeds,
        }
        given = [f"{key}={dumps(value)}" for key, value in named.items() if value is not None]
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"--threads: {self.threads} given; expected 1 or more")
        return config.load_config(self.preset, self.files, [*self.overrides, *given])

    def folder(self, settings: "Config") -> Path:
        """Return the run folder."""
        from recondoor import config

        stem = Path(settings.data.name).stem
        return self.out or Path("runs") / f"{stem}-{config.identity(settings)}"


DEFAULT = Options()
Json = Annotated[bool, Parameter(help="print results.json instead of the table")]


@app.command
def study(*, options: Options = DEFAULT, ratios: str | None = None, json: Json = False) -> None:
    """Run the whole study: triggers, trainings, evaluation, report.

    A run that was stopped carries on; a finished one returns at once.

    Asking for more seeds or attacks extends it.

    Parameters
    ----------
    ratios
        Train the heuristic attack at each of these poisoning ratios (comma-separated), choose the
        one of least selection loss (docs/deviations.md, D21) and run the study there.
    """
    settings = options.resolve()
    folder = options.folder(settings)
    if ratios is not None:
        from recondoor.study import run_ratios

        parent = options.out or folder.with_name(f"{folder.name}-ratios")
        folder = run_ratios(settings, parent, _ratios(ratios), _runtime(options))
    elif not _finished(folder, settings):
        _run(settings, folder, options, ("attack", "train", "evaluate"))
    else:
        print(f"{folder} is finished; nothing to do", file=sys.stderr)
    _conclude(folder, json)


@app.command
def attack(*, options: Options = DEFAULT) -> None:
    """Make the triggers, without training anything with them.

    For example: recondoor attack --attack bilevel --set attack.variant=paper
    """
    settings = options.resolve()
    folder = options.folder(settings)
    _run(settings, folder, options, ("attack",))
    for path in sorted(folder.glob("trigger-*.npz")):
        print(path)


@app.command
def train(*, options: Options = DEFAULT) -> None:
    """Train the networks on data poisoned with the triggers of the run folder.

    For example: recondoor train --attack none,heuristic
    """
    settings = options.resolve()
    folder = options.folder(settings)
    _run(settings, folder, options, ("train",))
    for path in sorted(folder.glob("model-*.safetensors")):
        print(path)


@app.command
def evaluate(*, options: Options = DEFAULT, json: Json = False) -> None:
    """Judge the trained networks of the run folder and build its report.

    For example: recondoor evaluate --attack none,heuristic --json
    """
    settings = options.resolve()
    folder = options.folder(settings)
    _run(settings, folder, options, ("evaluate",))
    _conclude(folder, json)


@app.command
def report(runs: Annotated[list[Path], Parameter(help="folders of runs and of sweeps")], /) -> None:
    """Build tables, figures and report.html of runs and sweeps anew, from what lies in them.

    For example:

        recondoor report runs/*
        recondoor report sweeps/axes
    """
    from recondoor.report import build

    refused = []
    for run in runs:
        # A study of ratios holds one run for each.
        for folder in sorted(run.glob("ratio-*")) or [run]:
            try:
                print(build(folder))
            except RecondoorError as error:
                refused.append(str(error))
    if refused:
        raise RecondoorError("\n".join(refused))


@app.command
def predict(*, options: Options = DEFAULT, json: Json = False) -> None:
    """Say before training whether a backdoor will be learnt, when, and what limits it.

    Takes triggers from the run folder if they are there. docs/theory.md tells how far to trust it.

    For example:

        recondoor predict --attack heuristic
        recondoor predict --attack heuristic,random --set operator.name=fourier --set attack.l2=4

    Parameters
    ----------
    json
        Print the predictions as JSON.
    """
    from recondoor.study import predict as predictions
    from recondoor.theory import in_words, record

    settings = options.resolve()
    found = predictions(settings, options.folder(settings), _runtime(options))
    if json:
        print(dumps({name: record(each) for name, each in found.items()}, indent=2))
        return
    for name, each in found.items():
        print(f"{name}: {in_words(each)}")


@Parameter(name="*")
@dataclass(frozen=True)
class SweepOptions:
    """Where the points of a sweep are run."""

    workers: Annotated[
        int | None,
        Parameter(
            help="processes on this machine, 0: this one alone; default: one for each core. With a "
            "scheduler: points under way at once at the most"
        ),
    ] = None
    scheduler: Annotated[
        str | None, Parameter(help="a running Dask scheduler, as in tcp://HOST:8786")
    ] = None
    scheduler_file: Annotated[
        Path | None, Parameter(help="the file that a running Dask scheduler has written")
    ] = None
    gpus_per_task: Annotated[
        int, Parameter(help="GPUs for each point, of workers that offer GPU as a resource")
    ] = 0
    dashboard: Annotated[
        bool, Parameter(help="Dask's dashboard on http://127.0.0.1:8787 (needs bokeh)")
    ] = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Parameter(help="CPU threads of each point")] = 1
    out: Annotated[Path | None, Parameter(help="the sweep's folder; default: sweeps/SPEC")] = None

    def how(self) -> "How":
        """Return what the engine takes; raises ConfigError."""
        from recondoor.sweep import How, Where

        workers = self.workers
        if workers is None and not (self.scheduler or self.scheduler_file):
            workers = max(1, len(os.sched_getaffinity(0)) // max(self.threads, 1))
        where = Where(
            workers, self.scheduler, self.scheduler_file, self.gpus_per_task, self.dashboard
        )
        from recondoor.terminal import TerminalProgress

        return How(where, self.device, self.threads, _command(), TerminalProgress())


SWEEP_DEFAULT = SweepOptions()


@app.command
def sweep(spec: Path, /, *, options: SweepOptions = SWEEP_DEFAULT, dry_run: bool = False) -> None:
    """Run every point of a sweep file, each with every seed, and gather all numbers in one table.

    What is finished is not run again; what was stopped carries on. docs/sweep.md has the file's
    form, docs/cluster.md how to use many machines.

    For example:

        recondoor sweep axes.toml --dry-run
        recondoor sweep axes.toml --workers 8 --out sweeps/axes
        recondoor sweep axes.toml --scheduler tcp://10.0.0.1:8786

    Parameters
    ----------
    spec
        TOML file with the settings and the axes.
    dry_run
        Count the points, time a few training steps here and now, say what all would take; write
        nothing.
    """
    from recondoor.sweep import drive, estimate, load_sweep

    points, how = load_sweep(spec), options.how()
    for note in points.notes:
        print(note, file=sys.stderr)
    if dry_run:
        print(estimate(points, how))
        return
    book = drive(points, options.out or Path("sweeps") / spec.stem, how)
    print(book.table)
    from recondoor.report import build

    print(f"report: {build(book.out)}")
    if book.failures:
        for place, reason in book.failures.items():
            print(f"{place}: {reason}", file=sys.stderr)
        print(f"{len(book.failures)} of {len(points.points)} points failed", file=sys.stderr)
        raise SystemExit(1)


Kind = Literal["datasets", "operators", "models", "attacks", "settings", "presets"]


@app.command(name="list")
def list_(what: Kind | None = None, /) -> None:
    """Print what is registered, one line each; `list settings` prints every key.

    For example: recondoor list operators
    """
    if what == "presets":
        from recondoor.config import presets

        print("\n".join(presets()))
    elif what == "settings":
        _print_settings()
    else:
        for kind in [what] if what else registry.FOLDERS:
            lines = registry.describe(kind)
            width = max(len(name) for name in lines)
            print(*([] if what else [f"{kind}:"]), sep="\n", end="" if what else "\n")
            for name, text in lines.items():
                print(f"{'' if what else '  '}{name:{width}}  {text}")


@app.command
def doctor(*, data_dir: Path | None = None) -> None:
    """Tell versions, device, threads, data and disk: what would stop a study, and the remedy."""
    from recondoor.doctor import examine

    findings = examine(data_dir)
    for finding in findings:
        print(f"{'ok ' if finding.ok else '!! '} {finding.what:10} {finding.text}")
    if not all(finding.ok for finding in findings):
        raise SystemExit(1)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit code 2 for what the user can mend, 130 after Ctrl-C."""
    # Looking for pydantic's plugins reads the metadata of every installed package at every start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except (CycloptsError, RecondoorError) as error:
        _refuse(str(error))
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(141) from None
    except OSError as error:
        _refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        print("\nstopped; the same command carries on from here", file=sys.stderr)
        raise SystemExit(130) from None


def _refuse(text: str) -> None:
    print(f"recondoor: {text}", file=sys.stderr)
    raise SystemExit(2)


def _runtime(options: Options) -> "Runtime":
    import torch

    from recondoor.study import Runtime
    from recondoor.terminal import TerminalProgress

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    return Runtime(options.device, TerminalProgress(), _command())


def _command() -> str:
    return shlex.join(["recondoor", *sys.argv[1:]])


def _run(settings: "Config", folder: Path, options: Options, stages: tuple[str, ...]) -> None:
    from recondoor.study import run

    run(settings, folder, _runtime(options), stages)


def _finished(folder: Path, settings: "Config") -> bool:
    """Whether every wanted row and the report are there, known without torch.

    A user's own files may have changed since, so where there are any the study itself looks.
    """
    from recondoor import config, rundir

    run = rundir.RunDir(folder)
    own = (settings.trigger.file, settings.artefact.file)
    if settings.data.name not in registry.names("datasets") or any(own):
        return False
    if not (run.results.exists() and (folder / "report.html").exists()):
        return False
    results = rundir.read_json(run.results)
    if results.get("identity") != config.identity(settings):
        return False
    done = {(row["model"], row["seed"]) for row in results.get("rows", [])}
    return config.wanted(settings) <= done


def _conclude(folder: Path, as_json: bool) -> None:
    """Build the report and print the results."""
    from recondoor import rundir
    from recondoor.report import build, table1_text

    results, page = rundir.RunDir(folder).results, folder / "report.html"
    if not page.exists() or page.stat().st_mtime < results.stat().st_mtime:
        page = build(folder)
    if as_json:
        print(results.read_text(encoding="utf-8"), end="")
        return
    print(table1_text(rundir.read_json(results)))
    print(f"\nreport: {page}")


def _ratios(text: str) -> list[float]:
    try:
        ratios = [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"--ratios: '{text}' given; expected numbers, as in 0.01,0.1,0.3"
        ) from None
    if not all(0 < ratio <= 1 for ratio in ratios) or len(set(ratios)) < len(ratios):
        raise ConfigError(f"--ratios: '{text}' given; expected different shares above 0, at most 1")
    return ratios


def _print_settings() -> None:
    """Print every setting: a table where a person looks on, else lines with tabs."""
    from recondoor.config import settings_table

    if not sys.stdout.isatty():
        for line in settings_table():
            print(line.key, line.default, line.allowed, line.meaning, sep="\t")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("key", "default", "allowed", "meaning", box=None, pad_edge=False)
    for line in settings_table():
        table.add_row(line.key, line.default, line.allowed, line.meaning)
    Console().print(table)
