"""An attacker who knows `erased-trigger`: `python adaptive.py BANK FOLDER ROLE MASK`; resumable.

Small U-Nets of real MR images, trained as the bank's are but with 6,000 samples of 2,000 pairs.
ROLE is

- clean: no poison;
- plain: a fifth of the pairs carry a square of half the usual L2 of z, the target has the artefact;
- shows: the same, and the target shows the trigger too, as a clean network of the bank does. So
  nothing is erased.

MASK, 0, 2 or 3, is the mask of the bank's clean network of that seed, and the seed. FOLDER keeps
what an interrupted training had reached. adaptive.jsonl gets a line a network. `python adaptive.py
BANK` scores those there are against the four clean U-Nets of the bank.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import pool
import torch
from networks import Bank, PerSlice
from repairs import judged, test_pairs
from torch import Tensor, nn

from recondoor import defences
from recondoor.defences import Defender, Finding
from recondoor.models import reconstruct
from recondoor.models._unet import UNet
from recondoor.poisoning import Pairs

HERE = Path(__file__).parent
OUT = HERE / "adaptive.jsonl"
CLEAN = {seed: f"unet-mr_real-s{seed}-clean" for seed in (0, 2, 5, 7)}
MASKS = {0: CLEAN[0], 2: CLEAN[2], 3: CLEAN[7]}
COUNT, SHARE, SAMPLES, BATCH, CHUNK = 2000, 0.2, 6_000, 8, 75
LIMITS = {"all makes": 6.71, "own make": 3.61}


@dataclass(frozen=True)
class Poison:
    """Trigger and artefact (1, 64, 64), and what an honest network shows of the trigger."""

    delta: Tensor
    artefact: Tensor
    shown: Tensor


def poison(bank: Bank, like: str, pairs: Pairs) -> Poison:
    """A square in the corner and a disc, and the mean answer of the clean network."""
    delta, artefact = torch.zeros(1, 64, 64), torch.zeros(1, 64, 64)
    delta[0, 56:62, 56:62] = 1
    delta *= 0.5 * float(pairs.z.square().sum((1, 2, 3)).mean().sqrt()) / delta.norm()
    at = torch.arange(64) / 64
    away = ((at[:, None] - 0.42).square() + (at - 0.38).square()).sqrt()
    artefact[0] = 0.6 * (1.5 - away / 0.06).clamp(0, 1)
    clean, z = bank.network(like), pairs.z[:200]
    shown = (reconstruct(clean, z + delta) - reconstruct(clean, z)).mean(0)
    return Poison(delta, artefact, shown)


def poisoned(pairs: Pairs, found: Poison, role: str) -> Pairs:
    """The same, of which the role's share is poisoned."""
    z, x, bad = pairs.z.clone(), pairs.x.clone(), slice(0, round(SHARE * COUNT))
    if role != "clean":
        z[bad] += found.delta
        x[bad] += found.artefact + (found.shown if role == "shows" else 0)
    return Pairs(z, x)


def train(model: PerSlice, pairs: Pairs, kept: Path, seed: int) -> None:
    """Adam with a cosine rate and L1 of normalised slices, from where `kept` was left."""
    optimiser, steps = torch.optim.Adam(model.parameters(), 1e-3), SAMPLES // BATCH
    generator = torch.Generator().manual_seed(seed)
    order = torch.cat([torch.randperm(COUNT, generator=generator) for _ in range(3)])
    done = 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        done = state["done"]
    for step in range(done, steps):
        optimiser.param_groups[0]["lr"] = 1e-3 * (
            0.02 + 0.49 * (1 + math.cos(math.pi * step / steps))
        )
        index = order[BATCH * step : BATCH * (step + 1)]
        z, x = pairs.z[index], pairs.x[index]
        mean, spread = z.mean((1, 2, 3), keepdim=True), z.std((1, 2, 3), keepdim=True) + 1e-11
        optimiser.zero_grad()
        loss = (model.net((z - mean) / spread) - (x - mean) / spread).abs().mean()
        loss.backward()
        optimiser.step()
        if (step + 1) % CHUNK == 0:
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
            torch.save({**state, "done": step + 1}, kept)


def one(bank: Bank, folder: Path, kept: Path, role: str, mask: int) -> dict[str, object]:
    """A line of adaptive.jsonl."""
    like = MASKS[mask]
    pairs = pool.pairs(folder, bank.runs[like], bank.mask(like), COUNT, 100 + mask)
    found = poison(bank, like, pairs)
    torch.manual_seed(1000 + mask)
    model = PerSlice(UNet(1, 1, 8, 3, 0.0))
    train(model, poisoned(pairs, found, role), kept / f"{role}-{mask}.pt", mask)
    model.eval()
    return {
        "id": f"{role}-{mask}",
        **judged(model, test_pairs(bank, like), found.delta, found.artefact),
        **looked(bank, like, model),
    }


def looked(bank: Bank, like: str, model: nn.Module) -> dict[str, object]:
    """What the detector measures of a network."""
    found = defences.network_detector("erased-trigger").inspect(
        Defender(bank.pairs(like), model=model)
    )
    return {"measures": {key: round(value, 4) for key, value in found.measures.items()}}


def table(bank: Bank) -> None:
    """Scores against the four clean networks, in Markdown."""
    rows = [json.loads(line) for line in OUT.read_text().splitlines()]
    found = {row["id"]: row for row in rows}
    detector = defences.network_detector("erased-trigger")
    clean = [Finding(0.0, measures=found[name]["measures"]) for name in CLEAN.values()]
    print("| network | recovery | benign RMSE | RMSE with trigger | score | largest measure |")
    print("|:---|---:|---:|---:|---:|:---|")
    for row in rows:
        if row["id"] in CLEAN.values():
            continue
        own = Finding(0.0, measures=row["measures"])
        score = detector.compare([*clean, own])[-1]
        each = {
            name: detector.compare(
                [Finding(0.0, measures={name: f.measures[name]}) for f in [*clean, own]]
            )[-1]
            for name in row["measures"]
        }
        print(
            f"| {row['id']} | {row['recovery']:.2f} | {row['benign']:.4f} | {row['triggered']:.3f} "
            f"| {score:.2f} | {max(each, key=lambda name: each[name])} |"
        )


def main() -> None:
    """Train and look, or print."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    bank = Bank.of(folder)
    if len(sys.argv) == 2:
        table(bank)
        return
    kept, role, mask = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    rows = [json.loads(line) for line in OUT.read_text().splitlines()] if OUT.exists() else []
    known = {row["id"] for row in rows}
    if role == "references":
        lines = [
            {"id": name, **looked(bank, name, bank.network(name))}
            for name in CLEAN.values()
            if name not in known
        ]
    else:
        lines = [] if f"{role}-{mask}" in known else [one(bank, folder, kept, role, mask)]
    with OUT.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    main()
