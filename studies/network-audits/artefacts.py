"""Networks of the bank at a closer look: `python studies/network-audits/artefacts.py BANK ID ...`.

`erased-trigger` takes that look at a network that it flags. Here every network is looked at whose
id is given; resumable: artefacts.jsonl. `python artefacts.py BANK` prints the table.

`ways` are cosines with the true artefact of what else could be shown of the same trigger delta,
c(t) the mean of f(z + t delta) - f(z) over the inputs: c(1) itself, c(1) - 2 c(1/2), 2 c(1) - c(2),
and c(1) less that of the clean networks of its make. `moved` is the cosine at the best shift.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from networks import Bank
from scan import cosine
from torch import Tensor, nn

from recondoor import defences
from recondoor.defences import Defender, Finding
from recondoor.models import reconstruct

HERE = Path(__file__).parent
OUT = HERE / "artefacts.jsonl"


def moved(found: Tensor, true: Tensor) -> float:
    """Largest cosine of a pattern, moved by any number of pixels, with the true one (C, H, W)."""
    first, second = found[: len(true)].double(), true.double()
    size = [2 * side for side in true.shape[1:]]
    spectra = [torch.fft.rfft2(each, s=size) for each in (first, second)]
    products = torch.fft.irfft2(spectra[0].conj() * spectra[1], s=size).sum(0)
    return round(float(products.max() / (found.double().norm() * second.norm())), 4)


def changes(model: nn.Module, z: Tensor, delta: Tensor) -> dict[float, Tensor]:
    """Mean change of f(z) by delta times a number."""
    plain = reconstruct(model, z)
    return {t: (reconstruct(model, z + t * delta) - plain).mean(0) for t in (0.5, 1.0, 2.0)}


def line(bank: Bank, name: str, others: list[str]) -> dict[str, object]:
    """Of one network."""
    pairs, model = bank.pairs(name), bank.network(name)
    started = time.process_time()
    detector = defences.network_detector("erased-trigger")
    found = detector.sharpen(Defender(pairs, model=model), Finding(0.0))
    seconds = time.process_time() - started
    true = bank.pattern(name, "artefact")
    assert found.trigger is not None and found.counts is not None and found.counted is not None
    assert true is not None
    c = changes(model, pairs.z, found.trigger)
    shown = [changes(bank.network(each), pairs.z, found.trigger)[1.0] for each in others]
    ways = {
        "mean": c[1.0],
        "above line": c[1.0] - 2 * c[0.5],
        "saturation": 2 * c[1.0] - c[2.0],
    }
    if shown:
        ways["less clean ones"] = c[1.0] - torch.stack(shown).mean(0)
    return {
        "id": name,
        "seconds": round(seconds, 1),
        "trigger": cosine(found.trigger, bank.pattern(name, "delta")),
        "artefact": cosine(found.counted, true),
        "moved": moved(found.counted, true),
        "ways": {way: cosine(each * found.counts, true) for way, each in ways.items()},
    }


def main() -> None:
    """Look at those that artefacts.jsonl lacks, or print it."""
    torch.set_num_threads(1)
    bank = Bank.of(Path(sys.argv[1]))
    rows = [json.loads(text) for text in OUT.read_text().splitlines()] if OUT.exists() else []
    halves = json.loads((HERE / "split.json").read_text())
    runs = bank.runs
    for name in sys.argv[2:]:
        half = next(names for names in halves.values() if name in names)
        make = [
            each
            for each in half
            if each != name
            and runs[each]["state"] == "clean"
            and (runs[each]["arch"], runs[each]["pipe"]) == (runs[name]["arch"], runs[name]["pipe"])
        ]
        if name not in {row["id"] for row in rows}:
            with OUT.open("a") as file:
                file.write(json.dumps(line(bank, name, make)) + "\n")
    if len(sys.argv) > 2:
        return
    results = json.loads((HERE / "results.json").read_text())
    for half, names in halves.items():
        print(f"\n| {half} | score | trigger | artefact | moved | mean | above line | saturation |")
        print("|:---|---:|---:|---:|---:|---:|---:|---:|")
        for row in sorted(rows, key=lambda row: row["id"]):
            if row["id"] in names:
                ways = (row["ways"][way] for way in ("mean", "above line", "saturation"))
                cells = (row["trigger"], row["artefact"], row["moved"], *ways)
                told = " | ".join(f"{cell:.2f}" for cell in cells)
                print(f"| {row['id']} | {results['scores'][row['id']]:.1f} | {told} |")


if __name__ == "__main__":
    main()
