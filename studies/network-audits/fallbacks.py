"""What could count where two networks side by side disagree: `python fallbacks.py BANK ID ...`.

Networks of the design half, mended as in beside.py. Of each way: the recovery against the given
network's answer to clean inputs, which is what remains where only inputs with the trigger fall
back, and the error of clean inputs that would. `python fallbacks.py BANK` prints fallbacks.jsonl.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pool
import torch
from networks import Bank
from repairs import PAIRS, like, test_pairs
from torch import Tensor, nn

from recondoor import defences
from recondoor.defences import Defender, SideBySide

HERE = Path(__file__).parent
OUT = HERE / "fallbacks.jsonl"
MIRRORS = ((-1,), (-2,), (-2, -1))
STEP, NOISE, DRAWS, BEYOND = 4, 0.25, 6, 0.2
"""Pixels of a shift; L2 of noise in units of the usual z, its draws; share of the way beyond."""

NAMES = {
    "given": "the given network's answer",
    "mended": "the mended one's answer",
    "darker": "the darker of both, at each pixel",
    "nearer": "the nearer to the input, at each pixel",
    "beyond": "0.2 of the way beyond the mended one's",
    "shifted": "mended: mean of four shifts by 4 pixels",
    "noisy": "mended: mean of six inputs with noise of 0.25",
    "mirrored mean": "mended: mean of three mirrors",
    "mirrored given": "given: median of three mirrors",
    "mirrored mended": "mended: median of it and three mirrors",
    "mirrored both": "median of the mended one's and of both's to three mirrors",
}


@torch.no_grad()
def ways(both: SideBySide, z: Tensor) -> dict[str, Tensor]:
    """Answers (N, C, H, W) to inputs by every way."""
    given, mended = both.given(z), both.mended(z)
    g, m = (_mirrored(network, z) for network in (both.given, both.mended))
    shifts = [(down, right) for down in (-STEP, STEP) for right in (-STEP, STEP)]
    moved = [both.mended(z.roll(by, (-2, -1))).roll([-k for k in by], (-2, -1)) for by in shifts]
    generator = torch.Generator().manual_seed(0)
    size = NOISE * float(z.square().mean().sqrt())
    noise = [size * torch.randn(z.shape, generator=generator) for _ in range(DRAWS)]
    return {
        "given": given,
        "mended": mended,
        "darker": torch.minimum(given, mended),
        "nearer": torch.where((given - z).abs() < (mended - z).abs(), given, mended),
        "beyond": mended + BEYOND * (mended - given),
        "shifted": torch.stack(moved).mean(0),
        "noisy": torch.stack([both.mended(z + each) for each in noise]).mean(0),
        "mirrored mean": torch.stack(m).mean(0),
        "mirrored given": torch.stack(g).median(0).values,
        "mirrored mended": torch.stack([mended, *m]).quantile(0.5, dim=0),
        "mirrored both": torch.stack([mended, *m, *g]).median(0).values,
    }


def _mirrored(network: nn.Module, z: Tensor) -> list[Tensor]:
    return [network(z.flip(dims)).flip(dims) for dims in MIRRORS]


def line(folder: Path, bank: Bank, name: str) -> dict[str, object]:
    """Of one network."""
    clean = pool.pairs(folder, bank.runs[name], bank.mask(name), PAIRS)
    defender = Defender(clean, model=bank.network(name))
    both = defences.repair("side-by-side").repair(defender).eval()
    pairs, delta = test_pairs(bank, name), bank.pattern(name, "delta")
    artefact = bank.pattern(name, "artefact")
    assert isinstance(both, SideBySide) and delta is not None and artefact is not None
    artefact = like(artefact, pairs.z)
    plain, triggered = ways(both, pairs.z), ways(both, pairs.z + delta)
    rows = {}
    for way in NAMES:
        drawn = ((triggered[way] - plain["given"]) * artefact).sum((1, 2, 3)).mean()
        rows[way] = {
            "recovery": round(float(drawn / artefact.square().sum()), 4),
            "benign": round(float((plain[way] - pairs.x).square().mean().sqrt()), 5),
            "triggered": round(float((triggered[way] - pairs.x).square().mean().sqrt()), 5),
        }
    return {"id": name, "mirrored": float(both.mirrored), "ways": rows}


def main() -> None:
    """Those that fallbacks.jsonl lacks, or the table."""
    torch.set_num_threads(1)
    rows = [json.loads(text) for text in OUT.read_text().splitlines()] if OUT.exists() else []
    folder = Path(sys.argv[1])
    design = json.loads((HERE / "split.json").read_text())["design"]
    for name in sys.argv[2:]:
        if name in design and name not in {row["id"] for row in rows}:
            with OUT.open("a") as file:
                file.write(json.dumps(line(folder, Bank.of(folder), name)) + "\n")
    if len(sys.argv) > 2:
        return
    print(f"| where they disagree | {' | '.join(row['id'] for row in rows)} |")
    print(f"|:---|{'---:|' * len(rows)}")
    for way, words in NAMES.items():
        cells = []
        for row in rows:
            own, usual = row["ways"][way], row["ways"]["given"]
            cells.append(
                f"{own['recovery']:.2f}; {100 * (own['benign'] / usual['benign'] - 1):+.0f} %"
            )
        print(f"| {words} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
