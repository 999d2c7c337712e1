"""Several trainings at once on one device, with the numbers that each has alone.

On a GPU their recorded steps run beside each other, each on a stream of its own. On a CPU, where
one training has all threads already, they take turns by the epoch.
"""

from collections.abc import Generator, Iterable

from recondoor.training.loop import Fitting

Course = Generator[Fitting, None, None]
"""Work that hands out each of its trainings, and goes on when that is finished."""


def take_turns(courses: Iterable[Course], most: int) -> None:
    """Bring all courses to their end, of `most` at a time; the next is begun as one ends.

    An error of a training is raised in its course; one that a course does not catch ends all.
    """
    waiting, live = iter(courses), dict[Course, Fitting]()
    try:
        while True:
            while len(live) < most and (course := next(waiting, None)) is not None:
                _go_on(course, live)
            if not live:
                return
            _turn(live)
    finally:
        for course in live:
            course.close()


def _go_on(course: Course, live: dict[Course, Fitting], error: Exception | None = None) -> None:
    """Let a course work until it has a training with an epoch to make, or is at its end."""
    live.pop(course, None)
    fitting = next(course, None) if error is None else _thrown(course, error)
    while fitting is not None and fitting.finished:
        fitting = next(course, None)
    if fitting is not None:
        live[course] = fitting


def _thrown(course: Course, error: Exception) -> Fitting | None:
    try:
        return course.throw(error)
    except StopIteration:
        return None


def _turn(live: dict[Course, Fitting]) -> None:
    """One epoch of every training; steps of those that pause are begun in turn."""
    going = {course: fitting.epoch() for course, fitting in live.items()}
    while going:
        for course, epoch in list(going.items()):
            try:
                paused = next(epoch, epoch) is not epoch
            except Exception as error:  # noqa: BLE001 (its course decides what becomes of it)
                del going[course]
                _go_on(course, live, error)
                continue
            if not paused:
                del going[course]
    for course, fitting in list(live.items()):
        if fitting.finished:
            _go_on(course, live)
