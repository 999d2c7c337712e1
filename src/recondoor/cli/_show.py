"""What looks at things that are there: reports, lists, this machine."""

import sys
from collections.abc import Sequence
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
        Parameter(name="--set", help="of `list settings`: a plug-in whose keys are meant as well"),
    ] = (),
) -> None:
    """Print what is registered, one line each; settings and yardsticks with what they mean.

    What another package brings is followed by its name. A class of your own needs no registration:
    give MODULE:NAME, as in --set operator.name=blur:Blur, with blur.py in the current folder.

    For example:

        recondoor list operators
        recondoor list inputs
        recondoor list settings --set operator.name=blur:Blur
    """
    if what == "presets":
        from recondoor.config import presets

        print("\n".join(presets()))
    elif what == "inputs":
        from recondoor.config import INPUT_MAPS

        width = max(map(len, INPUT_MAPS))
        print("\n".join(f"{name:{width}}  {text}" for name, text in INPUT_MAPS.items()))
    elif what == "settings":
        from recondoor.config import load_config, settings_table

        chosen = load_config(overrides=overrides) if overrides else None
        settings = [
            (line.key, line.default, line.allowed, line.meaning) for line in settings_table(chosen)
        ]
        _print_table(("key", "default", "allowed", "meaning"), settings)
    elif what == "yardsticks":
        from recondoor.records import yardstick_lines

        head, *known = yardstick_lines()
        _print_table(head, known)
    else:
        for kind in [what] if what else registry.FOLDERS:
            lines, others = registry.describe(kind), registry.origins(kind)
            width = max(len(name) for name in lines)
            print(*([] if what else [f"{kind}:"]), sep="\n", end="" if what else "\n")
            for name, text in lines.items():
                whose = f" ({others[name]})" if name in others else ""
                print(plain(f"{'' if what else '  '}{name:{width}}  {text}{whose}"))
        if faults := registry.faults():
            raise ConfigError("\n".join(faults))


def doctor(*, data_dir: Path | None = None) -> None:
    """Tell versions, device, threads, data and disk: what would stop a study, and the remedy."""
    from recondoor.cli._doctor import examine

    findings = examine(data_dir)
    for finding in findings:
        print(f"{'ok ' if finding.ok else '!! '} {finding.what:10} {finding.text}")
    if not all(finding.ok for finding in findings):
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
