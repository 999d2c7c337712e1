"""What decides in a run that tries triggers at several places: the place, or the pattern."""

from collections.abc import Mapping
from typing import Any

from recondoor.report._names import PLACES, placed, short, title
from recondoor.report._results import Results

# Their pattern was not learned: what they gain is place and support.
UNLEARNED = ("heuristic", "random")


def mask_of(results: Results, label: str) -> str:
    """Where the trigger of a row may lie: its own mask, or that of the run."""
    _, _, own = label.rpartition("-")
    if placed(label)[1]:
        return own
    attack: Mapping[str, Any] = results.data["config"].get("attack", {})
    return str(attack.get("mask", "trigger"))


def several(results: Results) -> bool:
    """Whether some attack here has a mask of its own."""
    return any(placed(label)[1] for label in results.models)


def method(results: Results, label: str) -> str:
    """The name of a row: where triggers differ in their place, with place and L2."""
    if label == "original" or not several(results):
        return title(label)
    size, mask = results.estimate(label, "trigger_l2"), mask_of(results, label)
    where = f"{title(placed(label)[0])}, {PLACES.get(mask, mask)}"
    return where if size is None else f"{where}, L2 {size.mean:.3g}"


def explanation(results: Results) -> str:
    """Two sentences: in which places triggers were learnt, and what that shows; '' for one place.

    Place and support are named only where the runs tell them from the pattern: no network has
    learnt a trigger in the square's pixels, and every one has learnt one anywhere, also of a
    pattern that nothing optimised.
    """
    if not several(results):
        return ""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for label in results.models:
        if label != "original":
            rows.setdefault(mask_of(results, label), []).extend(results.rows(label))
    counts = {
        mask: (_learnt(results, rows[mask]), len(rows[mask])) for mask in PLACES if mask in rows
    }
    said = [f"{PLACES[mask]} {learnt} of {n}" for mask, (learnt, n) in counts.items()]
    first = f"Networks that learnt their trigger: {', '.join(said)} ({_sizes(results)})."
    return f"{first} {_conclusion(results, counts)}"


def _in_turn(results: Results) -> str:
    """Which trigger was learnt first; that says more of the place than one end of training can."""
    when = {label: results.estimate(label, "transition_samples") for label in results.models}
    sooner = sorted((one.mean, label) for label, one in when.items() if one is not None)
    if not sooner:
        return "That does not tell place and support from the pattern."
    said = [f"{short(label)} after {images:,.0f}" for images, label in sooner]
    return (
        f"That does not tell place and support from the pattern; in images until learnt: "
        f"{', '.join(said)}."
    )


def _learnt(results: Results, rows: list[Mapping[str, Any]]) -> int:
    return sum(results.rule.learnt(row["artefact_recovery"]) is True for row in rows)


def _range_of_l2(results: Results) -> tuple[float, float]:
    """Least and largest L2 of a trigger."""
    rows = [row for label in results.models if label != "original" for row in results.rows(label)]
    sizes = [float(row["trigger_l2"]) for row in rows if row["trigger_l2"] is not None]
    return min(sizes, default=0.0), max(sizes, default=0.0)


def _one_size(results: Results) -> bool:
    low, high = _range_of_l2(results)
    return high - low <= 1e-3 * high


def _sizes(results: Results) -> str:
    """The L2 that triggers have, or that it differs."""
    low, high = _range_of_l2(results)
    if _one_size(results):
        return f"all of L2 {high:.3g}"
    return f"of L2 {low:.3g} to {high:.3g}, which is no comparison at one budget"


def _conclusion(results: Results, counts: Mapping[str, tuple[int, int]]) -> str:
    learnt, n = counts.get("trigger", (0, 0))
    free, of = counts.get("image", (0, 0))
    plain = [
        label
        for label in results.models
        if placed(label)[0] in UNLEARNED and mask_of(results, label) == "image"
    ]
    inside = [label for label in results.models if mask_of(results, label) == "trigger"]
    learned = [label for label in inside if placed(label)[0] not in (*UNLEARNED, "original")]
    told = n > 0 and of > 0 and learnt == 0 and free == of and _one_size(results)
    if not (told and plain and learned):
        return _in_turn(results)
    return (
        "Place and support decide here, not the pattern: "
        f"a {short(placed(plain[0])[0])} pattern anywhere is learnt, and one that "
        f"{short(learned[0])} optimised in the square's pixels is not."
    )
