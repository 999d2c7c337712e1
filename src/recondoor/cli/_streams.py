"""Standard output and error: no traceback comes from printing, whatever they are connected to."""

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# What our own words, tables and help use beyond ASCII. Anything else is escaped: a file's name
# with its accents taken off would be another file's.
ASCII = {
    "±": "+/-", "×": "x", "·": "*", "…": "...", "∞": "inf", "√": "sqrt", "∑": "sum",
    "→": "->", "←": "<-", "≥": ">=", "≤": "<=", "≈": "~", "≠": "!=", "‖": "||",
    "²": "^2", "¹": "^1", "⁺": "^+", "⁻": "^-", "ᵀ": "^T", "₀": "_0", "₁": "_1", "₂": "_2",
    "α": "alpha", "β": "beta", "δ": "delta", "Δ": "Delta", "ν": "nu", "ρ": "rho",
    "σ": "sigma", "τ": "tau", "θ": "theta", "⟨": "<", "⟩": ">", "•": "*",
    **dict.fromkeys("’′", "'"),
    **dict.fromkeys("“”", '"'),
    **dict.fromkeys("\N{NO-BREAK SPACE}", " "),
    **dict.fromkeys("−–—─━═╌┄╴╶╸╺", "-"),
    **dict.fromkeys("│┃║╎┆", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰╞╡╪", "+"),
}  # fmt: skip
READABLE = "recondoor.readable"


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """What is written instead of characters that the encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    parts = (ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking)
    return "".join(parts), error.end


codecs.register_error(READABLE, _in_ascii)


@contextmanager
def readable() -> Iterator[None]:
    """Characters that a stream's encoding lacks are written in ASCII; closed streams swallow all.

    What is buffered is written out at the end, where a full disk can still be told.
    """
    _open_closed()
    streams = [each for each in (sys.stdout, sys.stderr) if isinstance(each, io.TextIOWrapper)]
    kept = [(each, each.errors) for each in streams]
    for stream, _ in kept:
        stream.reconfigure(errors=READABLE)
    try:
        yield
    finally:
        for stream, errors in kept:
            with suppress(OSError, ValueError):
                stream.reconfigure(errors=errors)


def flush() -> None:
    """Write out what is buffered; raises OSError where that cannot be."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def silence(*, probe: bool = False) -> str | None:
    """Name the standard stream that cannot be written; what is left for it goes nowhere.

    Python would else try again when it ends, and print that it could not. A stream that keeps
    nothing back is asked by one more line, the `probe`.
    """
    failed = None
    for name, stream in (("standard output", sys.stdout), ("standard error", sys.stderr)):
        try:
            if probe and failed is None:
                stream.write("\n")
            stream.flush()
        except OSError:
            failed = failed or name
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
                stream.flush()
    return failed


def _open_closed() -> None:
    """Open what the caller has closed, so that no file of ours gets the number of a stream."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
