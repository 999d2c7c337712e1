"""What every record is, the kinds of values in them, and how one is refused."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recondoor.core.errors import RunError

RESTORE = "restore it, or choose another --out"

# Whole numbers up to here are exact in a float.
Count = Annotated[int, Field(ge=0, le=2**53)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Step = Annotated[int, Field(ge=1, le=2**53)]
Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
Seconds = Annotated[float, Field(ge=0)]
Scalar = bool | int | float | str | None
Share = Annotated[float, Field(ge=0, le=1)]
Shape = Annotated[list[Step], Field(min_length=3, max_length=3)]
Interval = Annotated[
    Annotated[list[float], Field(min_length=2, max_length=2)] | None,
    Field(
        description="lower and upper end of the 95 % interval, or null where there are fewer than "
        "two seeds"
    ),
]


def about(description: str) -> Any:
    """A member that has to be there."""
    return Field(description=description)


def absent(description: str) -> Any:
    """A member that may be left out; whether it may be null its type says."""
    return Field(None, description=description)


class Record(BaseModel):
    """Frozen, with nothing read as something else; members that are not known are left alone."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)


Kind = TypeVar("Kind", bound=Record)
Found = TypeVar("Found")


def require(kind: type[Kind], value: object, where: str, remedy: str = RESTORE) -> Kind:
    """Return `value` as a record; RunError with the first wrong member and the remedy."""
    return validated(kind.model_validate, value, where, remedy)


def validated(
    validate: Callable[[object], Found], value: object, where: str, remedy: str = RESTORE
) -> Found:
    """What `validate` makes of `value`; errors as of `require`."""
    try:
        return validate(value)
    except ValidationError as error:
        raise RunError(f"{where}: {_fault(error)}; {remedy}") from None


def _fault(error: ValidationError) -> str:
    """The first wrong member, what was given and what is expected, in one line."""
    item = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in item["loc"] if part not in ("train", "attack"))
    reason = item["msg"].removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"{key} is missing"
    if item["type"] == "union_tag_not_found":
        return "stage is missing"
    if item["type"] == "value_error":
        return reason
    given = repr(item["input"])
    given = given if len(given) <= 60 else f"{given[:57]}..."
    return f"{key or 'it'}: {given} given; {reason[0].lower()}{reason[1:]}".replace("\n", " ")
