"""Which run a file belongs to.

A seal tells files that were mixed up, edited or damaged. It is no signature: whoever writes a file
by hand can seal it too.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recondoor.config import Config, identity, original_identity
from recondoor.io import seal


@dataclass(frozen=True)
class Seal:
    """What all files of one run carry.

    Args:
        identity: hash of the settings, as `config.identity` has it.
        data: hash of the images and of the patterns, whose files the settings only name.
        original: hash of all that the original model depends on; runs that share it have the same.
    """

    identity: str
    data: str
    original: str

    @staticmethod
    def of(config: Config, fingerprint: str, patterns: str) -> "Seal":
        """The seal of a run of `config` on images of this fingerprint."""
        original = _hash(original_identity(config), fingerprint)
        return Seal(identity(config), _hash(fingerprint, patterns), original)

    @staticmethod
    def of_provenance(record: Mapping[str, Any]) -> "Seal":
        """The seal that a checked provenance.json stands for; `original` is not known from it."""
        data = _hash(record["data"]["fingerprint"], record.get("patterns") or "")
        return Seal(record["identity"], data, "")

    def claim(self, file: str, digest: str | None = None) -> dict[str, str]:
        """What is written into a file of this name."""
        own = {"identity": self.identity, "data": self.data, "original": self.original}
        return own | {"file": file} | ({} if digest is None else {"digest": digest})

    def fault(self, claim: object, file: str, *, shared: bool = False) -> str | None:
        """Why a file of this name with this claim is not the run's; None if it is.

        `shared`: it may be another run's that has the same original model.
        """
        parts = ("original",) if shared else ("identity", "data")
        if not isinstance(claim, dict) or any(not _is_text(claim, key) for key in self.claim("")):
            return "its seal is damaged"
        if claim["file"] != file:
            return f"was written as {claim['file']}"
        wrong = [key for key in parts if claim[key] != getattr(self, key)]
        if not wrong:
            return None
        of = "other settings or data" if wrong != ["data"] else "other data, trigger or artefact"
        return f"belongs to a run of {of} ({claim['identity']}, here {self.identity})"

    def digest_of_line(self, row: Mapping[str, Any]) -> str:
        """16 hex digits of a line of history.jsonl in this run."""
        return seal.digest({"identity": self.identity, "data": self.data, "row": dict(row)})[:16]


def _is_text(claim: Mapping[str, object], key: str) -> bool:
    return isinstance(claim.get(key), str)


def _hash(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
