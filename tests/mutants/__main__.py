"""Change the core files a little, one change at a time, and say which changes no test notices."""

from __future__ import annotations

import argparse
import random
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mutants.change import Mutant, mutants
from mutants.core import HERE, SOURCE, core, module_of
from mutants.run import FACTOR, SPARE, Job, outcomes, warm_up

BASELINE = 600.0
"""Seconds that a test file may take on the code as it is."""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=450, help="mutants at most (default: 450)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    parser.add_argument("--only", default="", help="files whose path contains this")
    parser.add_argument("--workers", type=int, default=2, help="processes at once (default: 2)")
    given = parser.parse_args()
    tests = {path: files for path, files in core().items() if given.only in str(path)}
    chosen = sample(tests, given.count, given.seed)
    warm_up()
    taken = baseline(sorted({file for each in chosen for file in tests[each.path]}), given.workers)
    jobs = [_job(each, tests[each.path], taken) for each in chosen]
    survived = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("mutants", total=len(jobs))
        for place, code, _ in outcomes(jobs, given.workers):
            survived += [chosen[place]] if code == 0 else []
            progress.update(bar, advance=1)
    _show(chosen, survived)


def sample(paths: dict[Path, tuple[Path, ...]], count: int, seed: int) -> list[Mutant]:
    """At most `count` mutants of the files, drawn by `seed`, without those known as equivalent."""
    known = {tuple(entry[key] for key in KEY) for entry in equivalent()}
    found = [each for path in paths for each in mutants(path) if key_of(each) not in known]
    chosen = random.Random(seed).sample(range(len(found)), min(count, len(found)))
    return [found[place] for place in sorted(chosen)]


KEY = ("file", "function", "line", "old", "new")


def key_of(mutant: Mutant) -> tuple[str, ...]:
    """What tells a mutant from others, whatever the number of its line."""
    file = str(mutant.path.relative_to(SOURCE))
    return file, mutant.function, mutant.text, mutant.old, mutant.new


def equivalent() -> list[dict[str, str]]:
    """The kept list of mutants that change no result, each with the reason."""
    text = (HERE / "equivalent.toml").read_text(encoding="utf-8")
    entries: list[dict[str, str]] = tomllib.loads(text)["mutant"]
    return entries


def baseline(files: Sequence[Path], workers: int) -> dict[Path, float]:
    """Seconds of each test file on the code as it is; ends the program where one fails."""
    taken = {}
    for place, code, seconds in outcomes([Job((file,), BASELINE) for file in files], workers):
        if code != 0:
            sys.exit(f"{files[place].name} does not pass on the code as it is")
        taken[files[place]] = seconds
    return taken


def _job(mutant: Mutant, files: tuple[Path, ...], taken: dict[Path, float]) -> Job:
    limit = SPARE + FACTOR * sum(taken[file] for file in files)
    return Job(files, limit, module_of(mutant.path), mutant.path, mutant.source)


def _show(tried: list[Mutant], survived: list[Mutant]) -> None:
    for each in sorted(survived, key=lambda mutant: (mutant.path, mutant.line)):
        where = f"{each.path.relative_to(SOURCE)}:{each.line} in {each.function}"
        print(f"{where}\n  - {each.old}\n  + {each.new}")
    table = Table("file", "tried", "noticed", box=None)
    for path in sorted({each.path for each in tried}):
        all_of, left = (sum(m.path == path for m in which) for which in (tried, survived))
        table.add_row(str(path.relative_to(SOURCE)), str(all_of), str(all_of - left))
    noticed = len(tried) - len(survived)
    table.add_row("all", str(len(tried)), f"{noticed} ({noticed / max(1, len(tried)):.0%})")
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
