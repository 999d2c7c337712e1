"""The map near the transition: `python studies/table1/map.py`.

From quarter.jsonl, whole.jsonl and full.jsonl. A checkpoint is an epoch of 1,000 images, of 5,000
in `full`. *Lower* counts those at which BLO has a smaller benign,
attack and artefact error than the square of the same seed, and *by 5 %* those at which each is
smaller by 5 % or more, as BLO's are in the paper's Table 1. Cells of fewer than two seeds are left
out.
"""

from collections.abc import Iterator
from statistics import fmean

from window import HERE, REGIMES, TRIGGERS, rows

ERRORS = ("benign_rmse", "attack_rmse", "artefact_rmse")
MARGIN = 0.95
HEAD = ("network", "amplitude", "L2", "seeds", *TRIGGERS)
COUNTS = ("blo-corner lower", "by 5 %", "blo-free lower", "by 5 %")


def ahead(one: list[dict], other: list[dict], most: float) -> int:
    """Checkpoints at which all errors of one are below `most` times the other's."""
    both = zip(one, other, strict=True)
    return sum(all(a[key] < most * b[key] for key in ERRORS) for a, b in both)


def lines() -> Iterator[tuple[str, ...]]:
    """Cells of the table, a tuple a row: mean recovery at the end, then counts of checkpoints."""
    for network in REGIMES:
        found = {
            (row["trigger"], row["amplitude"], row["l2"], row["seed"]): row["history"]
            for row in rows(HERE / f"{network}.jsonl")
        }
        for amplitude, l2 in sorted({key[1:3] for key in found}):
            place = (amplitude, l2)
            seeds = [k for k in range(5) if all((t, *place, k) in found for t in TRIGGERS)]
            if len(seeds) < 2:
                continue
            own = {t: [found[t, *place, k] for k in seeds] for t in TRIGGERS}
            ends = [f"{fmean(each[-1]['recovery'] for each in own[t]):.2f}" for t in TRIGGERS]
            counts = [
                f"{sum(ahead(*both, most) for both in zip(own[t], own['square'], strict=True))}"
                f" of {sum(map(len, own[t]))}"
                for t in ("blo-corner", "blo-free")
                for most in (1.0, MARGIN)
            ]
            told = (network, f"{amplitude:g}", f"{l2:g}", str(len(seeds)))
            yield (*told, *(each.replace("-0.00", "0.00") for each in ends), *counts)


def main() -> None:
    """Print the table."""
    print(f"| {' | '.join((*HEAD, *COUNTS))} |")
    print(f"|:---|{'---:|' * (len(HEAD) + len(COUNTS) - 1)}")
    for line in lines():
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main()
