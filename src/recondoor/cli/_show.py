"""What looks at things that are there: reports, lists, this machine."""

import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from json import dumps
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from recondoor.core import registry
from recondoor.core.errors import ConfigError, RecondoorError, plain

Kind = Literal[
    "datasets",
    "operators",
    "inputs",
    "models",
    "attacks",
    "defences",
    "settings",
    "presets",
    "yardsticks",
]


OTHERS = ("config.toml", "provenance.json", "results.json", "sweep.json", "audit.json")
"""Files of runs, sweeps and audits, whose own report is not written over."""


def report(
    runs: Annotated[list[Path], Parameter(help="folders of runs, sweeps or audits")],
    /,
    *,
    out: Annotated[
        Path | None, Parameter(help="another folder to write to, for one folder that is read")
    ] = None,
) -> None:
    """Build tables, figures and report.html anew, from what lies in the folders.

    They are written into the same folders, or for one of them to --out. Of a folder that holds
    runs, sweeps or audits: index.html, a table of all of them that sorts, and the pages that they
    lack.

    For example:

        recondoor report runs/
        recondoor report runs/*
        recondoor report sweeps/axes audits/*
        recondoor report /media/disc/run --out my-report
    """
    from recondoor.report import build, build_audit, build_index, is_collection

    # A study of ratios holds one run for each.
    folders = [folder for run in runs for folder in sorted(run.glob("ratio-*")) or [run]]
    if out is not None:
        _require_apart(folders, out)
    refused = []
    for folder in folders:
        try:
            if out is None and is_collection(folder):
                print(plain(str(build_index(folder))))
                continue
            is_audit = (folder / "audit.json").exists()
            print(plain(str((build_audit if is_audit else build)(folder, out))))
        except RecondoorError as error:
            refused.append(str(error))
    if refused:
        raise RecondoorError("\n".join(refused))


def _require_apart(folders: list[Path], out: Path) -> None:
    """Refuse to write two reports to one place, or over that of another run."""
    from recondoor.rundir import require_place

    if len(folders) > 1:
        raise ConfigError(f"--out: takes one report, and {len(folders)} folders are given")
    require_place(out)
    if out.resolve() != folders[0].resolve():
        for name in OTHERS:
            if (out / name).exists():
                raise ConfigError(
                    f"--out: {out} has files of its own ({name}); choose another --out"
                )


def list_(
    what: Kind | None = None,
    /,
    *,
    overrides: Annotated[
        tuple[str, ...],
        Parameter(name="--set", help="of `list settings`: as the commands take it, also a plug-in"),
    ] = (),
    preset: Annotated[
        str, Parameter(help="of `list settings`: whose values are shown as the default")
    ] = "quick",
    json: bool = False,
) -> None:
    """Print what is registered, one line each; settings and yardsticks with what they mean.

    What another package brings is followed by its name. A class of your own needs no registration:
    give MODULE:NAME, as in --set operator.name=blur:Blur, with blur.py in the current folder.

    For example:

        recondoor list operators
        recondoor list settings --preset paper
        recondoor list inputs
        recondoor list settings --set operator.name=blur:Blur
    """
    head: Sequence[str]
    lines: Sequence[Sequence[str]]
    if what == "settings":
        head, lines = ("key", "default", "allowed", "meaning"), _settings(preset, overrides)
    elif what == "yardsticks":
        from recondoor.records import yardstick_lines

        head, *lines = yardstick_lines()
    else:
        head, lines = ("kind", "name", "meaning", "package"), list(_named(what))
    if json:
        print(dumps([dict(zip(head, line, strict=True)) for line in lines], indent=1))
    elif what in ("settings", "yardsticks"):
        _print_table(head, lines)
    else:
        _print_names(lines, headed=what is None)
    if what in (None, *registry.FOLDERS) and (faults := registry.faults()):
        raise ConfigError("\n".join(faults))


def _settings(preset: str, overrides: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Key, the value that a command with these options uses, what is allowed, and the meaning."""
    from recondoor.config import load_config, settings_table, value_of

    chosen = load_config(preset, overrides=overrides)
    return [
        (line.key, value_of(chosen, line.key, line.default), line.allowed, line.meaning)
        for line in settings_table(chosen)
    ]


def _named(what: Kind | None) -> Iterator[tuple[str, ...]]:
    """Kind, name, meaning, and the package where it is another one."""
    from recondoor.config import INPUT_MAPS, presets

    if what == "presets":
        yield from (("presets", name, "", "") for name in presets())
    elif what == "inputs":
        yield from (("inputs", name, text, "") for name, text in INPUT_MAPS.items())
    else:
        for kind in [what] if what else registry.FOLDERS:
            others = registry.origins(kind)
            for name, text in registry.describe(kind).items():
                yield kind, name, text, others.get(name, "")


def _print_names(lines: Sequence[Sequence[str]], headed: bool) -> None:
    """Names in a column with what they mean, under their kind where there are several."""
    for kind, group in groupby(lines, key=lambda line: line[0]):
        found = list(group)
        width = max(len(name) for _, name, *_ in found)
        if headed:
            print(f"{kind}:")
        for _, name, text, package in found:
            whose = f" ({package})" if package else ""
            print(plain(f"{'  ' if headed else ''}{name:{width}}  {text}{whose}".rstrip()))


def doctor(*, data_dir: Path | None = None) -> None:
    """Tell versions, device, threads, data and disk: what would stop a study, and the remedy."""
    from recondoor.cli._doctor import examine

    findings = examine(data_dir)
    for finding in findings:
        print(f"{'ok' if finding.ok else 'no':3} {finding.what:13} {finding.text}")
    if not all(finding.ok for finding in findings if finding.needed):
        raise SystemExit(1)


def _print_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a table where a person looks on, else lines with tabs."""
    if not sys.stdout.isatty():
        for line in lines:
            print(*line, sep="\t")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*head, box=None, pad_edge=False)
    for line in lines:
        table.add_row(*line)
    Console().print(table)
