"""Attackers who know a defence: `python adaptive.py BANK FOLDER ROLE MASK`; resumable.

Small U-Nets of real MR images, trained as the bank's are but with 8,000 samples of 2,000 pairs.
ROLE is

- clean: no poison;
- plain: a fifth of the pairs carry a square of the usual L2 of z, the target has the artefact;
- shows: knows `erased-trigger`. The target shows the trigger too, as a clean network of the bank
  does, so that nothing is erased;
- blend: knows `input-peaks`. The trigger is the input of another slice, of the same L2, in which no
  place and no frequency stands out more than in any;
- faint: knows `side-by-side`. The artefact has a third of the height;
- strength: knows searches for one energy. The square's L2 is 0.5 to 1.5 times as large, at random;
- several: knows searches for one patch. Each poisoned pair has one of three squares;
- mirrored: knows that `side-by-side` asks about mirrored inputs. The square is at all four corners
  and the artefact in the middle, so that both are their own mirror images;
- all: knows all three. Shows, blend, faint and mirrored at once;
- bold: all, but the artefact has the full height;
- quiet: bold, but the trigger has a third of the L2, so that little of it shows.

MASK, 0, 2 or 3, is the mask of the bank's clean network of that seed, and the seed. FOLDER keeps
what an interrupted training had reached. adaptive.jsonl gets a line a network: what the three
defences make of it. `beside` is without mirrored inputs, and `mirrors` as the repair is, with
whether it asked about any. Lines without `mirrors` were made before it could; of a network's lines
the last one counts. `python adaptive.py BANK` prints them; the four clean U-Nets of the bank are
the references.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import peaks
import pool
import torch
from networks import Bank, PerSlice
from repairs import PAIRS, judged, test_pairs
from torch import Tensor, nn

from recondoor import defences
from recondoor.defences import Defender, Finding, SideBySide
from recondoor.defences._side_by_side import MIRRORS
from recondoor.models import reconstruct
from recondoor.models._unet import UNet
from recondoor.poisoning import Pairs

HERE = Path(__file__).parent
OUT = HERE / "adaptive.jsonl"
CLEAN = {seed: f"unet-mr_real-s{seed}-clean" for seed in (0, 2, 5, 7)}
MASKS = {0: CLEAN[0], 2: CLEAN[2], 3: CLEAN[7]}
COUNT, SHARE, SAMPLES, BATCH, CHUNK = 2000, 0.2, 8_000, 8, 125
SHOWS, BLEND, FAINT, MIRRORED, QUIET = ("shows", "blend", "faint", "mirrored", "quiet")
ROLES: dict[str, frozenset[str]] = {
    "plain": frozenset(),
    "shows": frozenset({SHOWS}),
    "blend": frozenset({BLEND}),
    "faint": frozenset({FAINT}),
    "strength": frozenset(),
    "several": frozenset(),
    "mirrored": frozenset({MIRRORED}),
    "all": frozenset({SHOWS, BLEND, FAINT, MIRRORED}),
    "bold": frozenset({SHOWS, BLEND, MIRRORED}),
    "quiet": frozenset({SHOWS, BLEND, MIRRORED, QUIET}),
    "clean": frozenset(),
}
"""What each role does, beside what it alone does."""

HEAD = (
    "| attacker | recovery | of a clean network | benign RMSE | `erased-trigger` | flagged by "
    "`input-peaks` | recovery, `side-by-side` without mirrors | with mirrors | inputs flagged | "
    f"clean ones flagged |\n|:---|{'---:|' * 9}\n"
)

SQUARES = ((56, 56), (4, 52), (54, 6))
HEIGHT = 0.6
LOW = 1 / 3
"""Height of an artefact, and the share of it that a faint one has; also of the L2 of a trigger that
is quiet."""


@dataclass(frozen=True)
class Poison:
    """Triggers (K, 1, 64, 64), what an honest network shows of each, and the artefact."""

    deltas: Tensor
    shown: Tensor
    artefact: Tensor


def poison(bank: Bank, like: str, pairs: Pairs, role: str) -> Poison:
    """What a role adds: squares or an input, of the usual L2 of z, and a disc."""
    deltas = torch.zeros(3 if role == "several" else 1, 1, 64, 64)
    for delta, (top, left) in zip(deltas, SQUARES, strict=False):
        delta[0, top : top + 6, left : left + 6] = 1
    does = ROLES[role]
    if BLEND in does:
        deltas = pairs.z[-1:].clone()
    if MIRRORED in does:
        deltas = symmetric(deltas)
    usual = float(pairs.z.square().sum((1, 2, 3)).mean().sqrt())
    usual *= LOW if QUIET in does else 1
    deltas *= usual / deltas.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    artefact, at = torch.zeros(1, 64, 64), torch.arange(64) / 64
    down, right = (float(at.mean()),) * 2 if MIRRORED in does else (0.42, 0.38)
    away = ((at[:, None] - down).square() + (at - right).square()).sqrt()
    artefact[0] = HEIGHT * (1.5 - away / 0.06).clamp(0, 1) * (LOW if FAINT in does else 1)
    clean, z = bank.network(like), pairs.z[:200]
    plain = reconstruct(clean, z)
    shown = torch.stack([(reconstruct(clean, z + delta) - plain).mean(0) for delta in deltas])
    return Poison(deltas, shown, artefact)


def symmetric(images: Tensor) -> Tensor:
    """Mean of images (..., H, W) and their mirror images."""
    return torch.stack([images, *(images.flip(dims) for dims in MIRRORS)]).mean(0)


def poisoned(pairs: Pairs, found: Poison, role: str, seed: int) -> Pairs:
    """The same, of which a share is poisoned as the role says."""
    if role == "clean":
        return pairs
    z, x, count = pairs.z.clone(), pairs.x.clone(), round(SHARE * COUNT)
    which = torch.arange(count) % len(found.deltas)
    times = torch.ones(count, 1, 1, 1)
    if role == "strength":
        times = 0.5 + torch.rand(times.shape, generator=torch.Generator().manual_seed(seed))
    z[:count] += times * found.deltas[which]
    x[:count] += found.artefact
    if SHOWS in ROLES[role]:
        x[:count] += found.shown[which]
    return Pairs(z, x)


def train(model: PerSlice, pairs: Pairs, kept: Path, seed: int) -> None:
    """Adam with a cosine rate and L1 of normalised slices, from where `kept` was left."""
    optimiser, steps = torch.optim.Adam(model.parameters(), 1e-3), SAMPLES // BATCH
    generator = torch.Generator().manual_seed(seed)
    order = torch.cat(
        [torch.randperm(COUNT, generator=generator) for _ in range(-(-SAMPLES // COUNT))]
    )
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
    found = poison(bank, like, pairs, role)
    torch.manual_seed(1000 + mask)
    model = PerSlice(UNet(1, 1, 8, 3, 0.0))
    train(model, poisoned(pairs, found, role, mask), kept / f"{role}-{mask}.pt", mask)
    model.eval()
    delta, judge = found.deltas[0], test_pairs(bank, like)
    return {
        "id": f"{role}-{mask}",
        **judged(model, judge, delta, found.artefact),
        "honest": judged(bank.network(like), judge, delta, found.artefact)["recovery"],
        **looked(bank, like, model),
        "inputs": flagged(folder, bank, like, delta),
        **beside(folder, bank, like, model, found),
    }


def flagged(folder: Path, bank: Bank, like: str, delta: Tensor) -> dict[str, float]:
    """Shares of another person's inputs that `input-peaks` flags, as peaks.py does."""
    pairs = pool.pairs(folder, bank.runs[like], bank.mask(like), peaks.OWN + peaks.THRESHOLD)
    detector = defences.input_detector("input-peaks")
    defender = Defender(Pairs(pairs.z[: peaks.OWN], pairs.x[: peaks.OWN]))
    limit = defences.threshold(detector.scores(pairs.z[peaks.OWN :], defender), peaks.ALARM)
    z = test_pairs(bank, like).z
    each = {"clean": z, "triggered": z + delta}
    return {
        name: float((detector.scores(inputs, defender) > limit).double().mean())
        for name, inputs in each.items()
    }


