"""Fuzz every reader and print what became of the inputs; exit code 1 if one was mishandled."""

import argparse
import sys

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from fuzzing.drive import Count, drive, plan, reproducer
from fuzzing.targets import TARGETS


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m fuzzing", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="inputs (default: 20000)")
    parser.add_argument("--seed", type=int, default=0, help="of all inputs (default: 0)")
    parser.add_argument("--first", type=int, default=0, help="index of the first input")
    parser.add_argument("--only", choices=sorted(TARGETS), help="one target alone")
    parser.add_argument("--keep-going", action="store_true", help="do not end at a failure")
    given = parser.parse_args()
    counts, table = plan(given.count, given.only), {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("fuzzing", total=sum(counts.values()))
        for name, count in drive(counts, given.seed, given.first):
            table[name] = count
            progress.update(task, advance=1, description=name)
            if count.failures and not given.keep_going:
                break
    _show(table, given.seed)
    sys.exit(any(count.failures for count in table.values()))


def _show(counts: dict[str, Count], seed: int) -> None:
    table = Table(
        "target", "inputs", "refused", "accepted", "failed", "slowest", "memory", box=None
    )
    for name, c in counts.items():
        cells = (c.inputs, c.refused, c.accepted, len(c.failures))
        table.add_row(name, *map(str, cells), f"{c.slowest:.2f} s", f"{c.memory >> 20} MiB")
    table.add_row("all", *(str(sum(getattr(c, what) for c in counts.values()))
                           for what in ("inputs", "refused", "accepted")))  # fmt: skip
    Console(highlight=False).print(table)
    for name, count in counts.items():
        for index, text in count.failures:
            print(f"\n{name}: {text.rstrip()}\n{reproducer(name, seed, index)}", file=sys.stderr)


if __name__ == "__main__":
    main()
