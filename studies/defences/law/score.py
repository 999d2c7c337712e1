"""Scores of the networks of the sweeps beside this file, by `recondoor audit model`.

    python studies/defences/law/score.py SWEEPS

SWEEPS is a folder with the sweeps `clean` and `square`. Adds to scores.jsonl beside this file, a
line a network; lines that are there are not made again.
"""

import json
import sys
from pathlib import Path

import torch

import recondoor as rd

KEPT = Path(__file__).parent / "scores.jsonl"


def main() -> None:
    """Score what has no line yet."""
    torch.set_num_threads(1)
    kept = [json.loads(line) for line in KEPT.open(encoding="utf-8")] if KEPT.exists() else []
    known = {(row["model"], row["seed"]) for row in kept}
    for path in sorted(Path(sys.argv[1]).glob("*/points/*/seed*/model-*.safetensors")):
        label, seed = path.stem.removeprefix("model-").split("-seed")
        if (label, int(seed)) in known:
            continue
        line = json.dumps({"model": label, "seed": int(seed), **scored(path)})
        with KEPT.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)


def scored(path: Path) -> dict[str, float]:
    """Score of a network, and what its run says of its recovery."""
    found = rd.audit_model(path, detectors=["trigger-inversion"]).record["detectors"][0]
    rows = json.loads((path.parent / "results.json").read_text("utf-8"))["rows"]
    return {"score": found["score"], "recovery": rows[0]["artefact_recovery"]}


if __name__ == "__main__":
    main()
