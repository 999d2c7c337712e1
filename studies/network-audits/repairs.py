"""Mend networks of the bank: `python repairs.py BANK METHOD ID ...`; resumable: mended.jsonl.

With 200 clean pairs of the training people, 5 % of what a network was trained on. Judged on test
pairs of another person, by the true trigger, which no repair is told. `honest` is the recovery of
the clean networks with the same inputs. `python repairs.py BANK` prints the table.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pool
import torch
from networks import Bank
from torch import Tensor, nn

from recondoor import defences
from recondoor.defences import Defender, _erasure
from recondoor.poisoning import Pairs

HERE = Path(__file__).parent
PAIRS = 200


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


def mend(folder: Path, bank: Bank, name: str, method: str) -> dict[str, object]:
    """A line of mended.jsonl."""
    model, pairs = bank.network(name), test_pairs(bank, name)
    delta, artefact = bank.pattern(name, "delta"), bank.pattern(name, "artefact")
    assert delta is not None
    assert artefact is not None
    clean = pool.pairs(folder, bank.runs[name], bank.mask(name), PAIRS)
    started = time.process_time()
    mended = defences.repair(method).repair(Defender(clean, model=model)).eval()
    seconds = round(time.process_time() - started, 1)
    before, after = (judged(each, pairs, delta, artefact) for each in (model, mended))
    honest = [
        judged(bank.network(other), pairs, delta, artefact)["recovery"]
        for other in clean_ones(bank, name)
    ]
    both = both_asked(model, mended, clean, pairs, delta, artefact)
    found = {"id": name, "method": method, "seconds": seconds, "honest": honest, "both": both}
    return {**found, "before": before, "after": after}


class Both(nn.Module):
    """Two networks: the first one's answer, but where they disagree as never on clean inputs.

    They disagree by the largest energy of their difference in a disc of the size of an artefact.
    """

    def __init__(self, given: nn.Module, mended: nn.Module, clean: Tensor) -> None:
        super().__init__()
        self.given, self.mended, self.limit = given, mended, 0.0
        self.limit = float(self.apart(clean).amax())

    @torch.no_grad()
    def apart(self, z: Tensor) -> Tensor:
        """How far they disagree about each input, (N,)."""
        parts = torch.split(z, 50)
        return torch.cat([_erasure.in_discs(self.given(p) - self.mended(p)) for p in parts])

    def forward(self, z: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        trusted = (self.apart(z) <= self.limit)[:, None, None, None]
        return torch.where(trusted, self.given(z), self.mended(z))


def both_asked(
    given: nn.Module, mended: nn.Module, clean: Pairs, pairs: Pairs, delta: Tensor, artefact: Tensor
) -> dict[str, float]:
    """What using both networks gives, and the share of inputs about which they disagree."""
    both = Both(given, mended, clean.z)
    shares = {
        name: round(float((both.apart(z) > both.limit).double().mean()), 4)
        for name, z in (("flagged_clean", pairs.z), ("flagged_triggered", pairs.z + delta))
    }
    return {**judged(both, pairs, delta, artefact), **shares}


def clean_ones(bank: Bank, name: str) -> list[str]:
    """Other clean networks of its make that take the same inputs."""
    own = bank.runs[name]
    return [
        other
        for other, run in bank.runs.items()
        if run["state"] == "clean"
        and (run["arch"], run["pairs"]) == (own["arch"], own["pairs"])
        and other != name
    ]


def main() -> None:
    """Mend what mended.jsonl lacks, or print it."""
    torch.set_num_threads(1)
    out = HERE / "mended.jsonl"
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    folder, known = Path(sys.argv[1]), {(row["id"], row["method"]) for row in rows}
    bank = Bank.of(folder)
    for name in sys.argv[3:]:
        if (name, sys.argv[2]) not in known:
            row = mend(folder, bank, name, sys.argv[2])
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")
    if len(sys.argv) > 2:
        return
    print("| network | method | recovery | clean ones | benign RMSE | change | RMSE with trigger |")
    print("|:---|:---|---:|---:|---:|---:|---:|")
    for row in sorted(rows, key=lambda row: (row["method"], row["id"])):
        a, b = row["before"], row["after"]
        change = 100 * (b["benign"] / a["benign"] - 1)
        print(
            f"| {row['id']} | {row['method']} | {a['recovery']:.2f} to {b['recovery']:.2f} | "
            f"{', '.join(f'{each:.2f}' for each in row['honest'])} | "
            f"{a['benign']:.4f} to {b['benign']:.4f} | {change:+.1f} % | "
            f"{a['triggered']:.4f} to {b['triggered']:.4f} |"
        )


if __name__ == "__main__":
    main()
