"""Digests in records, so that a changed digit or a file of another run is told.

A digest is no signature: who writes a whole folder can write its digests too.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

MEMBER = "digest"


def digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record of JSON types, in hexadecimal; its own member `digest` does not count."""
    content = {key: value for key, value in record.items() if key != MEMBER}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its digest."""
    return {**record, MEMBER: digest(record)}


def fault(record: Mapping[str, Any]) -> str | None:
    """What is wrong with a record by its digest; None if it fits or there is none."""
    if MEMBER not in record or record[MEMBER] == digest(record):
        return None
    return "its digest does not match its content: it was changed after it was written"
