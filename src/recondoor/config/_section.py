"""What all sections of the settings share: frozen, nothing unknown, no flags."""

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from recondoor.config._fields import allowed


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: object, info: ValidationInfo) -> object:
        """Take 'none' for a setting that may be none, and no true for 1: no setting is a flag."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool):
            raise ValueError(f"expected {allowed(field)}")
        return None if value == "none" and field.default is None else value