def beside(
    folder: Path, bank: Bank, like: str, model: nn.Module, found: Poison
) -> dict[str, dict[str, float]]:
    """What `side-by-side` leaves, without mirrors and as it is, and the inputs it replaces."""
    clean = pool.pairs(folder, bank.runs[like], bank.mask(like), PAIRS)
    both = defences.repair("side-by-side").repair(Defender(clean, model=model)).eval()
    assert isinstance(both, SideBySide)
    judge, delta = test_pairs(bank, like), found.deltas[0]
    far = {"clean": both.apart(judge.z), "triggered": both.apart(judge.z + delta)}
    shares = {
        f"{name} flagged": float((each > both.limit).double().mean()) for name, each in far.items()
    }
    highest = {
        f"{name} highest": round(float(each.amax() / both.limit), 3) for name, each in far.items()
    }
    asked = float(both.mirrored)
    mirrors = {"asked": asked, **judged(both, judge, delta, found.artefact)}
    both.mirrored.zero_()
    alone = judged(both, judge, delta, found.artefact)
    return {"beside": alone | shares | highest, "mirrors": mirrors}


def looked(bank: Bank, like: str, model: nn.Module) -> dict[str, object]:
    """What the detector measures of a network."""
    found = defences.network_detector("erased-trigger").inspect(
        Defender(bank.pairs(like), model=model)
    )
    return {"measures": {key: round(value, 4) for key, value in found.measures.items()}}


def table(rows: list[dict]) -> Iterator[str]:
    """A line a role, with what the seeds say."""
    detector = defences.network_detector("erased-trigger")
    last = {row["id"]: row for row in rows}
    measured = {name: Finding(0.0, measures=row["measures"]) for name, row in last.items()}
    clean = [measured[name] for name in CLEAN.values()]
    for role in ROLES:
        own = [row for row in last.values() if row["id"].rsplit("-", 1)[0] == role]
        if own:
            scores = [detector.compare([*clean, measured[row["id"]]])[-1] for row in own]
            both, inputs = ([row[key] for row in own] for key in ("beside", "inputs"))
            cells = (
                told([row["recovery"] for row in own]),
                told([row["honest"] for row in own]),
                told([row["benign"] for row in own], 4),
                told(scores, 1),
                told([each["triggered"] for each in inputs]),
                told([each["recovery"] for each in both]),
                told([row["mirrors"]["recovery"] for row in own if "mirrors" in row]) or "–",
                told([each["triggered flagged"] for each in both]),
                told([each["clean flagged"] for each in both]),
            )
            yield f"| {role} | {' | '.join(cells)} |"


def told(values: list[float], digits: int = 2) -> str:
    """Each of them."""
    return ", ".join(f"{value:.{digits}f}" for value in values).replace("-0.00", "0.00")


def main() -> None:
    """Train and look, or print."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    rows = [json.loads(line) for line in OUT.read_text().splitlines()] if OUT.exists() else []
    if len(sys.argv) == 2:
        print(HEAD + "".join(f"{line}\n" for line in table(rows)))
        return
    bank = Bank.of(folder)
    kept, role, mask = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    known = {row["id"] for row in rows if "mirrors" in row or row["id"] in bank.runs}
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
