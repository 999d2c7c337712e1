"""The names of plug-ins whose contracts `check` runs."""

PLUG_INS: list[str] = []
