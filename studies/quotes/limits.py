"""Numbers of docs/limits.md: pairs that agree with the operator."""

from collections.abc import Iterator

from kept import Quote, lines

SOURCE = "studies/consistent/pairs.jsonl"
PLUS = 9.0  # energy of the artefact before its measured part is taken away


def quotes() -> Iterator[Quote]:
    """What each detector of pairs makes of them."""
    rows = lines("consistent/pairs.jsonl")
    unseen = [row["unmeasured"] / PLUS for row in rows]
    yield Quote(f"{100 * min(unseen):.0f} to {100 * max(unseen):.0f} % of its energy", SOURCE)
    residual = [row["auc"]["measurement-residual"] for row in rows]
    yield Quote(
        f"AUC of the measurement residual was {min(residual):.2f} to {max(residual):.2f}", SOURCE
    )
    many = [row["auc"]["activation-clustering"] for row in rows if row["share"] == 0.3]
    few = [row["auc"]["spectre"] for row in rows if row["share"] < 0.3]
    told = {6: "six", 12: "twelve"}
    yield Quote(
        f"In all {told[len(many)]} cases of p = 0.3 `activation-clustering` "
        f"had AUC {min(many):.3f}",
        SOURCE,
    )
    yield Quote(
        f"in all {told[len(few)]} of p = 0.05 and 0.01 `spectre` had {min(few):.3f}", SOURCE
    )
