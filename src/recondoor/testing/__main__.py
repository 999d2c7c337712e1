"""Contracts of plug-ins from the command line: python -m recondoor.testing blur:Blur -x."""

import sys
from pathlib import Path

import pytest

from recondoor.core.errors import RecondoorError
from recondoor.testing import _given


def main(arguments: list[str]) -> int:
    """Run pytest over the contracts of the names given first; the rest are pytest's options."""
    names = [each for each in arguments if not each.startswith("-")]
    if not names:
        print("give MODULE:NAME of a plug-in, as in: python -m recondoor.testing blur:Blur")
        return 2
    _given.PLUG_INS[:] = names
    try:
        from recondoor.testing import check  # noqa: F401 - refuses what is no plug-in
    except RecondoorError as error:
        print(f"recondoor: {error}", file=sys.stderr)
        return 2
    options = [each for each in arguments if each.startswith("-")]
    place = str(Path(__file__).with_name("check.py"))
    return int(pytest.main([place, "-p", "no:cacheprovider", *options]))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
