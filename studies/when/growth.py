"""How fast every trigger of the sweeps would be learnt, from networks that were hardly trained.

    python studies/when/growth.py

writes growth.json beside this file: for each network of the sweeps here and of studies/equal-budget
when it learnt its backdoor, and the growth that `theory.Plan` finds with several choices of
Constants. It reads the run folders under */points, so run it where the sweeps were run. Networks
that growth.json has already are not looked at again.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pyarrow import parquet

from recondoor import data, studies, theory
from recondoor.config import Config, load_config
from recondoor.poisoning import Trigger
from recondoor.rundir import RunDir
from recondoor.studies import build_scene

HERE = Path(__file__).parent
ROOTS = (HERE, HERE.parent / "equal-budget")
# What the network is told of before the growth is taken; the fit chooses among them.
CHOICES = tuple(
    theory.Constants(0.0, 0.0, 1.0, networks, steps, 25, 16)
    for steps in (0, 2, 5)
    for networks in (1, 4)
)
KEPT = ("operator.name", "operator.ratio", "operator.sigma", "model.kernel", "model.width")
KEPT += ("train.batch", "poison.ratio", "trigger.place", "trigger.inject", "samples")
KEPT += ("train.max_epochs", "train.epoch_pairs", "transition_samples", "artefact_recovery")


def main() -> None:
    """Write growth.json."""
    torch.set_num_threads(1)
    images = data.load("mnist5k")
    kept = HERE / "growth.json"
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else []
    rows = known
    for root in ROOTS:
        for table in sorted(root.glob("*/sweep.parquet")):
            if (table.parent / "points").is_dir():
                rows = rows + of_sweep(table, images, {name(row) for row in known})
                print(table.parent.name, len(rows), flush=True)
                kept.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")


def name(row: dict[str, Any], sweep: str = "") -> tuple[Any, ...]:
    """What tells one network from the others."""
    return (sweep or row["sweep"], row["point"], row["model"], row["seed"])


def of_sweep(table: Path, images: data.Images, known: set[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """One row for each poisoned network of a sweep, scene by scene."""
    scenes: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in parquet.read_table(table).to_pylist():
        if row["model"] != "original" and name(row, table.parent.name) not in known:
            plain = tuple(value for key, value in sorted(row.items()) if of_scene(key))
            scenes.setdefault((row["seed"], *plain), []).append(row)
    return [line for rows in scenes.values() for line in of_scene_rows(table, rows, images)]


def of_scene(key: str) -> bool:
    """Whether a column decides what the networks are trained on, triggers apart."""
    return key.startswith(("data.", "operator.", "poison.", "model.", "train.", "artefact."))


def of_scene_rows(
    table: Path, rows: list[dict[str, Any]], images: data.Images
) -> Iterator[dict[str, Any]]:
    """Rows of one scene."""
    seed = rows[0]["seed"]
    folders = [RunDir(table.parent / "points" / row["point"] / f"seed{seed}") for row in rows]
    config: Config = load_config("quick", [folders[0].path / "config.toml"])
    scene = build_scene(config, images, seed, torch.device("cpu"))
    plans = [studies.plan_of(config, scene, constants) for constants in CHOICES]
    for row, folder in zip(rows, folders, strict=True):
        delta = torch.from_numpy(folder.read_npz(folder.trigger(row["model"], seed))["delta"])
        yield {
            "sweep": table.parent.name,
            "point": row["point"],
            "model": row["model"],
            "seed": seed,
            "l2": float(delta.norm()),
            "growth": {choice(plan): plan.growth(delta) for plan in plans},
            "average": {choice(plan): plan.average_growth(delta) for plan in plans},
            "reach": theory.structural_reach(
                plans[0].build("theory-reach"), Trigger(delta, (delta != 0).float()), scene.artefact
            ),
            "clean_l2": plans[0].clean_l2,
            "pairs": len(scene.train),
            **{key: row[key] for key in KEPT if key in row},
        }


def choice(plan: theory.Plan) -> str:
    """Name of how the growth is taken."""
    return f"{plan.fitted.steps} steps, {plan.fitted.networks} networks"


if __name__ == "__main__":
    main()
