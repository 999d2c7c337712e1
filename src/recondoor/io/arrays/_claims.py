"""What readers of a stranger's files share: what may go wrong, how it is said, how much expands."""

import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

from recondoor.io.gate import Refused, why

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    SyntaxError,
    RuntimeError,
    NotImplementedError,
    OverflowError,
    MemoryError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy, zipfile, Pillow and h5py raise on damaged files, found by damaging some."""

FREE = 1 << 28
"""Bytes that a small file may expand to, 256 MiB."""
EXPANSION = 200
"""Largest ratio of what a larger one expands to and its size; images compress far less."""
MOST_MEMBERS = 1_024
"""Arrays that one file may hold."""


def reason(error: BaseException) -> str:
    """Why a file cannot be read, in a few words and without its name."""
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    text = why(error)
    if "Object arrays" in text:
        return "it holds Python objects; expected an array of numbers"
    if isinstance(error, ValueError) and "pickle" in text:
        return "it does not start like one"
    return text


def failure(path: Path, error: BaseException, kind: str = "") -> str:
    """The line about a file that cannot be read; `kind` is what it should be, as '.npy file'."""
    if isinstance(error, Refused):
        return f"'{path}' {error}"
    if kind and not getattr(error, "strerror", None):
        return f"'{path}' is not a readable {kind} ({reason(error)})"
    return f"'{path}' cannot be read: {reason(error)}"


def require_expansion(expanded: int, size: int) -> None:
    """Refuse what a compressed file of `size` bytes would expand to, if that is suspiciously much.

    Allowed are `FREE` bytes, and `EXPANSION` times the size.
    """
    if expanded > max(FREE, EXPANSION * size):
        raise ValueError(f"its {size} bytes would expand to {expanded / 2**30:.3g} GiB")
