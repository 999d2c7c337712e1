"""What the benchmarks share: options, interleaved rounds, medians, and the report with its bars.

Contestants take turns within one run, in an order that is turned around every round, and ratios
are formed within a round: a machine that slows down slows all of them.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from recondoor.core import provenance

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks know.

    With --tiny a benchmark goes through all that it does at the least size: its numbers mean
    nothing, and that it ends says that it runs.
    """
    options = argparse.ArgumentParser(description=description)
    cores = len(os.sched_getaffinity(0))
    options.add_argument("--threads", type=int, default=cores, help="CPU threads; default: all")
    options.add_argument("--rounds", type=int, default=rounds, help=f"default: {rounds}")
    options.add_argument("--tiny", action="store_true", help="see that it runs, measure nothing")
    options.add_argument("--json", type=Path, help="add the figures to this file")
    options.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="'cpu' with one thread gives sound ratios on a machine that others use too",
    )
    return options


def interleaved(
    rounds: int, contestants: Mapping[str, Callable[[], float]], *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Call each contestant once a round, after one round to warm up; returns what they measured."""
    measured: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(-1 if warm_up else 0, rounds):
        for name in list(contestants)[:: 1 if turn % 2 else -1]:
            value = contestants[name]()
            if turn >= 0:
                measured[name].append(value)
    return measured


def ratios(above: list[float], below: list[float]) -> list[float]:
    """Quotients, round by round."""
    return [a / b for a, b in zip(above, below, strict=True)]


@dataclass(frozen=True)
class Figure:
    """One measured number: the median of its rounds, their quartiles, and the bar if it has one."""

    name: str
    median: float
    low: float
    high: float
    unit: str
    bar: float | None = None
    bar_is: str = "at least"

    @property
    def passed(self) -> bool | None:
        """Whether the bar is met; None without a bar."""
        if self.bar is None:
            return None
        return self.median >= self.bar if self.bar_is == "at least" else self.median <= self.bar


class Report:
    """The figures of one benchmark, printed as they come in."""

    def __init__(self, name: str, arguments: argparse.Namespace) -> None:
        self.name, self.arguments = name, arguments
        self.figures: list[Figure] = []
        print(
            f"{name}: {arguments.threads} threads, {arguments.rounds} rounds, "
            f"{provenance.hardware()['processor']}; median [quartiles]"
        )

    def add(
        self,
        name: str,
        values: list[float],
        unit: str = "",
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> Figure:
        """Print the median of `values` beside its bar and keep it."""
        low, _, high = (
            statistics.quantiles(values, method="inclusive") if values[1:] else values * 3
        )
        bar, bar_is = (at_least, "at least") if at_most is None else (at_most, "at most")
        figure = Figure(name, statistics.median(values), low, high, unit, bar, bar_is)
        text = f"  {name:58} {figure.median:10.4g} {unit:10} [{low:.4g}, {high:.4g}]"
        if bar is not None:
            text += f"   bar: {bar_is} {bar:g}, {'met' if figure.passed else 'MISSED'}"
        print(text, flush=True)
        self.figures.append(figure)
        return figure

    def close(self) -> None:
        """Put the figures under the benchmark's name into the JSON file, if one is wanted."""
        path: Path | None = self.arguments.json
        if path is None:
            return
        everything = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        everything[self.name] = {
            "threads": self.arguments.threads,
            "rounds": self.arguments.rounds,
            "clock": self.arguments.clock,
            "hardware": provenance.hardware(),
            "versions": provenance.versions(),
            "measured": provenance.now(),
            "figures": [asdict(figure) | {"passed": figure.passed} for figure in self.figures],
        }
        path.write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
