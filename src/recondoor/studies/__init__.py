"""The whole story, top to bottom: measure, craft triggers, train, judge, write results."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from recondoor import data, rundir
from recondoor.config import Config, checked, row_label, wanted
from recondoor.core import caller
from recondoor.core.errors import RunError
from recondoor.core.progress import Gathered, Stage
from recondoor.core.words import plural
from recondoor.records import Seal
from recondoor.rundir import RunDir, sealed_by_itself
from recondoor.studies import _record, _stages
from recondoor.studies._forecast import plan_of, predict
from recondoor.studies._job import Job
from recondoor.studies._own_code import faults_told, require_trainable
from recondoor.studies._scene import (
    Runtime,
    Scene,
    build_scene,
    digest_of_patterns,
    require_poison,
    require_range,
)
from recondoor.studies._shaped import injected
from recondoor.studies._sight import require_made_for, require_sight
from recondoor.studies._stored import best_epoch, load_model, stored_trigger
from recondoor.training import graph
from recondoor.training.together import Course, take_turns

__all__ = [
    "STAGES",
    "Runtime",
    "Scene",
    "build_scene",
    "course",
    "injected",
    "load_model",
    "plan_of",
    "predict",
    "run",
    "run_ratios",
    "stored_trigger",
]

STAGES = ("attack", "train", "evaluate")

# What a study of ratios lists for each: validation yardsticks of the epoch whose weights were kept.
RATIO_COLUMNS = (
    "validation_loss",
    "selection_loss",
    "benign_rmse",
    "attack_rmse",
    "artefact_recovery",
    "ghost",
)


@caller.afresh()
def run(
    config: Config,
    out: str | Path,
    runtime: Runtime | None = None,
    stages: tuple[str, ...] = STAGES,
    images: data.Images | None = None,
    original: Path | None = None,
) -> Path:
    """Bring the run folder `out` to the end of `stages` for every seed and attack of `config`.

    `images` are those of `config.data`, by a caller who has loaded them for several runs.
    `original` is the folder of a run of the same `config.original_identity`: if its original model
    is finished, it is taken over and not trained again.

    Returns the folder.

    Raises:
        RecondoorError: before anything is written, where settings or data are at fault.

    Example:
        >>> import recondoor as rd
        >>> rd.run_study(rd.load_config("smoke"), "runs/smoke").name
        'smoke'
    """
    runtime = runtime or Runtime()
    with _opened(config, Path(out), runtime, stages, images, original) as courses:
        take_turns(courses, runtime.together)
    return Path(out)


def course(
    config: Config, out: Path, runtime: Runtime, images: data.Images, original: Path | None
) -> Course:
    """All of a study as `run` does it, whose trainings are handed out, one after the other.

    Who calls it computes `caller.afresh`.
    """
    with _opened(config, out, runtime, STAGES, images, original) as courses:
        for each in courses:
            yield from each


@contextmanager
def _opened(
    config: Config,
    out: Path,
    runtime: Runtime,
    stages: tuple[str, ...],
    images: data.Images | None,
    original: Path | None,
) -> Iterator[Iterator[Course]]:
    """What is left to do in a run folder, which is held meanwhile; raises as `run` does."""
    config = rundir.as_spelled(out, checked(config))
    with faults_told(config):
        yield from _courses_of(config, out, runtime, stages, images, original)


def _courses_of(
    config: Config,
    out: Path,
    runtime: Runtime,
    stages: tuple[str, ...],
    images: data.Images | None,
    original: Path | None,
) -> Iterator[Iterator[Course]]:
    device = runtime.torch_device
    graph.require_precision(config.train, device)
    images = images or data.read(config.data, runtime.progress)
    patterns = digest_of_patterns(config, images)
    folder = RunDir(out, Seal.of(config, images.fingerprint, patterns))
    _record.require_same_run(folder, config, images.fingerprint, patterns)
    if wanted(config) <= _record.rows_of(folder).keys():
        yield iter(())
        return
    first = build_scene(config, images, config.seed, device)
    require_poison(config, len(first.train), len(first.validation))
    require_range(config, first)
    require_trainable(config, first)
    require_sight(config, first)
    require_made_for(config, first)
    _require_inputs(folder, config, stages)
    if first.world.note is not None:
        runtime.progress.say(f"{first.world.note} (seed {config.seed})")
    with folder.lock():
        _record.require_same_run(folder, config, images.fingerprint, patterns)
        _record.open_folder(folder, config, images, patterns, first, runtime)
        with _gathered(runtime, len(_steps(config, stages)) * config.seeds) as inner:
            yield _courses(config, images, folder, first, inner, stages, original)


@contextmanager
def _gathered(runtime: Runtime, steps: int) -> Iterator[Runtime]:
    """How to run where several networks are trained at once: their tasks are told as one."""
    if runtime.together == 1:
        yield runtime
        return
    what = f"{plural(steps, 'stage')}, up to {runtime.together} networks at once"
    with runtime.progress.task(what, steps) as task:
        yield replace(runtime, progress=Gathered(runtime.progress, task))


def _courses(
    config: Config,
    images: data.Images,
    folder: RunDir,
    first: Scene,
    runtime: Runtime,
    stages: tuple[str, ...],
    original: Path | None,
) -> Iterator[Course]:
    """For each network of the run, what its stages have to do; a seed is begun as it is needed."""
    device = runtime.torch_device
    for seed in range(config.seed, config.seed + config.seeds):
        scene = first if seed == config.seed else build_scene(config, images, seed, device)
        job = Job(folder, config, scene, runtime)
        job.scene = _stages.choose(job)
        _record.write_plan(folder, job.scene)
        if original is not None and "none" in config.attack.names and "train" in stages:
            _stages.take_original(job, RunDir(original, folder.seal))
        job.scene = _stages.locate(job)
        steps = _steps(config, stages)
        before, of = len(steps) * (seed - config.seed), len(steps) * config.seeds
        numbered = list(enumerate(steps, before + 1))
        for name in config.attack.names:
            own = [(stage, number) for number, (of_name, stage) in numbered if of_name == name]
            told = {stage: Stage(runtime.progress, number, of) for stage, number in own}
            yield _network(job, name, {s: replace(runtime, progress=p) for s, p in told.items()})


def _network(job: Job, name: str, runtimes: dict[str, Runtime]) -> Course:
    """Bring one network through its stages; `runtimes` say how, in order."""
    label, seed = row_label(name), job.scene.seed
    for stage, runtime in runtimes.items():
        job.runtime = runtime  # others of the seed may have had their turn in between
        if stage == "attack":
            _stages.craft(job, name)
        elif stage == "train":
            yield from _stages.train(job, name)
        elif (label, seed) not in _record.rows_of(job.folder):
            _stages.evaluate(job, name)


def _require_inputs(folder: RunDir, config: Config, stages: tuple[str, ...]) -> None:
    """Refuse before anything is computed if an earlier stage, not asked for, has left a gap."""
    for seed in range(config.seed, config.seed + config.seeds):
        for name in config.attack.names:
            label = row_label(name)
            model = folder.model(label, seed)
            trigger = folder.trigger(label, seed)
            if "train" not in stages and "evaluate" in stages and not model.exists():
                raise RunError(f"{model}: there is no such model yet; run `recondoor train` first")
            if "attack" not in stages and name != "none" and not trigger.exists():
                raise RunError(
                    f"{trigger}: there is no such trigger yet; run `recondoor attack` first"
                )


def _steps(config: Config, stages: tuple[str, ...]) -> list[tuple[str, str]]:
    """Attack and stage of all that a seed asks for, in order."""
    return [
        (name, stage)
        for name in config.attack.names
        for stage in STAGES
        if stage in stages and (name, stage) != ("none", "attack")
    ]


@caller.afresh()
def run_ratios(
    config: Config, out: Path, ratios: list[float], runtime: Runtime | None = None
) -> Path:
    """Choose the poisoning ratio as the paper does (section 4.1) and run the study there.

    The heuristic attack is trained at each of `ratios`, in `out`/ratio-P; the ratio of least
    selection loss, the mean of the benign and the attack error on the validation set, wins. Returns
    the winner's folder, whose results list all ratios.
    """
    config, runtime = checked(config), runtime or Runtime()
    rundir.require_place(out)
    probes = [_at_ratio(config, ratio, ("heuristic",)) for ratio in ratios]
    images = data.read(config.data, runtime.progress)
    splits = data.split(images, config.data, config.seed)
    for probe in probes:
        # Before the first of them takes its hours.
        require_poison(probe, len(splits.train), len(splits.validation))
    table = []
    for number, (ratio, probe) in enumerate(zip(ratios, probes, strict=True), 1):
        runtime.progress.say(
            f"ratio {number} of {len(ratios)}: the heuristic attack is trained at p = {ratio:g}"
        )
        folder = sealed_by_itself(run(probe, out / _folder_name(ratio), runtime, images=images))
        seeds = range(config.seed, config.seed + config.seeds)
        rows = [best_epoch(folder, "heuristic", seed) for seed in seeds]
        table.append({"ratio": ratio} | {key: _mean(rows, key) for key in RATIO_COLUMNS})
    best = min(table, key=lambda line: line["selection_loss"])["ratio"]
    runtime.progress.say(
        f"p = {best:g} has the least selection loss of {', '.join(f'{p:g}' for p in ratios)}: the "
        "study runs there"
    )
    chosen = _at_ratio(config, best, config.attack.names)
    folder = sealed_by_itself(run(chosen, out / _folder_name(best), runtime, images=images))
    results = folder.read_results()
    ratios_tried = [{**line, "chosen": line["ratio"] == best} for line in table]
    if results.get("ratios") != ratios_tried:
        folder.write_results(results | {"ratios": ratios_tried})
    return folder.path


def _at_ratio(config: Config, ratio: float, attacks: tuple[str, ...]) -> Config:
    poison = config.poison.model_copy(update={"ratio": ratio})
    names = config.attack.model_copy(update={"names": attacks})
    return checked(config.model_copy(update={"poison": poison, "attack": names}))


def _folder_name(ratio: float) -> str:
    """ratio-P, P with all its digits: two ratios never share a folder."""
    short = f"{ratio:g}"
    return f"ratio-{short if float(short) == ratio else repr(float(ratio))}"


def _mean(rows: list[dict[str, float]], key: str) -> float:
    return float(np.mean([row[key] for row in rows]))
