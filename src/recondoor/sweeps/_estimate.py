"""What a sweep would take: counted, and timed with a few training steps here and now."""

import time

from recondoor.config import Config, identity, original_identity
from recondoor.core import caller
from recondoor.core.words import plural
from recondoor.sweeps._engine import Execution
from recondoor.sweeps._spec import Point, Sweep

WARM_UP, STEPS = 2, 8
SHOWN = 5

Key = tuple[object, ...]


@caller.afresh()
def estimate(sweep: Sweep, execution: Execution) -> str:
    """Return the dry run of a sweep in words; writes nothing."""
    timed: dict[Key, float] = {}
    total, models = 0.0, 0
    originals: set[str] = set()
    for point in sweep.points:
        kind = _kind(point.config)
        if kind not in timed:
            timed[kind] = _seconds(point.config, execution.threads)
        names = set(point.config.attack.names)
        if original_identity(point.config) in originals:
            names -= {"none"}
        elif "none" in names:
            originals.add(original_identity(point.config))
        total += timed[kind] * len(names)
        models += len(names)
    seeds = len({point.seed for point in sweep.points})
    n = len(sweep.points)
    workers = execution.where.workers or 1
    size = f"{plural(n // seeds, 'setting')} x {plural(seeds, 'seed')}"
    shared = f"{_time(total / workers)} on {plural(workers, 'such worker')}"
    kinds = plural(len(timed), "kind")
    return f"""\
{plural(n, "point")} ({size}), {plural(models, "network")} to train
at most {_time(total)} of training one by one, {shared}
(timed: {STEPS} steps of each of {kinds} of training, here and now, for all epochs;
crafting, evaluation and early stopping are not counted)
{_first(sweep.points)}"""


def _first(points: tuple[Point, ...]) -> str:
    lines = [f"  {point.name}, seed {point.seed}: {identity(point.config)}" for point in points]
    return "\n".join(lines[:SHOWN] + [f"  and {len(lines) - SHOWN} more"] * (len(lines) > SHOWN))


def _kind(config: Config) -> Key:
    """All that the time of a training depends on."""
    from recondoor import models

    needed = models.load(config.model.name).needs_operator
    return config.data, config.model, config.train, config.operator if needed else None


def _seconds(config: Config, threads: int) -> float:
    """Seconds of one training with all its epochs, from a few steps on random pairs."""
    import torch

    from recondoor import data, models, operators
    from recondoor.core import seeding
    from recondoor.training import loop

    images = data.read(config.data)
    pairs = len(data.split(images, config.data, config.seed).train)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        operator = operators.build(images.shape, config.operator, config.seed)
        model = models.build(images.shape, config.model, config.seed, operator=operator)
        optimiser = loop.make_adam(model, config.train.lr)
        shape = (min(config.train.batch, pairs), *images.shape)
        z = torch.rand(shape, generator=seeding.torch_generator(config.seed, "timing"))
        for step in range(WARM_UP + STEPS):
            if step == WARM_UP:
                begun = time.perf_counter()
            loop.adam_step(model, optimiser, z, z, kind=config.train.loss)
        seconds = (time.perf_counter() - begun) / STEPS
    finally:
        torch.set_num_threads(before)
    seen = loop.epoch_pairs(pairs, config.train) * config.train.max_epochs
    return seconds * seen / shape[0]


def _time(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
