"""Look at every network of the bank: `python studies/network-audits/scan.py BANK`; resumable.

scans.jsonl gets a line a network: what the detector measured, and the overlap of what it recovered
with what was planted. Nothing is decided here.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from networks import Bank

from recondoor import defences
from recondoor.defences import Defender

HERE = Path(__file__).parent
DETECTOR = "erased-trigger"


def cosine(found: torch.Tensor, true: torch.Tensor | None) -> float | None:
    """Of the angle of two patterns, over the channels that both have."""
    if true is None:
        return None
    a, b = found[: len(true)].flatten().double(), true.flatten().double()
    return round(float(a @ b / (a.norm() * b.norm()).clamp_min(1e-12)), 4)


def main() -> None:
    """Scan those that scans.jsonl lacks."""
    torch.set_num_threads(1)
    bank, out = Bank.of(Path(sys.argv[1])), HERE / "scans.jsonl"
    known = (
        {json.loads(line)["id"] for line in out.read_text().splitlines()} if out.exists() else set()
    )
    detector = defences.network_detector(DETECTOR)
    wanted = sys.argv[2:] or [name for name in sorted(bank.runs) if name not in known]
    for name in wanted:
        model = bank.network(name)
        started = time.perf_counter()
        found = detector.inspect(Defender(bank.pairs(name), model=model))
        assert found.trigger is not None
        assert found.artefact is not None
        line = {
            "id": name,
            "seconds": round(time.perf_counter() - started, 1),
            "alone": round(found.score, 4),
            "measures": {key: round(value, 4) for key, value in found.measures.items()},
            "overlap_trigger": cosine(found.trigger, bank.pattern(name, "delta")),
            "overlap_artefact": cosine(found.artefact, bank.pattern(name, "artefact")),
        }
        with out.open("a") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
