"""The study, its stages one by one, and what to expect of it."""

import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from recondoor.cli._options import DEFAULT, STAGE, Options, StageOptions, runtime, tell_no_report
from recondoor.core import registry
from recondoor.core.errors import ConfigError, RunError, plain

if TYPE_CHECKING:
    from recondoor.config import Config

SMOKE = "the preset smoke trains for seconds, so that nothing is meant to be learnt"
Json = Annotated[bool, Parameter(help="print results.json instead of the table")]


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
        shares = _ratios(ratios)
        from recondoor.studies import run_ratios

        parent = options.out or folder.with_name(f"{folder.name}-ratios")
        folder = run_ratios(settings, parent, shares, runtime(options))
    elif not _finished(folder, settings):
        _run(settings, folder, options, ("attack", "train", "evaluate"))
    else:
        print(f"{plain(str(folder))} is finished; nothing to do", file=sys.stderr)
    _conclude(folder, json)
    if options.preset == "smoke":
        print(f"note: {SMOKE}", file=sys.stderr)


def attack(*, options: Options = DEFAULT) -> None:
    """Make the triggers, without training anything with them.

    For example: recondoor attack --attack bilevel --set attack.bilevel.variant=paper
    """
    settings = options.resolve()
    folder = options.folder(settings)
    _run(settings, folder, options, ("attack",))
    for path in sorted(folder.glob("trigger-*.npz")):
        print(plain(str(path)))


def train(*, options: Options = DEFAULT) -> None:
    """Train the networks on data poisoned with the triggers of the run folder.

    For example: recondoor train --attack none,heuristic
    """
    settings = options.resolve()
    folder = options.folder(settings)
    _run(settings, folder, options, ("train",))
    for path in sorted(folder.glob("model-*.safetensors")):
        print(plain(str(path)))


def evaluate(*, options: Options = DEFAULT, json: Json = False) -> None:
    """Judge the trained networks of the run folder and build its report.

    For example: recondoor evaluate --attack none,heuristic --json
    """
    settings = options.resolve()
    folder = options.folder(settings)
    _run(settings, folder, options, ("evaluate",))
    _conclude(folder, json)


def predict(*, options: StageOptions = STAGE, json: bool = False) -> None:
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
    settings = options.resolve()
    folder = options.folder(settings)
    from recondoor.studies import predict as predictions
    from recondoor.theory import in_words, record

    found = predictions(settings, folder, runtime(options))
    if json:
        print(dumps({name: record(each) for name, each in found.items()}, indent=2))
        return
    for name, each in found.items():
        print(f"{name}: {in_words(each)}")


def _run(settings: "Config", folder: Path, options: Options, stages: tuple[str, ...]) -> None:
    from recondoor.studies import run

    run(settings, folder, runtime(options), stages)


def _finished(folder: Path, settings: "Config") -> bool:
    """Whether every wanted row and the report are there, known without torch.

    A user's own files may have changed since, so where there are any the study itself looks.
    """
    from recondoor import config, rundir

    run = rundir.RunDir(folder)
    own = (settings.trigger.file, settings.artefact.file, config.operator_files(settings))
    if settings.data.name not in registry.names("datasets") or any(own):
        return False
    if config.own_code(settings):
        return False
    if not (run.results.exists() and (folder / "report.html").exists()):
        return False
    run = rundir.sealed_by_itself(folder)
    results = run.read_results()
    settings = rundir.as_spelled(folder, settings)
    if results["identity"] != config.identity(settings):
        return False
    run.require_settings()
    run.require_sound()
    done = {(row["model"], row["seed"]) for row in results["rows"]}
    return config.wanted(settings) <= done


def _conclude(folder: Path, as_json: bool) -> None:
    """Build the report and print the results."""
    from recondoor import rundir
    from recondoor.report import build, is_current, table1_text, verdict

    page, fault = folder / "report.html", None
    if not is_current(folder):
        try:
            page = build(folder)
        except RunError as error:
            fault = error  # the numbers are there, and are told first
    record = rundir.RunDir(folder).read_results()
    if as_json:
        print(dumps(record, indent=1))
    else:
        print(plain(table1_text(record)))
        print(f"\n{plain(verdict(folder))}")
    if fault is not None:
        tell_no_report(fault)
    elif not as_json:
        print(f"\nreport: {plain(str(page))}")


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
