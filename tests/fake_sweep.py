"""A sweep's folder without any training: the columns of a real one, numbers from formulas."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from recondoor import config

Row = dict[str, Any]
RATIOS = (0.05, 0.1, 0.2, 0.4)
BUDGETS = (1.0, 4.0, 16.0)
SEEDS = (0, 1, 2)
LEARNT = {"heuristic": 4.0, "bilevel": 1.0}


def settings(**changed: Any) -> Row:
    """Every setting under its dotted key; `changed` has two underscores for a dot."""
    flat: Row = {}
    for key, value in config.to_dict(config.Config()).items():
        leaves = value.items() if isinstance(value, dict) else []
        flat |= {f"{key}.{leaf}": entry for leaf, entry in leaves}
    flat["attack.names"] = ",".join(flat["attack.names"])
    return flat | {key.replace("__", "."): value for key, value in changed.items()}


def row(point: str, model: str, seed: int, learnt: bool, p: float, **changed: Any) -> Row:
    """A network that has learnt the backdoor but for a little, or one on the hedge line."""
    shift = 0.01 * (seed - 1)
    clean = model == "original"
    learnt = learnt and not clean
    return {
        "point": point,
        "model": model,
        "seed": seed,
        **settings(poison__ratio=p, **changed),
        "benign_rmse": 0.1 + 0.001 * seed + (0 if clean else 0.004),
        "attack_rmse": 0.12 + shift,
        "artefact_rmse": 0.1 + shift if learnt else 1 - p + shift,
        "artefact_recovery": 0.95 + shift if learnt else 0.01,
        "ghost": 0.02 if learnt else p,
        "asr": 0.98 if learnt else 0.0,
        "limit_artefact_rmse": None if clean else 0.09,
        "limit_ghost": None if clean else 0.01,
        "transition_samples": 4000 + 100 * seed if learnt else None,
        "samples": 16_000,
    }


def rows(seeds: Iterable[int] = SEEDS, models: Iterable[str] = ("original", *LEARNT)) -> list[Row]:
    """Two methods on a grid of four ratios and three budgets; p x L2 decides what is learnt."""
    found = []
    for seed in seeds:
        for p in RATIOS:
            for l2 in BUDGETS:
                name = f"attack.l2={l2:g},poison.ratio={p:g}"
                for model in models:
                    learnt = p * l2 > 0.15 * LEARNT.get(model, 0)
                    found.append(row(name, model, seed, learnt, p, attack__l2=l2))
    return found


def write(
    folder: Path,
    table: list[Row] | None = None,
    states: Mapping[str, str] | None = None,
    change: Callable[[Row], object] = lambda record: None,
) -> Path:
    """Write both files; `states` adds points in other states, `change` edits the record."""
    table = rows() if table is None else table
    folder.mkdir(parents=True, exist_ok=True)
    points = [
        {"point": point, "seed": seed, "state": "finished"}
        for point, seed in dict.fromkeys((line["point"], line["seed"]) for line in table)
    ]
    points += [{"point": name, "seed": 0, "state": s} for name, s in (states or {}).items()]
    record: Row = {
        "schema": "recondoor.sweep/1",
        "spec": {"block": [{"grid": {"attack.l2": list(BUDGETS), "poison": {"ratio": [0.1]}}}]},
        "provenance": {
            "versions": {"python": "3.12", "torch": "2.9"},
            "hardware": {"cores": 2},
            "git": None,
            "command": "recondoor sweep axes.toml",
        },
        "points": points,
        "failures": [
            {"point": point["point"], "seed": 0, "reason": "the loss became NaN"}
            for point in points
            if point["state"] == "failed"
        ],
    }
    change(record)
    (folder / "sweep.json").write_text(json.dumps(record))
    names = list(dict.fromkeys(name for line in table for name in line))
    columns = {name: pa.array([line.get(name) for line in table]) for name in names}
    parquet.write_table(pa.table(columns), folder / "sweep.parquet")
    return folder
