"""What all sections of the settings share: frozen, nothing unknown, no flags."""

from pathlib import PurePath

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from recondoor.config._fields import allowed

PIXELS = 100_000
"""Most pixels along a side: no image is larger."""
BATCH = 1_000_000
"""Most pairs of a batch."""
PAIRS = 10_000_000
"""Most pairs or images that are counted; their numbers alone take 80 MB."""
STEPS = 1_000_000
"""Most steps or epochs: more would take years."""
INNER = 10_000
"""Most steps that are differentiated, and most of what is kept in memory at a time."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: object, info: ValidationInfo) -> object:
        """Take 'none' for a setting that may be none, and no true for 1: no setting is a flag.

        No setting is an empty text either: as a path it would be the folder that one is in.
        """
        field = cls.model_fields[str(info.field_name)]
        flag = isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", "") == "b"
        if flag or (isinstance(value, str) and not value.strip()):
            raise ValueError(f"expected {allowed(field)}")
        if info.field_name != "dir" and not _is_utf8(value):
            raise ValueError("it is not in UTF-8, as records of settings are; rename the file")
        return None if value == "none" and field.default is None else value


def _is_utf8(value: object) -> bool:
    """Whether a text can be written down; names of files may hold any bytes."""
    if not isinstance(value, str | PurePath):
        return True
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True
