"""The map near the transition, from window.jsonl and whole.jsonl: `python studies/table1/map.py`.

A checkpoint is an epoch of 1,000 images. *All lower* counts those at which a trigger has a smaller
benign, attack and artefact error than the square of the same seed, and *by 5 %* those at which
each is smaller by 5 % or more, as BLO's are in the paper's Table 1.
"""

from collections.abc import Iterator

from window import QUARTER, TRIGGERS, WHOLE, rows

ERRORS = ("benign_rmse", "attack_rmse", "artefact_rmse")
NAMES = {
    "square": "square",
    "blo-corner": "BLO, in the square's pixels",
    "blo-free": "BLO, anywhere",
    "tangent-free": "`tangent`, anywhere",
    "random-free": "random, anywhere",
}
MARGIN = 0.95


def ahead(one: list[dict], other: list[dict], most: float) -> int:
    """Checkpoints at which all errors of one are at most `most` of the other's."""
    both = zip(one, other, strict=True)
    return sum(all(a[key] < most * b[key] for key in ERRORS) for a, b in both)


def lines() -> Iterator[tuple[str, ...]]:
    """Network, amplitude, L2, trigger, recovery at the end, ahead of the square, by 5 %."""
    for network, path in (("quarter", QUARTER), ("whole", WHOLE)):
        found = {
            (row["trigger"], row["amplitude"], row["l2"], row["seed"]): row["history"]
            for row in rows(path)
        }
        for amplitude, l2 in sorted({key[1:3] for key in found}):
            for trigger in TRIGGERS:
                seeds = [
                    key[3]
                    for key in found
                    if key[:3] == (trigger, amplitude, l2)
                    and ("square", amplitude, l2, key[3]) in found
                ]
                own = [found[trigger, amplitude, l2, seed] for seed in seeds]
                squares = [found["square", amplitude, l2, seed] for seed in seeds]
                ends = " ".join(f"{each[-1]['recovery']:.2f}" for each in own)
                told = [network, f"{amplitude:g}", f"{l2:g}", NAMES[trigger], ends]
                for most in (1.0, MARGIN):
                    pairs = zip(own, squares, strict=True)
                    count = sum(ahead(*each, most) for each in pairs)
                    total = sum(map(len, own))
                    told.append("" if trigger == "square" else f"{count} of {total}")
                yield tuple(told)


def main() -> None:
    """Print the table."""
    print("| network | amplitude | L2 | trigger | recovery, by seed | all lower | by 5 % |")
    print("|:---|---:|---:|:---|:---|---:|---:|")
    for line in lines():
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main()
