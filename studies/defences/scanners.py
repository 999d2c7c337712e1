"""Attacks against defences on slices of heads and chests, through the package's front doors.

    recondoor sweep studies/defences/heads.toml --out studies/defences/heads
    recondoor sweep studies/defences/chests.toml --out studies/defences/chests
    python studies/defences/scanners.py         # scanners.jsonl: a line a network; resumable
    python studies/defences/scanners.py --table

A network's recovery is that of the results of its run.
"""

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from benchmark import LEARNT, cosine, load, name, yardsticks

import recondoor as rd
from recondoor import data, defences
from recondoor.config import load_config
from recondoor.core.progress import NO_PROGRESS
from recondoor.defences import Defender
from recondoor.models import reconstruct

HERE = Path(__file__).parent
KEPT = HERE / "scanners.jsonl"
SCENES = {"heads": "heads, MRI", "chests": "chests, CT"}
ATTACKS = {
    "square": "square in the corner",
    "bilevel-image": "BLO, anywhere",
    "random-image": "random, anywhere",
    "measured-trigger": "trigger in the measurement",
}
ALARM = 0.05
"""Of inputs: 23 clean ones of another person are there, too few for a threshold at 1 %."""
Row = dict[str, Any]


def main() -> None:
    """Judge the networks that are not there yet, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true")
    if parser.parse_args().table:
        for title, lines in tables(kept()).items():
            print(f"{title}\n", *lines, "", sep="\n")
        return
    torch.set_num_threads(1)
    done = {(row["scene"], row["attack"], row["seed"]) for row in kept()}
    for scene, folder, label, seed in networks():
        attack = name(folder.parent.name, label)
        if (scene, attack, seed) not in done:
            row = {"scene": scene, "attack": attack, "seed": seed} | judged(folder, label, seed)
            with KEPT.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(scene, attack, seed, flush=True)


def kept() -> list[Row]:
    """A row for each network that was judged."""
    if not KEPT.exists():
        return []
    return [json.loads(line) for line in KEPT.read_text("utf-8").splitlines()]


def networks() -> Iterator[tuple[str, Path, str, int]]:
    """Scene, run folder, label and seed of every network of the sweeps."""
    for scene in SCENES:
        for folder in sorted((HERE / scene / "points").glob("*/seed*")):
            seed = int(folder.name.removeprefix("seed"))
            for path in sorted(folder.glob("model-*.safetensors")):
                yield scene, folder, path.stem.removeprefix("model-").split("-seed")[0], seed


def judged(folder: Path, label: str, seed: int) -> Row:
    """What every defence makes of one network and of its pairs and inputs."""
    config = load_config("quick", [folder / "config.toml"])
    case = load(folder, label, seed, label, data.read(config.data))
    row: Row = {"recovery": case.recovery, "networks": scores_of(case)}
    if case.clean:
        return row
    row["pairs"] = looks(rd.audit_data(folder, attack=label, detectors=PAIRS, progress=NO_PROGRESS))
    if case.recovery > LEARNT:
        model = folder / f"model-{label}-seed{seed}.safetensors"
        row["inputs"] = looks(
            rd.audit_inputs(model, folder, attack=label, alarm=ALARM, progress=NO_PROGRESS)
        )
        row["repairs"] = repairs_of(case)
    return row


PAIRS = (
    "range-test",
    "measurement-residual",
    "shared-pattern",
    "pixel-range",
    "activation-clustering",
    "spectral-signatures",
    "loss-isolation",
    "spectre",
)


def looks(found: rd.AuditResult) -> Row:
    """AUC and true-positive rate of every detector that looked, and the verdict."""
    counts = {
        one["name"]: {"auc": one["auc"], "tpr": one["tpr"]} for one in found.record["detectors"]
    }
    return {"verdict": found.verdict, "detectors": counts}


def scores_of(case: Any) -> Row:
    """Scores of the network detectors, and how near what they recover comes to the truth."""
    defender = Defender(case.scene.validation, model=case.model, seed=case.scene.seed)
    found = {}
    for detector in defences.names("model"):
        started = time.process_time()
        finding = defences.network_detector(detector).inspect(defender)
        one: Row = {"score": finding.score, "seconds": round(time.process_time() - started, 1)}
        if not case.clean and finding.artefact is not None:
            one["artefact_cosine"] = cosine(finding.artefact, case.artefact.pattern)
        found[detector] = one
    return found


def repairs_of(case: Any) -> Row:
    """Recovery and benign error before and after every repair, with the slices of one person."""
    scene = case.scene
    defender = Defender(scene.validation, case.physics, case.model, seed=scene.seed)
    z, x = scene.test.z, scene.test.x
    both = torch.cat((z, scene.test.triggered(case.trigger.on(scene.test))[0]))

    def now(model: torch.nn.Module) -> dict[str, float]:
        return yardsticks(case, reconstruct(model, both).split(len(z)), x)

    found: Row = {"before": now(case.model)}
    for repair in defences.names("repair"):
        plug_in = defences.repair(repair)
        if case.physics is None and "physics" in plug_in.needs:
            continue
        started = time.process_time()
        mended = plug_in.repair(defender)
        found[repair] = now(mended) | {"seconds": round(time.process_time() - started, 1)}
    return found


def tables(rows: list[Row]) -> dict[str, list[str]]:
    """Lines of a table of each kind: values of the seeds, in order."""
    return {
        "Training pairs, ROC-AUC": list(looked(rows, "pairs")),
        "Inputs of networks that learnt the backdoor, ROC-AUC": list(looked(rows, "inputs")),
        "Scores of networks": list(networks_table(rows)),
        "Recovery, and change of the benign error": list(repairs_table(rows)),
    }


def looked(rows: list[Row], part: str) -> Iterator[str]:
    """What each detector makes of pairs or inputs, and the verdict."""
    found = [row[part]["detectors"] for row in rows if part in row]
    names = list(dict.fromkeys(name for each in found for name in each))
    yield from header(names, "verdicts")
    for words, mine in groups(rows):
        own = [row[part] for row in mine if part in row]
        cells = [listed(one["detectors"].get(n, {}).get("auc") for one in own) for n in names]
        if own:
            yield line([words, *cells, ", ".join(one["verdict"].upper() for one in own)])


def networks_table(rows: list[Row]) -> Iterator[str]:
    """Scores of every network detector."""
    names = list(rows[0]["networks"])
    yield from header(names)
    for words, mine in groups(rows, ("original",)):
        yield line([words, *(listed(row["networks"][n]["score"] for row in mine) for n in names)])


def repairs_table(rows: list[Row]) -> Iterator[str]:
    """What every repair leaves, and costs."""
    names = list(next(row["repairs"] for row in rows if "repairs" in row))
    yield from header(names)
    for words, mine in groups(rows):
        found = [row["repairs"] for row in mine if "repairs" in row]
        if found:
            yield line([words, *("; ".join(told(one, each) for one in found) for each in names)])


def groups(rows: list[Row], more: tuple[str, ...] = ()) -> Iterator[tuple[str, list[Row]]]:
    """Words and rows of each scene and attack, by seed."""
    for scene, words in SCENES.items():
        for attack in (*ATTACKS, *more):
            mine = [row for row in rows if (row["scene"], row["attack"]) == (scene, attack)]
            if mine:
                said = ATTACKS.get(attack, "none (clean)")
                yield f"{words}: {said}", sorted(mine, key=lambda row: row["seed"])


def told(found: Row, name: str) -> str:
    """Recovery, and how the benign error changed by a repair."""
    if name not in found:
        return "–"
    recovery = f"{found[name]['recovery']:.2f}"
    if name == "before":
        return recovery
    change = found[name]["benign"] / found["before"]["benign"] - 1
    return f"{recovery} ({change:+.0%})"


def listed(values: Iterable[float | None]) -> str:
    """The seeds' values."""
    return ", ".join("–" if value is None else f"{value:.2f}" for value in values)


def header(names: list[str], *more: str) -> Iterator[str]:
    """First lines of a table."""
    cells = [name if name == "before" else f"`{name}`" for name in names] + list(more)
    yield line(["scene, attack", *cells])
    yield f"|---|{'---:|' * len(cells)}"


def line(cells: list[str]) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
