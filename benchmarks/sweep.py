"""A sweep on two workers against one, what its engine costs, and what finished points cost again.

Points are real trainings of some seconds, each on one thread. Two workers need two free cores.
"""

import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _bench import Report, interleaved, parser, ratios
from recondoor import sweeps

POINTS = 16
SECONDS = 10.0
FINISHED = 100
TINY = {
    "data": {"limit": 20},
    "model": {"width": 2, "code": 2},
    "train": {"max_epochs": 1},
    "attack": {"names": ["none"]},
}


def main() -> None:
    options = parser(__doc__, rounds=2)
    options.add_argument("--seconds", type=float, default=SECONDS, help="of a point, about")
    arguments = options.parse_args()
    tiny = arguments.tiny
    os.environ |= {"OMP_NUM_THREADS": "1"}
    report = Report("sweep", arguments)
    epochs = 1 if tiny else calibrated(arguments.seconds)
    count, finished = (2, 3) if tiny else (POINTS, FINISHED)
    spec, fewer = (points(epochs, n, **(TINY if tiny else {})) for n in (count, min(count, 4)))
    contestants: dict[str, Callable[[], float]] = {
        f"{workers} workers": (lambda workers=workers: wall(spec, workers)) for workers in (1, 2)
    }
    measured = interleaved(arguments.rounds, contestants, warm_up=not tiny)
    for name, values in measured.items():
        report.add(f"{count} points, {name}", values, "s")
    report.add(
        "two workers are faster than one by",
        ratios(measured["1 workers"], measured["2 workers"]),
        "x",
        at_least=1.7,
    )
    shares = [driver_share(fewer, 1 if tiny else 2) for _ in range(arguments.rounds)]
    report.add("CPU of driver and scheduler, of all", [100 * s for s in shares], "%", at_most=3)
    report.add("finished points again", again(arguments.rounds, finished), "s / 1,000", at_most=1)
    report.close()


def points(epochs: int, seeds: int, **changes: object) -> sweeps.Sweep:
    """A sweep of one point with many seeds, which are one task each."""
    base = {"attack": {"names": ["none"]}, "train": {"max_epochs": epochs, "patience": epochs}}
    base |= {"data": {"limit": 1000}, "model": {"width": 32, "code": 16}}
    point = {"name": "a", "set": {"poison.ratio": 0.1}}
    return sweeps.parse({"seeds": seeds, "base": base | changes, "point": [point]})


def run(spec: sweeps.Sweep, workers: int, folder: Path) -> None:
    """Run a sweep; raises if a point fails."""
    results = sweeps.run(spec, folder, workers)
    if results.failures:
        raise RuntimeError(str(results.failures))


def calibrated(seconds: float) -> int:
    """Epochs that take so long."""
    with tempfile.TemporaryDirectory() as folder:
        run(points(1, 1), 0, Path(folder) / "warm")
        begun = time.perf_counter()
        run(points(8, 1), 0, Path(folder) / "timed")
        return max(1, round(8 * seconds / (time.perf_counter() - begun)))


def wall(spec: sweeps.Sweep, workers: int) -> float:
    """Seconds that all points take, the start of the workers included."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        run(spec, workers, Path(folder) / "sweep")
        return time.perf_counter() - begun


def driver_share(spec: sweeps.Sweep, workers: int) -> float:
    """CPU of this process, which drives and schedules, over that of all, start-up left out."""
    with tempfile.TemporaryDirectory() as folder:
        own, children = time.process_time(), of_children()
        run(spec, workers, Path(folder) / "sweep")
        own = time.process_time() - own
        return own / (own + of_children() - children)


def of_children() -> float:
    """CPU seconds of the processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def again(rounds: int, count: int) -> list[float]:
    """Seconds for a thousand finished points, from so many."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        spec = sweeps.parse(
            {
                "seeds": count,
                "base": TINY,
                "point": [{"name": "a", "set": {"poison.ratio": 0.1}}],
            }
        )
        run(spec, 0, Path(folder) / "sweep")
        for _ in range(rounds + 1):
            begun = time.perf_counter()
            run(spec, 0, Path(folder) / "sweep")
            found.append((time.perf_counter() - begun) * 1000 / count)
    return found[1:]


if __name__ == "__main__":
    main()
