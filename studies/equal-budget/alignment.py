"""Does the bi-level part point to where triggers are learnt faster? Writes alignment.md.

    python studies/equal-budget/alignment.py

At a random trigger, the cosine between what each form of the bi-level attack would follow and the
gradient of the growth rate, measured on other networks and other pairs. Seed 0, three surrogates
of 50, 100 and 150 steps, mean over two draws of the batches; about two minutes on two cores.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recondoor import data
from recondoor.attacks import Problem, Tools
from recondoor.attacks._bilevel import _hypergradient
from recondoor.attacks._growth import mean_growth
from recondoor.attacks._problem import random_pattern
from recondoor.attacks._surrogates import Ensemble
from recondoor.config import load_config
from recondoor.core.progress import NO_PROGRESS
from recondoor.studies._scene import build_scene

CASES = (("fourier", 0.4, "image", 1.0),)
FORMS = [
    {"objective": objective, "inner_optimiser": optimiser}
    for objective in ("image", "artefact", "recovery")
    for optimiser in ("sgd", "adam")
] + [{"objective": "image", "inner_optimiser": "sgd", "benign_weight": 0.0}]
AGES, DRAWS = (50, 100, 150), 2


def main() -> None:
    """Measure every case and write the table."""
    lines = [
        "| operator | mask | L2 | objective | lambda | inner | bi-level | direct | quotient |",
        "|:---|:---|---:|:---|:---|:---|---:|---:|---:|",
    ]
    with NO_PROGRESS.task("", 1) as task:
        tools = Tools(task)
        for operator, ratio, mask, l2 in CASES:
            problem = make_problem(operator, ratio, mask, l2)
            delta = problem.budget.maximise(random_pattern(problem, "alignment", signed=True))
            _, wanted = mean_growth(with_settings(problem, batch=125), tools, delta)
            for form in FORMS:
                numbers = measure(
                    with_settings(problem, **form), tools, delta, wanted * problem.mask
                )
                weight = (
                    "0"
                    if "benign_weight" in form or form["objective"] == "recovery"
                    else "(1 - p) / p"
                )
                cells = [
                    operator,
                    mask,
                    f"{l2:g}",
                    form["objective"],
                    weight,
                    form["inner_optimiser"],
                ]
                lines.append("| " + " | ".join([*map(str, cells), *numbers]) + " |")
                print(lines[-1], flush=True)
    Path(__file__).with_name("alignment.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_problem(operator: str, ratio: float, mask: str, l2: float) -> Problem:
    """The attacker's problem on the embedded digits, seed 0."""
    overrides = {
        "operator.name": operator,
        "operator.ratio": ratio,
        "data.validation": 0.015,
        "attack.mask": mask,
        "attack.l2": l2,
        "attack.batch": 25,
        "attack.warm_steps": 150,
        "attack.surrogates": len(AGES),
    }
    config = load_config("quick", (), [f"{key}={value}" for key, value in overrides.items()])
    images = data.load(config.data.name, None)
    return build_scene(config, images, 0, torch.device("cpu")).problem


def with_settings(problem: Problem, **settings: Any) -> Problem:
    """The same problem with other settings of the attack."""
    return replace(problem, settings=problem.settings.model_copy(update=settings))


def measure(problem: Problem, tools: Tools, delta: Tensor, wanted: Tensor) -> list[str]:
    """Cosines of minus the bi-level and minus the direct part with `wanted`; quotient of norms."""
    surrogates = Ensemble(problem, tools)
    surrogates._ages = list(AGES)
    surrogates.begin(delta)
    results = [
        _hypergradient(problem, model, delta, inner, (draw, which))
        for draw in range(DRAWS)
        for which, (model, inner) in enumerate(surrogates)
    ]
    bilevel = -sum((result.bilevel for result in results), torch.zeros_like(delta))
    direct = -sum((result.direct for result in results), torch.zeros_like(delta))
    quotient = float(bilevel.norm() / direct.norm())
    return [f"{cosine(bilevel, wanted):.2f}", f"{cosine(direct, wanted):.2f}", f"{quotient:.2g}"]


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine of the angle between two tensors."""
    return float((a * b).sum() / (a.norm() * b.norm()))


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
