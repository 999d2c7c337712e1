"""The driver of a sweep: what is left to do, in order, handed out; answers written down."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from recondoor import data
from recondoor.config import checked, dumped, original_identity
from recondoor.core import caller
from recondoor.core.errors import ConfigError
from recondoor.core.progress import NO_PROGRESS, Progress
from recondoor.core.progress import Task as Bar
from recondoor.core.words import plural
from recondoor.rundir import RunDir, require_place
from recondoor.sweeps._pool import Placement, Pool, open_pool
from recondoor.sweeps._spec import Point, Sweep
from recondoor.sweeps._table import SweepFolder
from recondoor.sweeps._work import Answer, Task, rows_of


@dataclass(frozen=True)
class Execution:
    """How points are run, which no number may depend on (beyond rounding)."""

    where: Placement = field(default_factory=Placement)
    device: str = "auto"
    threads: int = 1
    command: str = "recondoor sweep"
    progress: Progress = NO_PROGRESS

    def __post_init__(self) -> None:
        """Refuse what cannot be; raises ConfigError."""
        if self.threads < 1:
            raise ConfigError(f"--threads: {self.threads} given; expected 1 or more")


@caller.afresh()
def drive(sweep: Sweep, out: Path, execution: Execution) -> SweepFolder:
    """Bring every point of `sweep` to its end in the folder `out`, or write down why it failed."""
    require_place(out)
    sweep = replace(sweep, points=tuple(map(_checked, sweep.points)))
    for name, folder in {(point.config.data.name, point.config.data.dir) for point in sweep.points}:
        data.find(name, folder)
    with RunDir(out).lock():
        results = SweepFolder(out, sweep, execution.command)
        for point in sweep.points:
            rows = rows_of(out / point.place, point.config)
            if rows is not None:
                results.rows[point.place] = rows
        results.write(now=True)
        if len(results.rows) < len(sweep.points):
            _run(results, execution)
    return results


def _checked(point: Point) -> Point:
    """The point with its settings validated anew; raises ConfigError, which names it."""
    try:
        return replace(point, config=checked(point.config))
    except ConfigError as error:
        raise ConfigError(f"point '{point.name}': {error}") from None


def _run(results: SweepFolder, execution: Execution) -> None:
    begun = time.time()
    waiting = [point for point in results.sweep.points if point.place not in results.rows]
    total, done = len(results.sweep.points), len(results.rows)
    with (
        open_pool(execution.where, len(waiting)) as pool,
        execution.progress.task(f"sweep of {plural(total, 'point')}", total, done) as bar,
    ):
        try:
            owners = _owners(results)
            tasks = [
                _task(point, owners.get(point.place), results.out, execution, begun)
                for point in waiting
            ]
            _hand_out(tasks, results, pool, execution, bar)
        finally:
            results.write(now=True)


def _owners(results: SweepFolder) -> dict[str, str]:
    """For the points that share an original model, by place, the place of the one that trains it.

    One that is finished, or else the first in order.
    """
    groups: dict[str, list[str]] = {}
    for point in results.sweep.points:
        if "none" in point.config.attack.names:
            groups.setdefault(original_identity(point.config), []).append(point.place)
    owners: dict[str, str] = {}
    for places in groups.values():
        owner = next((place for place in places if place in results.rows), places[0])
        owners |= {place: owner for place in places if place != owner}
    return owners


def _ready(waiting: list[Task], results: SweepFolder) -> Task | None:
    """The first task that waits for no other; one whose owner failed trains its own."""
    ended = results.rows.keys() | results.failures.keys()
    return next((task for task in waiting if task.after is None or task.after in ended), None)


def _hand_out(
    waiting: list[Task], results: SweepFolder, pool: Pool, execution: Execution, bar: Bar
) -> None:
    running = 0
    while waiting or running:
        while running < pool.slots() and (task := _ready(waiting, results)) is not None:
            waiting.remove(task)
            pool.submit(task)
            running += 1
        bar.advance(0, _note(results, running))
        for task, answer in pool.collect():
            running -= 1
            _note_down(task, answer, results, execution.progress)
            bar.advance(1, _note(results, running))
        results.write()


def _note_down(task: Task, answer: Answer, results: SweepFolder, progress: Progress) -> None:
    for text in answer.said:
        progress.say(f"{task.point}, seed {task.seed}: {text}")
    if answer.error is None:
        results.rows[task.place] = answer.rows
    else:
        results.failures[task.place] = answer.error
        progress.say(f"{task.point}, seed {task.seed}: failed: {answer.error}")


def _note(results: SweepFolder, running: int) -> str:
    return f"{len(results.rows)} done, {running} running, {len(results.failures)} failed"


def _task(point: Point, owner: str | None, out: Path, execution: Execution, begun: float) -> Task:
    folder = point.config.data.dir
    return Task(
        point=point.name,
        seed=point.seed,
        place=point.place,
        settings=dumped(point.config),
        data_dir=str(folder) if folder else None,
        folder=str(out.absolute() / point.place),
        device=execution.device,
        threads=execution.threads,
        command=execution.command,
        sweep_begun=begun,
        original=str(out.absolute() / owner) if owner else None,
        after=owner,
    )
