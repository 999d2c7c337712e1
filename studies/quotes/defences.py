"""Numbers of docs/defences.md: cells of the study's own tables, and what was chosen on what."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from kept import STUDIES, Quote, lines, listed, script, spread

from recondoor.core import registry

SOURCE, TABLES = "studies/defences/results.json", "studies/defences/tables.md"
Row = dict[str, Any]


@cache
def rows() -> list[Row]:
    """All kept rows."""
    found: list[Row] = json.loads((STUDIES / "defences" / "results.json").read_text("utf-8"))
    return found


def quotes() -> Iterator[Quote]:
    """Every quoted number of the page."""
    yield from mended()
    yield from scored_anew()
    yield from peaks()
    yield from beside()
    yield from scanners()
    yield from mirrored()
    yield from fallbacks()
    yield from artefacts()
    for name in ("adaptive", "left"):
        source = f"network-audits/{name}.jsonl"
        told = script(f"network-audits/{name}.py").table(lines(source))
        yield from (Quote(line, f"studies/{source}") for line in told)
    yield from knowing()
    summary = script("defences/summary.py")
    attacks = list(summary.ATTACKS)
    rare = [
        mean(a, "loss-isolation") for a in attacks if a not in ("bilevel-rare", "consistent-pairs")
    ]
    yield Quote(f"`loss-isolation` weak: {spread(rare)}", SOURCE)
    yield Quote(
        f"{mean('consistent-pairs', 'loss-isolation'):.2f} against consistent pairs", SOURCE
    )
    blind = [mean(attack, "spectre") for attack in attacks if attack != "bilevel-rare"]
    yield Quote(f"`spectre` is blind ({spread(blind)})", SOURCE)
    for name in ("loss-isolation", "spectre"):
        yield Quote(f"`{name}` ({mean('bilevel-rare', name):.2f})", SOURCE)
    yield counted()
    yield from networks()
    yield from other_makes()
    yield from designs()


def scored_anew() -> Iterator[Quote]:
    """What `trigger-inversion` makes of networks whose seeds chose nothing, by law/rule.json."""
    source = "studies/defences/law/scores.jsonl"
    found = lines("defences/law/scores.jsonl")
    clean = [row for row in found if row["model"] != "heuristic"]
    law = max(row["score"] for row in clean if row["seed"] < 120)
    learnt = [row["score"] for row in found if row not in clean and row["recovery"] > 0.5]
    above = [score for score in learnt if score > law]
    yield Quote(f"score {min(row['score'] for row in clean):.2f} to {law:.2f}", source)
    wins = [score > row["score"] for score in learnt for row in clean]
    yield Quote(f"{len(above)} are above it (AUC {sum(wins) / len(wins):.3f})", source)


def knowing() -> Iterator[Quote]:
    """What the page says of the attackers who know, beside its tables."""
    source = "network-audits/adaptive.jsonl"
    found: dict[str, list[Row]] = {}
    for row in lines(source):
        if "mirrors" in row:
            found.setdefault(row["id"].rsplit("-", 1)[0], []).append(row)
    hidden, mirrored = found["all"], found["mirrored"]
    highest = max(row["beside"]["triggered highest"] for row in hidden)
    seen = [row["triggered"] for role in ("all", "bold") for row in found[role]]
    worse = [
        row["benign"] / other["benign"] - 1
        for row, other in zip(hidden, found["clean"], strict=True)
    ]
    left = [listed([row[way]["recovery"] for row in mirrored]) for way in ("mirrors", "beside")]
    first: dict[str, float] = {}
    moved = [
        abs(first.setdefault(row["id"], row["recovery"]) - row["recovery"])
        for row in lines(source)
        if "recovery" in row
    ]
    for words in (
        f"up to {highest:.2f} of the limit",
        f"at most {100 * max(worse):.0f} % more than the clean network of its recipe",
        f"its RMSE is {spread(seen)}",
        f"RMSE is {spread(row['triggered'] for row in found['quiet'])}",
        f"With them {left[0]} of the artefact is left, without them {left[1]}",
        f"recovery {spread(row['recovery'] for row in mirrored)}",
        f"Recoveries moved by up to {max(moved):.2f}",
    ):
        yield Quote(words, f"studies/{source}")


TRIGGERS = {
    "square": "square",
    "sinusoid": "sinus",
    "spread over the image": "spread",
    "smooth": "spread_low",
    "in the measurement": "measured",
}


def peaks() -> Iterator[Quote]:
    """What `input-peaks` flags, of the half that scores."""
    source = "studies/network-audits/peaks.jsonl"
    found = [row for row in lines("network-audits/peaks.jsonl") if row["half"] == "score"]
    strong = [row for row in found if row["strength"] is None]
    weak = [row for row in found if row["strength"] is not None]

    def flagged(rows: list[Row], what: str, kind: str = "") -> str:
        own = [row for row in rows if not kind or row["id"].split("-")[3] == kind]
        return f"{sum(row[what] for row in own)} of {sum(row['inputs'] for row in own)}"

    for title, kind in TRIGGERS.items():
        count = sum(row["id"].split("-")[3] == kind for row in strong)
        cells = [flagged(rows, "flagged", kind) for rows in (strong, weak)]
        yield Quote(f"| {title} | {count} | {cells[0]} | {cells[1]} |", source)
    clean = flagged(strong, "clean_flagged")
    yield Quote(f"| none | {len(strong)} | {clean} |", source)


def other_makes() -> Iterator[Quote]:
    """Areas of `erased-trigger`, and networks flagged, of the half that scores."""
    source = "studies/network-audits/results.json"
    found = json.loads((STUDIES / "network-audits" / "results.json").read_text("utf-8"))
    half, same = found["halves"]["score"], found["same_make"]["halves"]["score"]
    for title, key in (
        ("learnt the backdoor", "learnt"),
        ("in the measurement", "learnt, measured"),
        ("U-Nets alone", "learnt, unet"),
    ):
        row = half[key]
        words = f"| {title} | {row['networks']} | {area(row)} | {row['flagged']} |"
        yield Quote(words, source)
    row, measured = same["learnt"], same["learnt, measured"]
    yield Quote(f"There {row['flagged']} of {row['networks']} are flagged", source)
    yield Quote(f"{measured['flagged']} of {measured['networks']} are flagged, 1 before", source)
    yield Quote(f"The AUC is {area(row)}", source)


def area(row: Row) -> str:
    """An AUC with its interval."""
    low, high = row["auc_interval"]
    return f"{row['auc']:.3f} ({low:.3f} to {high:.3f})"


def designs() -> Iterator[Quote]:
    """Recovery left and change of the benign error of repairs that were tried on one network."""
    source = "studies/network-audits/designs.jsonl"
    for row in lines("network-audits/designs.jsonl"):
        before, after = row["before"], row["after"]
        change = f"{100 * (after['benign'] / before['benign'] - 1):+.1f} %"
        left = f"{after['recovery']:.2f}"
        if row["id"].startswith("unet-mr_real-s2-square"):
            yield Quote(f"{left} | {change} |", source)
        elif "clean" not in row["id"]:
            yield Quote(f"{before['recovery']:.2f} to {left} | {change} |", source)


def counted() -> Quote:
    """How many of the defences that there are were measured."""
    measured = {row["defence"] for row in rows()}
    return Quote(f"{len(measured)} of the {len(registry.names('defences'))} defences", SOURCE)


def networks() -> Iterator[Quote]:
    """Areas with their bootstrap intervals, from the tables that summary.py wrote."""
    page = (STUDIES / "defences" / "tables.md").read_text("utf-8")
    _, _, part = page.partition("## Networks\n")
    for line in part.partition("Scores of the clean networks")[0].splitlines()[5:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and "[" in cells[3]:
            area, _, above = cells[3].partition(" [")
            yield Quote(f"| {cells[0]} | {cells[1]} | {area} | {above.rstrip(']')} |", TABLES)
    for start in ("| 0 to 7", "| 8 to 19"):
        (line,) = (line for line in page.splitlines() if line.startswith(start))
        area = line.split("|")[4].strip()
        yield Quote(area[:5] if area.startswith("1.000 (1.000") else area, TABLES)


def mean(attack: str, name: str) -> float:
    """Mean AUC over seeds, among training pairs."""
    found = [
        row["auc"]
        for row in rows()
        if (row["part"], row["attack"], row["defence"]) == ("pairs", attack, name)
    ]
    return float(sum(found) / len(found))


MENDED = "studies/network-audits/mended.jsonl"
KINDS = {
    "mr_mag-s2-square": "MR magnitude, square",
    "mr_real-s0-sinus": "MR, sinusoid",
    "mr_mag-s5-spread": "MR magnitude, spread",
    "mr_real-s7-spread_low": "MR, smooth",
    "mr_real-s2-measured": "MR, in the measurement",
    "ct-s2-measured": "CT, in the measurement",
}


def mended() -> Iterator[Quote]:
    """Lines of the table of networks that were mended on the half that scores."""
    for row in lines("network-audits/mended.jsonl"):
        kind = next((name for key, name in KINDS.items() if f"unet-{key}-" in row["id"]), None)
        if kind is None:
            continue
        before, after, both = row["before"], row["after"], row["both"]
        first = [signed(each["recovery"]) for each in (before, after)]
        yield Quote(
            f"| {kind} | {first[0]} | {first[1]} | {grown(after, before)} | "
            f"{signed(both['recovery'])} | {grown(both, before)} |",
            MENDED,
        )


BESIDE = "studies/network-audits/beside-unmirrored.jsonl"
WORDS = {
    "unet": "U-Net",
    "cae": "autoencoder",
    "modl": "unrolled",
    "mr_real": "MR",
    "mr_mag": "MR magnitude",
    "mr_complex": "MR complex",
    "ct": "CT",
    "sr": "super-resolution",
    "sinus": "sinusoid",
    "spread_low": "smooth",
    "measured": "in the measurement",
}


def scanners() -> Iterator[Quote]:
    """Lines of the table of repairs of heads and chests."""
    study = script("defences/scanners.py")
    for line in study.repairs_table(study.kept()):
        yield Quote(line, "studies/defences/scanners.jsonl")


def beside() -> Iterator[Quote]:
    """Lines of the table of networks that are kept beside a mended one."""
    for row in lines("network-audits/beside-unmirrored.jsonl"):
        before, mended, both = row["before"], row["mended"], row["both"]
        clean = row["state"] == "clean"
        recoveries = ["–", "–"] if clean else [signed(e["recovery"]) for e in (before, both)]
        flagged = [f"{100 * row[key]['flagged']:.1f} %" for key in ("clean", "triggered")]
        yield Quote(
            f"| {labelled(row)} | {' | '.join(recoveries)} | "
            f"{'–' if clean else honest(row['honest'])} | "
            f"{grown(mended, before)} | {grown(both, before)} | "
            f"{flagged[0]} | {'–' if clean else flagged[1]} |",
            BESIDE,
        )


def labelled(row: dict[str, Any]) -> str:
    """The network of a row, in words."""
    arch, pipe, _, kind, *more = row["id"].split("-")
    label = f"{WORDS[arch]}, {WORDS[pipe]}, {WORDS.get(kind, kind)}"
    label += f" {more[0].removeprefix('f')}" if kind == "square" else ""
    label += ", not learnt" if row["state"] == "not learnt" else ""
    return label + (", tuned on" if more and more[-1] == "ft" else "")


MIRRORED = "studies/network-audits/beside.jsonl"


def mirrored() -> Iterator[Quote]:
    """Lines of the table of the same networks that are asked about mirrored inputs."""
    score = halves()["score"]
    known = {row["id"]: row for row in lines("network-audits/beside-unmirrored.jsonl")}
    rows = lines("network-audits/beside.jsonl")
    for row in sorted(rows, key=lambda row: (row["id"] not in score, labelled(row))):
        if row["state"] == "clean":
            continue
        own = row["both"]["recovery"]
        # What is left without mirrors is what the mended network leaves, where no row says it.
        plain = known[row["id"]]["both"] if row["id"] in known else row["mended"]
        asked = row.get("mirrored", float(own != plain["recovery"]))
        cells = [signed(each) for each in (row["before"]["recovery"], plain["recovery"], own)]
        yield Quote(
            f"| {labelled(row)} | {'scores' if row['id'] in score else 'designs'} | "
            f"{' | '.join(cells)} | {honest(row['honest'])} | {'yes' if asked else 'no'} |",
            MIRRORED,
        )


def halves() -> dict[str, set[str]]:
    """Names of the networks of each half of the bank."""
    found = json.loads((STUDIES / "network-audits/split.json").read_text())
    return {half: set(names) for half, names in found.items()}


def fallbacks() -> Iterator[Quote]:
    """What could count where two networks side by side disagree."""
    rows = lines("network-audits/fallbacks.jsonl")
    for way in rows[0]["ways"]:
        if way == "given":
            continue
        cells = []
        for row in rows:
            own, usual = row["ways"][way], row["ways"]["given"]
            grew = 100 * (own["benign"] / usual["benign"] - 1)
            cells.append(f"{signed(own['recovery'])}; {grew:+.0f} %".replace("-", "−"))
        yield Quote(" | ".join(cells), "studies/network-audits/fallbacks.jsonl")


def artefacts() -> Iterator[Quote]:
    """Flagged networks whose artefact is recovered: by the scan, closer, and at the best shift."""
    results = json.loads((STUDIES / "network-audits/results.json").read_text())
    scans = {row["id"]: row["overlap_artefact"] for row in lines("network-audits/scans.jsonl")}
    rows = [
        row
        for row in lines("network-audits/artefacts.jsonl")
        if results["scores"].get(row["id"], 0) > results["threshold"]
    ]
    for half, names in halves().items():
        own = [row for row in rows if row["id"] in names]
        scanned = sum(scans[row["id"]] >= ENOUGH for row in own)
        placed, moved = (sum(row[key] >= ENOUGH for row in own) for key in ("artefact", "moved"))
        told = f"{placed} | {moved} |" if half == "design" else f"**{placed}** | {moved} |"
        yield Quote(f"| {len(own)} | {scanned} | {told}", "studies/network-audits/artefacts.jsonl")


ENOUGH = 0.8
"""Cosine of an artefact that counts as recovered."""


def honest(recoveries: list[float]) -> str:
    """The range of clean networks."""
    if not recoveries:
        return "–"
    ends = [signed(end(recoveries)) for end in (min, max)]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def signed(value: float) -> str:
    """As the page writes it."""
    return f"{value:.2f}".replace("-", "−")


def grown(after: dict[str, float], before: dict[str, float]) -> str:
    """Change of the benign error."""
    return f"{100 * (after['benign'] / before['benign'] - 1):+.1f} %"
