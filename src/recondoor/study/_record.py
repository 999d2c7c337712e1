"""What a run folder says of its run: settings, provenance, the plan, the rows of results.json."""

from typing import Any

import torch

from recondoor import data, evaluation, models, provenance, rundir
from recondoor.config import Config, identity, row_label, to_dict, to_toml
from recondoor.errors import RunError
from recondoor.poison import Artefact
from recondoor.rundir import RunDir
from recondoor.study._scene import Runtime, Scene

SCHEMA = "recondoor.results/1"
# As in the paper's Table 1, the controls below.
ORDER = ("none", "heuristic", "bilevel", "random")


def rows_of(folder: RunDir) -> dict[tuple[str, int], dict[str, Any]]:
    """Rows of results.json so far, by model and seed."""
    if not folder.results.exists():
        return {}
    rows = rundir.read_json(folder.results)["rows"]
    return {(row["model"], row["seed"]): row for row in rows}


def add_row(folder: RunDir, config: Config, row: dict[str, Any], artefact: Artefact) -> None:
    """Write results.json anew with one more row, and the hedge line of its artefact."""
    rows = [*rows_of(folder).values(), row]
    order = {row_label(name): at for at, name in enumerate(ORDER)}
    rows.sort(key=lambda row: (row["seed"], order.get(row["model"], len(order)), row["model"]))
    record = rundir.read_json(folder.provenance)
    record["finished"] = provenance.now()
    record["seeds"] = sorted({row["seed"] for row in rows})
    rundir.write_json(folder.provenance, record)
    previous = rundir.read_json(folder.results) if folder.results.exists() else {}
    results = {
        "schema": SCHEMA,
        "identity": identity(config),
        "config": to_dict(config),
        "provenance": record,
        "poison_ratio": config.poison.ratio,
        "hedge": evaluation.hedge_line(artefact, config.poison.ratio),
        "asr_taus": list(evaluation.TAUS),
        "rows": rows,
        "summary": evaluation.summarise(rows),
    }
    if "ratios" in previous:
        results["ratios"] = previous["ratios"]
    rundir.write_json(folder.results, results)


def require_same_run(folder: RunDir, config: Config, fingerprint: str, patterns: str) -> None:
    """Refuse a folder that holds a run of other settings or other data."""
    if not folder.path.exists():
        return
    if not folder.provenance.exists():
        if not folder.path.is_dir():
            raise RunError(f"{folder.path}: is a file; choose another --out")
        strange = {path.name for path in folder.path.iterdir()} - {"lock", "config.toml"}
        if strange:
            raise RunError(f"{folder.path}: is not empty and holds no run; choose another --out")
        return
    record = rundir.read_json(folder.provenance)
    if record["identity"] != identity(config):
        raise RunError(
            f"{folder.path}: holds a run of other settings (see its config.toml); choose another "
            "--out or delete the folder"
        )
    if record["data"]["fingerprint"] != fingerprint:
        raise RunError(
            f"{folder.path}: was made from other data (fingerprint "
            f"{record['data']['fingerprint'][:12]}, now {fingerprint[:12]}); choose another --out"
        )
    if record.get("patterns") != patterns:
        raise RunError(
            f"{folder.path}: was made with another trigger or artefact file; choose another --out"
        )


def open_folder(
    folder: RunDir,
    config: Config,
    images: data.Images,
    patterns: str,
    scene: Scene,
    runtime: Runtime,
) -> None:
    """Write settings and provenance of a new run; warn if an old one ran on something else."""
    rundir.write_atomically(folder.path / "config.toml", to_toml(config).encode())
    device, threads = runtime.torch_device, torch.get_num_threads()
    if folder.provenance.exists():
        before = rundir.read_json(folder.provenance)
        now = {"threads": threads, "device": device.type, "versions": provenance.versions()}
        for key, value in now.items():
            if before[key] != value:
                runtime.progress.say(
                    f"this run began with {key} {before[key]} and carries on with {value}: numbers "
                    "may differ in their last digits from an uninterrupted run"
                )
        return
    hardware = provenance.hardware()
    if device.type == "cuda":
        hardware["gpu"] = torch.cuda.get_device_name(device)
    record = {
        "identity": identity(config),
        "patterns": patterns,
        "versions": provenance.versions(),
        "hardware": hardware,
        "device": device.type,
        "threads": threads,
        "seeds": list(range(config.seed, config.seed + config.seeds)),
        "data": {
            "name": images.name,
            "fingerprint": images.fingerprint,
            "shape": list(scene.shape),
            "train": len(scene.train),
            "validation": len(scene.validation),
            "test": len(scene.test),
        },
        "parameters": models.parameter_count(models.build(scene.shape, config.model, 0)),
        "git": provenance.git_state(),
        "command": runtime.command,
        "started": provenance.now(),
        "finished": None,
    }
    rundir.write_json(folder.provenance, record)


def write_plan(folder: RunDir, scene: Scene) -> None:
    """Save which training and validation pairs are poisoned, for whoever looks for them."""
    plans = {"train": scene.plan, "validation": scene.validation_plan}
    arrays = {name: plan.poisoned.numpy() for name, plan in plans.items()}
    folder.write_npz(folder.path / f"plan-seed{scene.seed}.npz", arrays)
