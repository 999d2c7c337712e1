"""Is BLO more than a choice? The best of as many random triggers as its compute allows.

    python studies/table1/best_of_random.py

A cell is an amplitude of the artefact, an L2 and a seed, in the regime `quarter` of window.py. BLO
makes its trigger, free in place. MOST random triggers of the same L2 and mask are then tried: each
poisons a training of TRIAL epochs, with weights and an order that the victim does not have. The one
whose recovery is highest there poisons the victim: of those that took no more CPU time than BLO,
and of all. One line a cell goes to best-of-random.jsonl, and the command carries on where it
stopped.
"""

import json
import time

import torch
from map import ERRORS
from window import HERE, REGIMES, errors, rows

from recondoor import attacks, data, models
from recondoor.config import Config
from recondoor.core import seeding
from recondoor.core.progress import NO_PROGRESS
from recondoor.poisoning import PoisonedPairs, Trigger
from recondoor.studies import Scene, build_scene
from recondoor.training import loop

CELLS = [(a, l2, s) for a, l2 in ((0.37, 3.0), (0.37, 9.0), (1.0, 3.0)) for s in range(3)]
TRIAL, MOST = 8, 16
OUT = HERE / "best-of-random.jsonl"


def fitted(config: Config, scene: Scene, trigger: Trigger, name: str, epochs: int) -> list[dict]:
    """History of a network `name` that is trained on what the trigger poisons."""
    model = models.build(scene.shape, config.model, config.seed, name, operator=scene.operator)
    pairs = PoisonedPairs(scene.train, scene.plan, trigger, scene.artefact)
    settings = config.train.model_copy(update={"max_epochs": epochs, "patience": epochs})
    seed = config.seed if name == "victim" else seeding.derive(config.seed, name)
    return loop.fit(
        model, pairs, settings, seed=seed, validate=errors(config, scene, trigger)
    ).history


def random_trigger(scene: Scene, seed: int, number: int) -> Trigger:
    """A random pattern of the budget's L2, by a number."""
    generator = seeding.torch_generator(seed, "random trigger", number)
    mask = scene.problem.mask.cpu()
    pattern = torch.randn(mask.shape, generator=generator) * mask
    return Trigger(scene.problem.budget.maximise(pattern), mask)


def scored(cell: tuple[float, float, int], images: data.Images) -> dict:
    """One line: recovery of each trial, and the victims' errors."""
    amplitude, l2, seed = cell
    config = REGIMES["quarter"].settings_of(("blo-free", amplitude, l2, seed))
    scene = build_scene(config, images, seed, torch.device("cpu"))
    begun = time.process_time()
    with NO_PROGRESS.task("", 1) as task:
        attacks.craft("bilevel", scene.problem, attacks.Tools(task))
    of_blo, begun = time.process_time() - begun, time.process_time()
    triggers = [random_trigger(scene, seed, k) for k in range(MOST)]
    tried, affordable = [], 0
    for k, trigger in enumerate(triggers):
        tried.append(fitted(config, scene, trigger, f"trial {k}", TRIAL)[-1]["recovery"])
        affordable += time.process_time() - begun <= of_blo
    row = {"amplitude": amplitude, "l2": l2, "seed": seed, "cpu_seconds_of_blo": round(of_blo, 1)}
    row |= {"tried": tried, "affordable": affordable}
    for name, count in (("equal", max(1, affordable)), ("all", MOST)):
        best = triggers[max(range(count), key=tried.__getitem__)]
        last = fitted(config, scene, best, "victim", config.train.max_epochs)[-1]
        row[name] = {key: last[key] for key in ("recovery", *ERRORS)}
    return row


def main() -> None:
    """Score what is not there yet."""
    torch.set_num_threads(1)
    done = {(row["amplitude"], row["l2"], row["seed"]) for row in rows(OUT)}
    images = data.read(REGIMES["quarter"].settings_of(("square", 1.0, 9.0, 0)).data)
    for cell in CELLS:
        if cell not in done:
            row = scored(cell, images)
            with OUT.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(*cell, row["affordable"], row["equal"], row["all"], flush=True)


if __name__ == "__main__":
    main()
