"""What looks at things that are there: reports, lists, this machine."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from recondoor import registry
from recondoor.errors import RecondoorError, plain

Kind = Literal["datasets", "operators", "models", "attacks", "defences", "settings", "presets"]


def report(
    runs: Annotated[list[Path], Parameter(help="folders of runs, sweeps or audits")], /
) -> None:
    """Build tables, figures and report.html anew, from what lies in the folders.

    For example:

        recondoor report runs/*
        recondoor report sweeps/axes audits/*
    """
    from recondoor.report import build, build_audit

    refused = []
    for run in runs:
        # A study of ratios holds one run for each.
        for folder in sorted(run.glob("ratio-*")) or [run]:
            try:
                is_audit = (folder / "audit.json").exists()
                print(plain(str(build_audit(folder) if is_audit else build(folder))))
            except RecondoorError as error:
                refused.append(str(error))
    if refused:
        raise RecondoorError("\n".join(refused))


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


def doctor(*, data_dir: Path | None = None) -> None:
    """Tell versions, device, threads, data and disk: what would stop a study, and the remedy."""
    from recondoor.doctor import examine

    findings = examine(data_dir)
    for finding in findings:
        print(f"{'ok ' if finding.ok else '!! '} {finding.what:10} {finding.text}")
    if not all(finding.ok for finding in findings):
        raise SystemExit(1)


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
