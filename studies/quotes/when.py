"""Numbers of docs/when.md."""

from collections.abc import Iterator

from kept import RULE, Quote, Row, number, script, spread, sweep, where

RATIO, ENERGY = "studies/when/ratio", "studies/when/energy"
RARE = "studies/defences/rare"
THEORY = "studies/when/growth.json"


def quotes() -> Iterator[Quote]:
    """Every quoted number of the page."""
    yield from ratio()
    yield from rare()
    yield from energy()
    yield from operators()
    yield from theory()


def ratio() -> Iterator[Quote]:
    """The table of ratios, and how many are successes."""
    for name, model, shares in (
        ("BLO", "bilevel", (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4)),
        ("square", "heuristic", (0.01, 0.2, 0.3, 0.4)),
    ):
        for share in shares:
            yield Quote(row_of(name, ratio_rows(model, share), share), RATIO)
    free = [row for share in (0.01, 0.02) for row in ratio_rows("bilevel", share)]
    worst = max(row["benign_rmse"] / originals()[row["seed"]] - 1 for row in free)
    yield Quote(f"Its benign error is then up to {100 * worst:.0f} % higher", RATIO)


def rare() -> Iterator[Quote]:
    """The smallest shares on the defences' networks."""
    found = {}
    rows = sweep("defences/rare")
    clean = {row["seed"]: row["benign_rmse"] for row in where(rows, model="original")}
    for share in (0.01, 0.02):
        mine = where(rows, model="bilevel", poison__ratio=share)
        values = [row["artefact_recovery"] for row in mine]
        learnt = sum(value > 0.5 for value in values)
        found[share] = f"{learnt} of {len(mine)}", spread(values)
    yield Quote(f"from 1 % in {found[0.01][0]} seeds (recovery {found[0.01][1]})", RARE)
    yield Quote(f"from 2 % in {found[0.02][0]} ({found[0.02][1]}), which is a success", RARE)
    successes = [
        RULE(r["artefact_recovery"], r["asr"], r["benign_rmse"], clean[r["seed"]]) is True
        for r in where(rows, model="bilevel")
    ]
    assert sum(successes) == 1


def ratio_rows(model: str, share: float) -> list[Row]:
    """Networks of one attack at one ratio."""
    return where(sweep("when/ratio"), model=model, poison__ratio=share)


def originals() -> dict[int, float]:
    """Benign RMSE of the original models."""
    return {row["seed"]: row["benign_rmse"] for row in where(sweep("when/ratio"), model="original")}


def row_of(name: str, rows: list[Row], share: float) -> str:
    """One line of the table."""
    success = [
        RULE(r["artefact_recovery"], r["asr"], r["benign_rmse"], originals()[r["seed"]]) is True
        for r in rows
    ]
    more = [100 * (row["benign_rmse"] / originals()[row["seed"]] - 1) for row in rows]
    cells = [
        f"{name}, {100 * share:g} %",
        spread(row["artefact_recovery"] for row in rows),
        spread((row["attack_rmse"] for row in rows), 3),
        f"{spread(more, 0)} %",
        spread(row["asr"] for row in rows),
        f"{sum(success)} of {len(rows)}",
    ]
    return f"| {' | '.join(cells)} |"


def energy() -> Iterator[Quote]:
    """How many seeds learn the square within 16,000 images."""
    for operator, budgets in (
        ("gaussian", (4, 8, 16, 32, 64, 128)),
        ("fourier", (2, 4, 8, 16, 32, 64)),
    ):
        rows = where(sweep("when/energy"), operator__name=operator)
        counts = [
            sum(row["transition_samples"] is not None for row in rows if row["attack.l2"] == l2)
            for l2 in budgets
        ]
        cells = " | ".join(f"{l2:g}: {count}" for l2, count in zip(budgets, counts, strict=True))
        yield Quote(f"| {operator.capitalize()} | {cells} |", ENERGY)


def operators() -> Iterator[Quote]:
    """Images until learnt over operators."""
    points = {row["point"]: [] for row in sweep("when/operator")}
    for row in sweep("when/operator"):
        points[row["point"]].append(row["transition_samples"])
    seen = [value for values in points.values() for value in values if value is not None]
    never = sum(all(value is None for value in values) for values in points.values())
    some = sum(None in values and any(values) for values in points.values())
    yield Quote(f"of {len(points)} settings", "studies/when/operator")
    yield Quote(
        f"between {number(min(seen), 0)} and {number(max(seen), 0)} images", "studies/when/operator"
    )
    yield Quote(f"In {some} of them one of the two seeds did not learn it", "studies/when/operator")
    yield Quote(
        f"in {never}, a pixel mask that keeps a tenth of the image, neither did",
        "studies/when/operator",
    )


def theory() -> Iterator[Quote]:
    """How well predictions do."""
    fitting, scoring = script("when/fitting.py"), script("when/scoring.py")
    rows, best = fitting.networks(), chosen()
    order, asked, scores = scoring.left_out(rows, best)
    every = range(len(order))
    areas = {name: scoring.auc(asked, score)(list(every)) for name, score in scores.items()}
    yield Quote(f"{len(rows)} networks", THEORY)
    yield Quote(f"{len(asked.answer):,} questions", THEORY)
    yield Quote(
        f"| sweeps that were not seen | {areas['theory']:.3f} | {areas['knowing']:.3f} | "
        f"{areas['logistic']:.3f} | {areas['images']:.3f} |",
        THEORY,
    )
    first = [row for row in rows if fitting.in_first_half(row)]
    second = [row for row in rows if not fitting.in_first_half(row)]
    line = fitting.fit([row for row in first if row["reach"] > 0], best)
    held = fitting.questions(second)
    said = scoring.said(first, second, held, line, best)
    half = {n: scoring.auc(held, score)(list(range(len(second)))) for n, score in said.items()}
    yield Quote(
        f"| held-out half | {half['theory']:.3f} | {half['knowing']:.3f} | "
        f"{half['logistic']:.3f} | {half['images']:.3f} |",
        THEORY,
    )
    for budget in fitting.BUDGETS:
        part = asked.budget == budget
        some = fitting.Questions(asked.row[part], asked.budget[part], asked.answer[part])
        one = {n: scoring.auc(some, s[part])(list(every)) for n, s in scores.items()}
        yield Quote(
            f"| not seen, at {budget:,} images | {one['theory']:.3f} | {one['knowing']:.3f} | "
            f"{one['logistic']:.3f} | {one['images']:.3f} |",
            THEORY,
        )


def chosen() -> str:
    """The choice that ships."""
    from recondoor.theory import shipped

    constants = shipped()
    return f"{constants.steps} steps, {constants.networks} networks"
