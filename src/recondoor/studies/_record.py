"""What a run folder says of its run: settings, provenance, the plan, the rows of results.json."""

import math
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from recondoor import data, models, records, rundir
from recondoor.config import Config, identity, row_label, to_dict, to_toml
from recondoor.core import provenance
from recondoor.core.errors import RunError
from recondoor.evaluation import judge, yardsticks
from recondoor.poisoning import Artefact
from recondoor.records import RESULTS
from recondoor.rundir import RunDir, is_begun
from recondoor.studies._scene import Runtime, Scene

# As in the paper's Table 1, the controls below.
ORDER = ("none", "heuristic", "bilevel", "random")


def rows_of(folder: RunDir) -> dict[tuple[str, int], dict[str, Any]]:
    """Rows of results.json so far, by model and seed."""
    if not _is_there(folder.results):
        return {}
    return {(row["model"], row["seed"]): row for row in folder.read_results()["rows"]}


def add_row(folder: RunDir, config: Config, row: dict[str, Any], artefact: Artefact) -> None:
    """Write results.json anew with one more row, and the hedge line of its artefact."""
    previous = folder.read_results() if _is_there(folder.results) else {"rows": []}
    rows = [*previous["rows"], row]
    order = {row_label(name): at for at, name in enumerate(ORDER)}
    rows.sort(key=lambda row: (row["seed"], order.get(row["model"], len(order)), row["model"]))
    sealed = folder.is_sealed()
    record = folder.read_provenance() | {
        "finished": provenance.now(),
        "seeds": sorted({row["seed"] for row in rows}),
    }
    folder.write_provenance(record, sealed=sealed)
    results = {
        "schema": RESULTS,
        "identity": identity(config),
        "config": to_dict(config),
        "provenance": folder.read_provenance(),
        "poison_ratio": config.poison.ratio,
        "hedge": judge.hedge_line(artefact, config.poison.ratio, _size(artefact, rows)),
        "asr_taus": list(yardsticks.TAUS),
        "rows": rows,
        "summary": judge.summarise(rows),
    }
    if "ratios" in previous:
        results["ratios"] = previous["ratios"]
    folder.write_results(results)


def _size(artefact: Artefact, rows: list[dict[str, Any]]) -> float | None:
    """Root mean square of an artefact that differs between images, over the rows' test images."""
    if not artefact.differs:
        return None
    return math.sqrt(fmean(float(row["artefact_rms"]) ** 2 for row in rows))


def require_same_run(folder: RunDir, config: Config, fingerprint: str, patterns: str) -> None:
    """Refuse a folder that holds a run of other settings or other data, or that was changed."""
    rundir.require_place(folder.path)
    if not folder.path.exists():
        return
    if not _is_there(folder.provenance):
        own = {"lock", "config.toml", rundir.IMAGES}
        found = {path.name for path in folder.path.iterdir()} - own
        strange = [name for name in found if not is_begun(name)]
        if strange:
            raise RunError(f"{folder.path}: is not empty and holds no run; choose another --out")
        return
    record = folder.read_provenance()
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
    folder.require_settings()
    folder.require_sound()


def _is_there(path: Path) -> bool:
    """Also a link that leads nowhere, which is refused and not taken for a gap."""
    return path.exists() or path.is_symlink()


def open_folder(
    folder: RunDir,
    config: Config,
    images: data.Images,
    patterns: str,
    scene: Scene,
    runtime: Runtime,
) -> None:
    """Write settings and provenance of a new run; warn if an old one ran on something else."""
    path, text = folder.path / "config.toml", to_toml(config)
    rundir.write_atomically(path, text.encode(), inside=folder.path)
    device, threads = runtime.torch_device, torch.get_num_threads()
    if folder.provenance.exists():
        before = folder.read_provenance()
        if not folder.is_sealed():
            runtime.progress.say(
                f"{folder.path}: was begun by a version whose files do not say which run they "
                "belong to; they are taken as they are"
            )
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
        "parameters": models.parameter_count(
            models.build(scene.shape, config.model, 0, operator=scene.operator)
        ),
        "git": provenance.git_state(),
        "command": runtime.command,
        "started": provenance.now(),
        "finished": None,
    }
    folder.write_provenance(record, sealed=True)


def write_plan(folder: RunDir, scene: Scene) -> None:
    """Save which training and validation pairs are poisoned, for whoever looks for them.

    Raises RunError if a file that is there says something else: its pairs are not this run's.
    """
    plans = {"train": scene.plan, "validation": scene.validation_plan}
    arrays = {name: plan.poisoned.numpy() for name, plan in plans.items()}
    path = folder.plan(scene.seed)
    if not _is_there(path):
        folder.write_npz(path, arrays)
        return
    found = folder.read_npz(path, records.plan_specs(len(scene.train), len(scene.validation)))
    if any(not np.array_equal(found[name], arrays[name]) for name in arrays):
        raise RunError(
            f"{path}: says that other pairs are poisoned than this run's seed draws; delete it to "
            "make it anew"
        )
