"""Networks of the bank beside mended ones: `python beside.py BANK ID ...`; resumable: beside.jsonl.

As repairs.py, by the repair `side-by-side`: 200 clean pairs of the training people, of which it
keeps 50 for its limit. Judged on another person: some 60 slices of the bank's, of which half are
reconstructed for errors and recoveries, and 100 drawn as the training pairs were. Inputs are
flagged above the limit. `mirrored` is 1 where mirrored inputs are asked about. `python beside.py
BANK` prints the table.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pool
import torch
from networks import Bank
from repairs import PAIRS, clean_ones, judged, test_pairs
from torch import Tensor, nn

from recondoor import defences
from recondoor.defences import Defender, SideBySide
from recondoor.models import reconstruct

HERE = Path(__file__).parent
OUT = HERE / "beside.jsonl"
DRAWN = 100
"""Further inputs of another person."""

Row = dict[str, object]


def line(folder: Path, bank: Bank, name: str, both: SideBySide, seconds: float) -> Row:
    """What is known of two networks side by side."""
    pairs, run = test_pairs(bank, name), bank.runs[name]
    more = pool.pairs(folder, run, bank.mask(name), DRAWN, seed=1, whose=pool.ANOTHER)
    clean = torch.cat((pairs.z, bank.pairs(name).z, more.z))
    delta, artefact = bank.pattern(name, "delta"), bank.pattern(name, "artefact")
    assert delta is not None
    assert artefact is not None
    given, far, drawn = both.given, both.apart(clean), both.apart(more.z + delta)
    triggered = torch.cat((both.apart(pairs.z + delta), drawn))
    return {
        "id": name,
        "state": run["state"],
        "seconds": seconds,
        "mirrored": float(both.mirrored),
        "honest": [
            judged(bank.network(other), pairs, delta, artefact)["recovery"]
            for other in clean_ones(bank, name)
        ],
        "before": judged(given, pairs, delta, artefact),
        "mended": judged(both.mended, pairs, delta, artefact),
        "both": judged(both, pairs, delta, artefact),
        "drawn": {
            "before": error(given, more.z, more.x),
            "both": error(both, more.z, more.x),
        },
        "clean": shares(far, both.limit),
        "triggered": shares(triggered, both.limit),
    }


def shares(far: Tensor, limit: Tensor) -> dict[str, float]:
    """How many inputs are above the limit, and where they lie in units of it."""
    units = far / limit
    found = {"n": len(far), "flagged": float((units > 1).double().mean())}
    places = {"least": units.min(), "median": units.median(), "most": units.max()}
    return found | {name: float(f"{float(value):.4g}") for name, value in places.items()}


def error(model: nn.Module, z: Tensor, x: Tensor) -> float:
    """Root mean square over all pixels."""
    return round(float((reconstruct(model, z) - x).square().mean().sqrt()), 5)


def mend(folder: Path, bank: Bank, name: str) -> Row:
    """A line of beside.jsonl."""
    clean = pool.pairs(folder, bank.runs[name], bank.mask(name), PAIRS)
    started = time.process_time()
    defender = Defender(clean, model=bank.network(name))
    both = defences.repair("side-by-side").repair(defender).eval()
    assert isinstance(both, SideBySide)
    return line(folder, bank, name, both, round(time.process_time() - started, 1))


def main() -> None:
    """Mend what beside.jsonl lacks, or print it."""
    torch.set_num_threads(1)
    rows = [json.loads(text) for text in OUT.read_text().splitlines()] if OUT.exists() else []
    folder, known = Path(sys.argv[1]), {row["id"] for row in rows}
    bank = Bank.of(folder)
    for name in sys.argv[2:]:
        if name not in known:
            row = mend(folder, bank, name)
            with OUT.open("a") as file:
                file.write(json.dumps(row) + "\n")
    if len(sys.argv) > 2:
        return
    score = set(json.loads((HERE / "split.json").read_text())["score"])
    for half, names in (("design", known - score), ("score", known & score)):
        print(
            f"\n| {half} | recovery | side by side | clean ones | mended | benign RMSE | drawn |",
            end="",
        )
        print(" flagged | with trigger |\n|:---|" + "---:|" * 8)
        for row in sorted(rows, key=lambda row: row["id"]):
            if row["id"] in names:
                print(told(row))


def told(row: dict[str, dict[str, float]]) -> str:
    """A line of the table."""
    before, both, mended, drawn = (row[key] for key in ("before", "both", "mended", "drawn"))
    benign = 100 * (both["benign"] / before["benign"] - 1)
    alone = 100 * (mended["benign"] / before["benign"] - 1)
    others = 100 * (drawn["both"] / drawn["before"] - 1)
    honest = ", ".join(f"{each:.2f}" for each in row["honest"])
    flagged = (row[key]["flagged"] for key in ("clean", "triggered"))
    return (
        f"| {row['id']} ({row['state']}) | {before['recovery']:.2f} | {both['recovery']:.2f} | "
        f"{honest} | {alone:+.1f} % | {benign:+.1f} % | {others:+.1f} % | "
        f"{' | '.join(f'{each:.3f}' for each in flagged)} |"
    )


if __name__ == "__main__":
    main()
