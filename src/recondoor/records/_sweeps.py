"""The record of sweep.json, as far as a page reads it."""

from typing import Annotated

from pydantic import Field, JsonValue

from recondoor.records._base import Record, about, absent

Anything = Annotated[dict[str, JsonValue], Field()]


class Block(Record):
    """Points of a sweep file."""

    set: Anything = absent("settings of all its points")
    grid: Anything = absent("axes, crossed")
    zip: Anything = absent("axes, side by side")


class Spec(Record):
    """The sweep file."""

    block: list[Block] = absent("groups of points")
    point: list[Block] = absent("single points")


class Point(Record):
    """A point with one of its seeds."""

    point: str = about("its name")
    seed: JsonValue = about("root seed")
    folder: str = absent("its run folder")
    identity: str = absent("hash of its settings")
    state: str = about("`finished`, `failed` or `waiting`")


class Failure(Record):
    """A point that failed for good."""

    point: str = about("its name")
    seed: JsonValue = absent("root seed")
    reason: str = about("why")


class SweepProvenance(Record):
    """How a sweep was made; each run folder has its own."""

    versions: Anything = absent("package -> version, and `python`")
    hardware: Anything = absent("of the driver")
    git: JsonValue = absent("state of the checkout")
    command: str = absent("the last command")
    started: JsonValue = absent("when it began, UTC")
    written: JsonValue = absent("when this file was written, UTC")


SWEEP = "recondoor.sweep/1"
"""Name and version of sweep.json."""


class Sweep(Record):
    """How the rows of sweep.parquet were made."""

    schema_name: str = Field(alias="schema", description=f"`{SWEEP}`")
    spec: Spec = absent("the sweep file")
    provenance: SweepProvenance = absent("how it was made; each run folder has its own")
    points: list[Point] = about("every point with every seed")
    failures: list[Failure] = about("points that failed for good")
