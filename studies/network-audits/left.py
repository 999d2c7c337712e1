"""What is left against attackers of adaptive.py: `python left.py BANK FOLDER ROLE MASK`; resumable.

FOLDER has the networks that adaptive.py trained, of ROLE and of `clean`. left.jsonl gets a line:

- pairs: areas under the ROC curve of every tenth training pair, a fifth of which is poisoned, by
  the two tests that have the operator and its noise level, and by `shared-pattern`, which has
  neither; and its verdict, which is the audit's where nothing else is given;
- inputs: shares of 100 of another person's, with the trigger and without, that the two tests flag
  which have the operator; drawn as the training pairs were, as the bank's are rounded. 400 clean
  ones of the training people give the threshold;
- recovery of the network and of the clean one that was trained alike, with the same trigger; and
  what `fine-pruning` leaves, with the pairs that `side-by-side` has.

`python left.py BANK` prints them. `python left.py BANK pairs` judges their pairs anew.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import adaptive
import peaks
import pool
import torch
from networks import Bank, PerSlice
from repairs import PAIRS, judged, test_pairs
from torch import Tensor, nn

from recondoor import defences
from recondoor.defences import Defender, SetDetector
from recondoor.defences._physics import Physics
from recondoor.models._unet import UNet
from recondoor.operators.mri import Mri
from recondoor.poisoning import Pairs

OUT = Path(__file__).parent / "left.jsonl"
OF_PAIRS = ("measurement-residual", "range-test", "shared-pattern")
OF_INPUTS = ("measurement-consistency", "range-projection")
REPAIR = "fine-pruning"
STEP, DRAWN = 10, 100
HEAD = (
    f"| attacker | drawn | left by `{REPAIR}` | benign RMSE | "
    f"{' | '.join(f'`{name}`' for name in OF_PAIRS)} | its verdict | "
    f"{' | '.join(f'`{name}`' for name in OF_INPUTS)} | clean inputs flagged |\n"
    f"|:---|{'---:|' * 10}\n"
)

Row = dict[str, object]


def one(bank: Bank, folder: Path, kept: Path, role: str, mask: int) -> Row:
    """A line of left.jsonl."""
    like, columns, physics, clean = scene(bank, folder, mask)
    found, judge = adaptive.poison(bank, like, clean, role), test_pairs(bank, like)
    delta, artefact = found.deltas[0], found.artefact
    model, other = (network(kept / f"{which}-{mask}.pt") for which in (role, "clean"))
    own = pool.pairs(folder, bank.runs[like], columns, max(peaks.THRESHOLD, PAIRS))
    drawn = pool.pairs(folder, bank.runs[like], columns, DRAWN, seed=1, whose=pool.ANOTHER)
    few = Pairs(own.z[:PAIRS], own.x[:PAIRS])
    mended = defences.repair(REPAIR).repair(Defender(few, model=model)).eval()
    return {
        "id": f"{role}-{mask}",
        "before": judged(model, judge, delta, artefact),
        "clean": judged(other, judge, delta, artefact),
        "after": judged(mended, judge, delta, artefact),
        **of_pairs(adaptive.poisoned(clean, found, role, mask), physics),
        **of_inputs(Defender(own, physics=physics, model=model), drawn.z, delta),
    }


def scene(bank: Bank, folder: Path, mask: int) -> tuple[str, Tensor, Physics, Pairs]:
    """The bank's network with this mask, its columns, the operator, and clean training pairs."""
    like = adaptive.MASKS[mask]
    columns = bank.mask(like)
    assert columns is not None
    sigma = pool.SIGMA[str(bank.runs[like]["pipe"])]
    measured = torch.nonzero(columns)[:, 0]
    physics = Physics.of(Mri((1, pool.SIDE, pool.SIDE), sigma, measured, None))
    clean = pool.pairs(folder, bank.runs[like], columns, adaptive.COUNT, 100 + mask)
    return like, columns, physics, clean


