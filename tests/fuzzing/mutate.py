"""Damage to bytes, text and trees of values, drawn from a generator."""

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np

Random = np.random.Generator

DEEP = 20_000
MARKUP = "\"'><script>alert(1)</script>"
# Written as they stand into TOML and JSON.
ODD_TOKENS = (
    "nan", "inf", "-inf", "NaN", "Infinity", "1e999", "-1e999", "1e-320", "-1", "0", "-0.0", "1.5",
    "9" * 30, "7" * 5000, "18446744073709551616", "true", "null", "none", '""', "''", '"\\u0000"',
    '"\\ud800"', '"../../../x"', '"/dev/null"', "[]", "{}", "[[[]]]", "[" * DEEP, '{"a":' * DEEP,
    "a." * 5000, "2030-01-01T00:00:00Z", '"x\\ny\\nz"', '"' + "long" * 25_000 + '"', "=", ",", "]",
    '"\u202e\U0001f642\\u001b[31m"', "[a]\n[a]\n", json.dumps(MARKUP),
)  # fmt: skip
# Put into a tree that JSON can hold; the floats among them are written NaN and Infinity.
ODD_VALUES = (
    None, True, False, 0, -1, 1, 2, 10**30, -(10**30), 1e308, -1e308, 1e-320, 0.5, float("nan"),
    float("inf"), "", "x", "0", "original", "../../x", "x\ny\nz", "\x00", "\x1b[31m", MARKUP, [],
    {}, [[]], [None], {"a": {"a": {}}}, "$\\frac{", "l" * 20_000, "\ud800", "2,3", "∞", [0, 1],
)  # fmt: skip
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|[\w.+-]+|\S')
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def pick(random: Random, options: Any) -> Any:
    """One of `options`, as it is."""
    return options[int(random.integers(len(options)))]


def flip_bits(content: bytes, random: Random) -> bytes:
    """One to eight bits turned round."""
    changed = bytearray(content)
    for _ in range(int(random.integers(1, 9))):
        changed[int(random.integers(len(changed)))] ^= 1 << int(random.integers(8))
    return bytes(changed)


def truncate(content: bytes, random: Random) -> bytes:
    """The beginning alone."""
    return content[: int(random.integers(len(content)))]


def splice(content: bytes, random: Random) -> bytes:
    """A block overwritten by another block of the same file."""
    source, target = random.integers(len(content), size=2).tolist()
    size = int(random.integers(1, 65))
    return content[:target] + content[source : source + size] + content[target + size :]


def duplicate(content: bytes, random: Random) -> bytes:
    """A block that is there twice or many times."""
    start = int(random.integers(len(content)))
    stop = start + int(random.integers(1, 257))
    return content[:stop] + content[start:stop] * int(pick(random, (1, 2, 50))) + content[stop:]


def drop(content: bytes, random: Random) -> bytes:
    """A block left out."""
    start = int(random.integers(len(content)))
    return content[:start] + content[start + int(random.integers(1, 65)) :]


def extreme(content: bytes, random: Random) -> bytes:
    """An integer field, most often near the front, set to an extreme."""
    size = int(pick(random, (1, 2, 4, 8)))
    near = min(len(content), 128) if random.random() < 0.7 else len(content)
    at = int(random.integers(near))
    order = pick(random, ("little", "big"))
    number = int(pick(random, _EXTREMES)) % (1 << 8 * size)
    number = (1 << 8 * size) - 1 if random.random() < 0.2 else number
    return content[:at] + number.to_bytes(size, order) + content[at + size :]


def noise(content: bytes, random: Random) -> bytes:
    """A block of random bytes, or nothing but them."""
    block = random.bytes(int(random.integers(0, 257)))
    if random.random() < 0.1:
        return block
    at = int(random.integers(len(content)))
    return content[:at] + block + content[at + len(block) :]


def retoken(content: bytes, random: Random) -> bytes:
    """One to three tokens of a text replaced, doubled, exchanged or left out."""
    text = content.decode(errors="replace")
    for _ in range(int(pick(random, (1, 1, 1, 2, 3)))):
        spans = [match.span() for match in _TOKEN.finditer(text)]
        if not spans:
            break
        start, stop = pick(random, spans)
        other = text[slice(*pick(random, spans))]
        mild = pick(random, ("0.5", "3", "1e-3", '"none"', '"a.png"', str(random.integers(100))))
        new = pick(random, (pick(random, ODD_TOKENS), mild, other, "", text[start:stop] * 2))
        text = text[:start] + new + text[stop:]
    return text.encode(errors="replace")


BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (
    flip_bits, truncate, splice, duplicate, drop, extreme, noise,
)  # fmt: skip


def damage(content: bytes, random: Random) -> bytes:
    """One or two kinds of damage to the bytes of a file."""
    for _ in range(int(random.integers(1, 3))):
        content = pick(random, BYTES)(content or b"\0", random)
    return content


def retree(tree: Any, random: Random) -> Any:
    """Change one to three values anywhere in a tree of dicts and lists, in place; return it."""
    for _ in range(int(random.integers(1, 4))):
        places = list(_places(tree))
        if not places:
            break
        holder, key = pick(random, places)
        _change(holder, key, random)
    return tree


def _places(tree: Any) -> Any:
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(entries):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _change(holder: Any, key: Any, random: Random) -> None:
    kind = random.random()
    if kind < 0.15:
        del holder[key]
    elif kind < 0.25 and isinstance(holder, list):
        holder.append(json.loads(json.dumps(holder[key])))
    elif kind < 0.35 and isinstance(holder, dict):
        holder[str(pick(random, ODD_VALUES))] = holder.pop(key)
    elif kind < 0.6:
        holder[key] = _alike(holder[key], random)
    else:
        holder[key] = json.loads(json.dumps(pick(random, ODD_VALUES)))


def _alike(value: Any, random: Random) -> Any:
    """Another value of the same type, which gets further than one of another."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return type(value)(value * pick(random, (0, -1, 2, 0.5, 1000)))
    others = [odd for odd in ODD_VALUES if type(odd) is type(value)]
    return json.loads(json.dumps(pick(random, others))) if others else value


def json_tree(content: bytes, random: Random) -> bytes:
    """A JSON file with some values changed."""
    return json.dumps(retree(json.loads(content), random)).encode()


def json_line(content: bytes, random: Random) -> bytes:
    """A file of JSON lines with some values of one line changed."""
    lines = content.splitlines()
    at = int(random.integers(len(lines)))
    lines[at] = json_tree(lines[at], random)
    return b"\n".join(lines) + b"\n"
