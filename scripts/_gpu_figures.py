"""The figures of gpu.py: samples a second of a training step, a study, and a trigger."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from recondoor import attacks, data, models
from recondoor.config import Train, load_config
from recondoor.core import provenance
from recondoor.core.progress import NO_PROGRESS
from recondoor.poisoning import Artefact, Pairs, PoisonedPairs, PoisonPlan, Trigger
from recondoor.studies import Runtime, build_scene, run
from recondoor.training import graph
from recondoor.training.loop import FitState, Fitting
from recondoor.training.together import Course, take_turns

SHAPE = (1, 28, 28)


@dataclass(frozen=True)
class Size:
    """How much of it."""

    device: str
    samples: int
    epochs: int
    together: int
    seeds: int
    study: tuple[str, ...]
    iterations: int
    preset: str


FULL = Size("cuda", 25_000, 4, 16, 5, (), 50, "paper")
LEAST = Size("cpu", 50, 2, 2, 1, ("train.max_epochs=1",), 1, "smoke")


def machine() -> dict[str, object]:
    """What it was measured on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "gpu": gpu,
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "hardware": provenance.hardware(),
        "measured": provenance.now(),
    }


def of(dry_run: bool, mnist: Path | None) -> dict[str, Callable[[], object]]:
    """Name and way of each figure, what matters most first."""
    size = LEAST if dry_run else FULL
    rounded = () if dry_run else ("tf32",)  # which a CPU refuses
    found: dict[str, Callable[[], object]] = {
        "step, eager": partial(rate, size, 1, eager=True),
        "step, eager, channels last": partial(rate, size, 1, eager=True, channels_last=True),
    }
    for precision in ("float32", *rounded):
        named = f"step, recorded, {precision}"
        found[named] = partial(rate, size, 1, precision)
        found[f"{named}, channels last"] = partial(rate, size, 1, precision, channels_last=True)
        found[f"{named}, kernels by trial"] = partial(rate, size, 1, precision, by_trial=True)
        found[f"{size.together} together, {precision}"] = partial(
            rate, size, size.together, precision
        )
    found["BLO trigger"] = partial(trigger, size, mnist)
    for precision in ("float32", *rounded)[::-1]:
        for together in (4 * size.seeds, 1):
            named = f"study of {4 * size.seeds} networks, {together} together, {precision}"
            found[named] = partial(study, size, mnist, together, precision)
    return found


def noise(size: Size) -> PoisonedPairs:
    """Pairs of noise: how long a step takes does not depend on what is in the images."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(size.samples, *SHAPE, generator=generator)
    square, spot = torch.zeros(SHAPE), torch.zeros(SHAPE)
    square[:, -3:, -3:], spot[:, :3, :3] = 1, 1
    plan = PoisonPlan.draw(size.samples, 0.3, generator)
    own = Pairs(x.clone(), x).to(torch.device(size.device))
    return PoisonedPairs(own, plan, Trigger(square, square.clone()), Artefact(spot))


def squared_error(answer: Tensor, x: Tensor) -> Tensor:
    """The usual loss as one's own, whose steps are not recorded."""
    return (answer - x).square().mean()


def rate(
    size: Size,
    together: int,
    precision: str = "float32",
    *,
    eager: bool = False,
    channels_last: bool = False,
    by_trial: bool = False,
) -> dict[str, object]:
    """Training samples a second of the paper's network at batch 125, by epoch after the first.

    `by_trial`: cuDNN tries its kernels and takes the fastest.
    """
    settings = Train.model_validate(
        {"max_epochs": size.epochs, "patience": size.epochs, "precision": precision}
    )
    pairs, ends = noise(size), [list[float]() for _ in range(together)]
    # Where nothing can be recorded, the same steps are run as they come.
    recorder = None if eager or size.device == "cuda" else graph.AsItComes()

    def course(k: int) -> Course:
        def note(state: FitState) -> None:
            ends[k].append(time.perf_counter())

        model = models.build(SHAPE, load_config().model, 0, f"network-{k}")
        model = models.placed(model, torch.device(size.device), precision)
        if channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        yield Fitting(
            model,
            pairs,
            settings,
            seed=k,
            validate=_nothing,
            on_epoch=note,
            loss=squared_error if eager else None,
            recorder=recorder,
        )

    with torch.backends.cudnn.flags(enabled=True, benchmark=by_trial, allow_tf32=False):
        take_turns(map(course, range(together)), together)
    epochs = [max(each[epoch] for each in ends) for epoch in range(size.epochs)]
    seconds = [after - before for before, after in pairwise(epochs)]
    rates = [together * size.samples / each for each in seconds]
    return {"samples_per_s": round(statistics.median(rates)), "by_epoch": [round(r) for r in rates]}


def _nothing(model: nn.Module) -> dict[str, float]:
    return {"val_loss": 0.0}


def _source(mnist: Path | None) -> list[str]:
    if mnist is None:
        return ["data.name=mnist5k"]
    return ["data.name=mnist", f"data.dir={mnist.resolve()}"]


def trigger(size: Size, mnist: Path | None) -> dict[str, object]:
    """Seconds that the bi-level attack takes, warm-up of its surrogates included."""
    own = [f"attack.bilevel.iterations={size.iterations}", 'attack.names=["bilevel"]']
    settings = load_config(size.preset, overrides=[*_source(mnist), *own, *size.study])
    images = data.read(settings.data)
    scene = build_scene(settings, images, 0, torch.device(size.device))
    begun = time.perf_counter()
    with NO_PROGRESS.task("", 1) as task:
        attacks.craft("bilevel", scene.problem, attacks.Tools(task))
    seconds = time.perf_counter() - begun
    return {"seconds": round(seconds, 1), "iterations": size.iterations}


def study(size: Size, mnist: Path | None, together: int, precision: str) -> dict[str, object]:
    """Seconds of the preset `paper` with four networks a seed, from settings to results."""
    own = [f"seeds={size.seeds}", f"train.precision={precision}", "data.validation=0.1"]
    own += ['attack.names=["none", "heuristic", "random", "random@image"]']
    settings = load_config(size.preset, overrides=[*_source(mnist), *own, *size.study])
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        run(settings, Path(folder) / "run", Runtime(size.device, together=together))
        seconds = time.perf_counter() - begun
    return {"seconds": round(seconds, 1), "data": settings.data.name}
