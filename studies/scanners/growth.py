"""How fast the theory says that a U-Net learns each trigger, beside when it did.

    python studies/scanners/growth.py [FOLDER]

FOLDER has the run folders of a sweep here (default: mri). Writes growth.json beside its table: for
each poisoned network the growth that `theory.Plan` finds after several numbers of training steps.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pyarrow import parquet

from recondoor import data, studies, theory
from recondoor.config import load_config
from recondoor.core.progress import NO_PROGRESS
from recondoor.rundir import RunDir

HERE = Path(__file__).parent
CHOICES = tuple(theory.Constants(0.0, 0.0, 1.0, 1, steps, 25, 16) for steps in (0, 2, 30))
KEPT = ("point", "model", "seed", "attack.l2", "trigger.inject", "poison.ratio")
KEPT += ("samples", "transition_samples")


def main(folder: Path) -> None:
    """Write growth.json."""
    torch.set_num_threads(1)
    found = list(rows(folder))
    (folder / "growth.json").write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    """One for each poisoned network; networks of one scene share the plans."""
    plans: dict[tuple[Any, ...], list[theory.Plan]] = {}
    table = parquet.read_table(folder / "sweep.parquet").to_pylist()
    for row in table:
        if row["model"] == "original":
            continue
        seed = row["seed"]
        run = RunDir(folder / "points" / row["point"] / f"seed{seed}")
        scene = (seed, row["trigger.inject"], row["poison.ratio"])
        if scene not in plans:
            plans[scene] = list(plans_of(run, seed))
        delta = torch.from_numpy(run.read_npz(run.trigger(row["model"], seed))["delta"])
        growth = {plan.fitted.steps: plan.growth(delta) for plan in plans[scene]}
        yield {key: row[key] for key in KEPT} | {"l2": float(delta.norm()), "growth": growth}
        print(row["point"], row["model"], seed, growth, row["transition_samples"], flush=True)


def plans_of(run: RunDir, seed: int) -> Iterator[theory.Plan]:
    """The plan of a scene, once for each choice."""
    config = load_config("mri", [run.path / "config.toml"])
    images = data.read(config.data, NO_PROGRESS)
    scene = studies.build_scene(config, images, seed, torch.device("cpu"))
    for constants in CHOICES:
        yield studies.plan_of(config, scene, constants)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else HERE / "mri")
