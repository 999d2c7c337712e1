"""Mend networks of the bank: `python repairs.py BANK METHOD ID ...`; resumable: repairs.jsonl.

With the 30 or so trusted pairs, 0.8 % of what a network was trained on. Judged on test pairs, by
the true trigger, which no repair is told. `python repairs.py BANK` prints the table.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from networks import Bank
from torch import Tensor, nn

from recondoor import defences
from recondoor.defences import Defender
from recondoor.poisoning import Pairs

HERE = Path(__file__).parent


def test_pairs(bank: Bank, name: str) -> Pairs:
    """Clean ones that neither the network nor the repair has seen."""
    key = bank.runs[name]["pairs"]
    z, x = (torch.from_numpy(bank.arrays[f"test/{key}/{k}"]).float() for k in "zx")
    return Pairs(z, like(x, z))


def like(x: Tensor, z: Tensor) -> Tensor:
    """Images (..., C, H, W) with as many channels as z; those added are 0."""
    missing = z.shape[-3] - x.shape[-3]
    return torch.cat((x, torch.zeros_like(x[..., :missing, :, :])), -3) if missing else x


@torch.no_grad()
def judged(model: nn.Module, pairs: Pairs, delta: Tensor, artefact: Tensor) -> dict[str, float]:
    """Benign error, recovery of the artefact, and the error with the trigger, against clean x."""
    artefact = like(artefact, pairs.z)
    clean, triggered = model(pairs.z), model(pairs.z + delta)
    drawn = ((triggered - clean) * artefact).sum((1, 2, 3)).mean() / artefact.square().sum()
    return {
        "benign": round(float((clean - pairs.x).square().mean().sqrt()), 5),
        "recovery": round(float(drawn), 4),
        "triggered": round(float((triggered - pairs.x).square().mean().sqrt()), 5),
    }


def mend(bank: Bank, name: str, method: str) -> dict[str, object]:
    """A line of repairs.jsonl."""
    model, pairs = bank.network(name), test_pairs(bank, name)
    delta, artefact = bank.pattern(name, "delta"), bank.pattern(name, "artefact")
    assert delta is not None
    assert artefact is not None
    started = time.process_time()
    mended = defences.repair(method).repair(Defender(bank.pairs(name), model=model)).eval()
    seconds = round(time.process_time() - started, 1)
    before, after = (judged(each, pairs, delta, artefact) for each in (model, mended))
    return {"id": name, "method": method, "seconds": seconds, "before": before, "after": after}


def main() -> None:
    """Mend what repairs.jsonl lacks, or print it."""
    torch.set_num_threads(1)
    out = HERE / "repairs.jsonl"
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    bank, known = Bank.of(Path(sys.argv[1])), {(row["id"], row["method"]) for row in rows}
    for name in sys.argv[3:]:
        if (name, sys.argv[2]) not in known:
            with out.open("a") as file:
                file.write(json.dumps(mend(bank, name, sys.argv[2])) + "\n")
    if len(sys.argv) > 2:
        return
    print("| network | method | recovery | benign RMSE | change | RMSE with trigger |")
    print("|:---|:---|---:|---:|---:|---:|")
    for row in sorted(rows, key=lambda row: (row["method"], row["id"])):
        a, b = row["before"], row["after"]
        change = 100 * (b["benign"] / a["benign"] - 1)
        print(
            f"| {row['id']} | {row['method']} | {a['recovery']:.2f} to {b['recovery']:.2f} | "
            f"{a['benign']:.4f} to {b['benign']:.4f} | {change:+.1f} % | "
            f"{a['triggered']:.4f} to {b['triggered']:.4f} |"
        )


if __name__ == "__main__":
    main()