def anew(bank: Bank, folder: Path, row: Row) -> Row:
    """A kept line with its pairs judged again."""
    role, mask = str(row["id"]).rsplit("-", 1)
    like, _, physics, clean = scene(bank, folder, int(mask))
    found = adaptive.poison(bank, like, clean, role)
    return row | of_pairs(adaptive.poisoned(clean, found, role, int(mask)), physics)


def network(kept: Path) -> nn.Module:
    """One that adaptive.py trained."""
    model = PerSlice(UNet(1, 1, 8, 3, 0.0))
    model.load_state_dict(torch.load(kept, weights_only=True)["model"])
    return model.eval()


def of_pairs(pairs: Pairs, physics: Physics) -> Row:
    """What detectors of pairs make of some of these, of which the first are poisoned."""
    row: Row = {}
    carries = torch.arange(len(pairs))[::STEP] < round(adaptive.SHARE * len(pairs))
    pairs = Pairs(pairs.z[::STEP], pairs.x[::STEP])
    for name in OF_PAIRS:
        detector = defences.pair_detector(name)
        if isinstance(detector, SetDetector):
            told = detector.test(pairs, Defender())
            alarm = told.p_value is not None and told.p_value <= told.level
            row["verdict"] = "suspicious" if alarm else "undecided" if told.lacking else "clean"
            scores, row["p"] = told.scores, told.p_value
        else:
            scores = detector.scores(pairs, Defender(physics=physics))
        row[name] = area(scores[carries], scores[~carries])
    return row


def area(own: Tensor, others: Tensor) -> float:
    """Share of the pairs of two scores of which the first is larger; half of those alike."""
    apart = own[:, None] - others
    return round(float((apart.sign().double() + 1).mean() / 2), 4)


def of_inputs(defender: Defender, z: Tensor, delta: Tensor) -> Row:
    """Shares of inputs that are flagged."""
    assert defender.clean is not None
    row: Row = {}
    for name in OF_INPUTS:
        detector = defences.input_detector(name)
        limit = defences.threshold(detector.scores(defender.clean.z, defender), peaks.ALARM)
        row[name] = {
            which: float((detector.scores(inputs, defender) > limit).double().mean())
            for which, inputs in (("clean", z), ("triggered", z + delta))
        }
    return row


def table(rows: list[dict]) -> Iterator[str]:
    """A line a role, with what the seeds say; recoveries are less those of the clean network."""
    for role in adaptive.ROLES:
        own = [row for row in rows if row["id"].rsplit("-", 1)[0] == role]
        if own:
            drawn, left = (
                [row[when]["recovery"] - row["clean"]["recovery"] for row in own]
                for when in ("before", "after")
            )
            worse = [100 * (row["after"]["benign"] / row["before"]["benign"] - 1) for row in own]
            cells = [
                adaptive.told(drawn),
                adaptive.told(left),
                ", ".join(f"{value:+.0f} %" for value in worse),
                *(adaptive.told([row[name] for row in own]) for name in OF_PAIRS),
                ", ".join(row["verdict"] for row in own),
                *(adaptive.told([row[name]["triggered"] for row in own]) for name in OF_INPUTS),
                adaptive.told([max(row[name]["clean"] for row in own) for name in OF_INPUTS]),
            ]
            yield f"| {role} | {' | '.join(cells)} |"


def main() -> None:
    """Look, or print."""
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in OUT.read_text().splitlines()] if OUT.exists() else []
    if len(sys.argv) == 2:
        print(HEAD + "".join(f"{line}\n" for line in table(rows)))
        return
    if len(sys.argv) == 3:
        folder = Path(sys.argv[1])
        rows = [anew(Bank.of(folder), folder, row) for row in rows]
        OUT.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return
    folder, kept, role, mask = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    if f"{role}-{mask}" not in {row["id"] for row in rows}:
        row = one(Bank.of(folder), folder, kept, role, mask)
        with OUT.open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
