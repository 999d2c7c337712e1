"""What audits and repairs give back: a verdict, tables, and a folder or file where one wants it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recondoor.audit import (
    Files,
    Mended,
    fill,
    mended_record,
    mended_text,
    require_folder,
    require_new,
    write_mended,
)
from recondoor.report import audit_text, build_audit, mended_page

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

COLOURS = {"clean": "#1a7f37", "suspicious": "#b42318", "undecided": "#8a6100"}


@dataclass(frozen=True, repr=False)
class AuditResult:
    """What an audit found; printed, it is the text that the command line prints.

    Args:
        record: the content of audit.json (docs/audit.md).
        make_files: the content of the other files, by name.
    """

    record: Mapping[str, Any]
    make_files: Callable[[], Files]

    @property
    def verdict(self) -> str:
        """'clean', 'suspicious' or 'undecided'."""
        return str(self.record["verdict"])

    @property
    def reason(self) -> str | None:
        """Why nothing is decided; None where something is."""
        reason: str | None = self.record["reason"]
        return reason

    @cached_property
    def table(self) -> pd.DataFrame:
        """One line for each detector: threshold, flags, p value or score."""
        import pandas as pd

        rows = list(self.record["detectors"])
        return pd.DataFrame(rows, columns=None if rows else ["name"]).set_index("name")

    @cached_property
    def suspicious(self) -> pd.DataFrame:
        """Every pair or input with its scores, the most suspicious first; empty for networks."""
        import pandas as pd

        content = self._files.get("suspicious.csv")
        if content is None:
            return pd.DataFrame()
        return pd.read_csv(BytesIO(content), index_col="index", keep_default_na=False)

    @property
    def flagged(self) -> NDArray[np.int64]:
        """Which pairs or inputs some detector flags, the most suspicious first."""
        found = self.suspicious
        return np.array([] if found.empty else found.index[found["flagged_by"] != ""], np.int64)

    @cached_property
    def evidence(self) -> dict[str, NDArray[Any]]:
        """Pictures of the most suspicious, or recovered patterns, by name (docs/audit.md)."""
        with np.load(BytesIO(self._files["evidence.npz"]), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    @cached_property
    def repaired(self) -> dict[str, NDArray[Any]]:
        """Of inputs: reconstructions as they are and repaired, by name; else empty."""
        content = self._files.get("repaired.npz")
        if content is None:
            return {}
        with np.load(BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def save(self, folder: str | Path, force: bool = False) -> Path:
        """Write audit.json, its other files and the page; return the page's path.

        Raises:
            RunError: there is something in the folder (another audit: unless `force`), or it cannot
                be written.
        """
        require_folder(Path(folder), force)
        return fill(Path(folder), self.record, self._files, build_audit)[1]

    def prepare(self) -> None:
        """Make the content of all files now, which may call the network once more."""
        _ = self._files

    @cached_property
    def _files(self) -> Files:
        return self.make_files()

    def __str__(self) -> str:
        return audit_text(self.record)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        head, *rest = str(self).split("\n")
        word, colon, sentence = head.partition(":")
        style = f"color:{COLOURS[self.verdict]}"
        notes = "".join(f"<p>{escape(line)}</p>" for line in rest[1:] if line)
        shown = [
            name
            for name in ("threshold", "score", "flagged", "expected", "p_value")
            if name in self.table
        ]
        table = self.table[shown].to_html(na_rep="–", float_format="%.3g", border=0)
        return (
            f'<p><strong style="{style}">{escape(word)}</strong>{colon}{escape(sentence)}</p>'
            f"{table}<details><summary>In words</summary>{notes}</details>"
        )


@dataclass(frozen=True, repr=False)
class CleanResult:
    """A network, repaired or left alone, and what was tried; printed, the command line's text."""

    mended: Mended
    command: str

    @property
    def network(self) -> nn.Module:
        """The repaired network, or a copy of the one that was given, which is as it was."""
        return self.mended.model

    @property
    def changed(self) -> bool:
        """Whether a repair was kept."""
        return self.mended.chosen is not None

    @property
    def record(self) -> dict[str, Any]:
        """What the JSON file holds."""
        return mended_record(self.mended, "", self.command)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One line for each yardstick, before and after."""
        import pandas as pd

        columns = ["yardstick", "before", "after"]
        return pd.DataFrame(self.mended.rows, columns=columns).set_index("yardstick")

    @property
    def notes(self) -> list[str]:
        """What to be wary of."""
        return list(self.mended.notes)

    def save(self, path: str | Path, force: bool = False) -> Path:
        """Write the weights, NAME.safetensors, with NAME.json and a page; return the first.

        Raises:
            RunError: nothing was changed, a file is there already, unless `force`, or one cannot be
                written.
            ConfigError: a name with another ending.
        """
        require_new(Path(path), force)
        write_mended(self.mended, Path(path), self.command, mended_page)
        return Path(path)

    def __str__(self) -> str:
        return mended_text(self.record)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return str(self.table.to_html(float_format="%.3f", border=0)) + notes
