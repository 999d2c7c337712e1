"""A sweep as the map shows it: rows, the axes that they differ in, and where their runs are."""

from recondoor import report
from recondoor.explore._folder import Folder
from recondoor.explore._pictures import Json, number, scaled

Cell = str | float | None


def sweep(folder: Folder) -> Json:
    """Axes, yardsticks and rows of the sweep; raises ReportError where it is damaged."""
    found = folder.sweep
    axes, known = report.axes_of(found), report.columns()
    places = {(point["point"], point["seed"]): place for place, point in folder.points.items()}
    there = {place: folder.has_run(place) for place in folder.points}
    measured = found.measured
    rows: list[Json] = []
    for row in found.rows:
        place = places.get((row["point"], row["seed"]), "")
        poisoned = row["model"] != "original"
        rows.append(
            {
                "point": row["point"],
                "model": row["model"],
                "seed": row["seed"],
                "run": place if there.get(place) else None,
                "success": found.success(row) if poisoned else None,
                "axes": [_cell(axis.read(row)) for axis in axes],
                "values": [scaled(row.get(each.key), each.scale) for each in known],
            }
        )
    return {
        "verdict": report.verdict(folder.path),
        "axes": [{"key": a.key, "name": a.title, "numeric": a.numeric} for a in axes],
        "yardsticks": [
            {"key": y.key, "name": y.at(measured).title, "better": y.better} for y in known
        ],
        "models": {label: report.title(label) for label in {row["model"] for row in found.rows}},
        "states": dict(found.states),
        "kept": sum(there.values()),
        "rows": rows,
    }


def _cell(value: object) -> Cell:
    if value is None or isinstance(value, str):
        return value
    return str(value) if isinstance(value, bool) else number(value)
