"""A copy of an ONNX file with nothing in it but a network: what is checked is what is run.

The file is a protocol buffer. Known fields are written again, in the shortest form, comments and
metadata are left out, and whatever reaches out of the file is refused: tensors that lie in another
file or in memory, operators and functions that are not the standard's. A reader of the copy can
understand nothing else by it than was checked here.

Field numbers: onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from collections.abc import Iterator

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5

# What a field holds: one number, or many (which may be packed), bytes, or nothing that matters.
INT, INTS, FLOAT, FLOATS, DOUBLES = "int", "ints", "float", "floats", "doubles"
BYTES, LEFT_OUT = "bytes", ""
WIRE = {
    INT: (VARINT,),
    INTS: (VARINT, LENGTH),
    FLOAT: (FOUR_BYTES,),
    FLOATS: (FOUR_BYTES, LENGTH),
    DOUBLES: (EIGHT_BYTES, LENGTH),
}

# Messages by name: field number -> what it holds, or the name of the message in it.
FIELDS: dict[str, dict[int, str]] = {
    "model": {
        1: INT, 2: LEFT_OUT, 3: LEFT_OUT, 4: LEFT_OUT, 5: LEFT_OUT, 6: LEFT_OUT, 7: "graph",
        8: "opset", 14: LEFT_OUT, 26: LEFT_OUT,
    },
    "opset": {1: BYTES, 2: INT},
    "graph": {
        1: "node", 2: BYTES, 5: "tensor", 10: LEFT_OUT, 11: "value", 12: "value", 13: "value",
        14: LEFT_OUT, 16: LEFT_OUT,
    },
    "node": {
        1: BYTES, 2: BYTES, 3: BYTES, 4: BYTES, 5: "attribute", 6: LEFT_OUT, 7: BYTES, 8: LEFT_OUT,
        9: LEFT_OUT, 10: LEFT_OUT,
    },
    "attribute": {
        1: BYTES, 2: FLOAT, 3: INT, 4: BYTES, 5: "tensor", 6: "graph", 7: FLOATS, 8: INTS, 9: BYTES,
        10: "tensor", 11: "graph", 13: LEFT_OUT, 14: "type", 15: "type", 20: INT,
    },
    "tensor": {
        1: INTS, 2: INT, 4: FLOATS, 5: INTS, 6: BYTES, 7: INTS, 8: BYTES, 9: BYTES, 10: DOUBLES,
        11: INTS, 12: LEFT_OUT, 14: INT, 16: LEFT_OUT,
    },
    "value": {1: BYTES, 2: "type", 3: LEFT_OUT, 4: LEFT_OUT},
    "type": {1: "tensor type", 4: "element", 6: LEFT_OUT, 9: "element"},
    "tensor type": {1: INT, 2: "shape"},
    "element": {1: "type"},
    "shape": {1: "dimension"},
    "dimension": {1: INT, 2: BYTES, 3: LEFT_OUT},
}  # fmt: skip

EXTERNAL = (
    "its weights lie in another file, which is not opened; export it again with them inside, as in "
    "torch.onnx.export(..., external_data=False)"
)
REFUSED = {
    ("model", 20): "it holds a training",
    ("model", 25): "it holds functions of its own; export it with them inlined",
    ("graph", 15): "it holds sparse weights",
    ("attribute", 21): "it refers to a function",
    ("attribute", 22): "it holds sparse weights",
    ("attribute", 23): "it holds sparse weights",
    ("tensor", 3): "it holds a part of a tensor",
    ("tensor", 13): EXTERNAL,
}
STANDARD = (b"", b"ai.onnx")
"""The standard's operators, by its two names."""

DEEPEST = 32
"""Messages within each other, of which a network takes about ten."""


class Unfit(ValueError):
    """A file that is no ONNX network, or one that reaches out of itself: why, in a few words."""


def plain_copy(content: bytes) -> bytes:
    """The same network and nothing else; raises Unfit."""
    parts, size = _copied(memoryview(content), "model", 0)
    if size == 0:
        raise Unfit("it is empty")
    return b"".join(parts)


Parts = list[bytes | memoryview]


def _copied(message: memoryview, name: str, depth: int) -> tuple[Parts, int]:
    """Pieces of the copy of one message, and their length."""
    if depth > DEEPEST:
        raise Unfit("it is nested too deeply")
    parts: Parts = []
    for number, wire, value in _fields(message):
        kind = FIELDS[name].get(number)
        if kind is None:
            raise Unfit(
                REFUSED.get(
                    (name, number),
                    f"it is no ONNX file, or of a newer kind: field {number} ({name})",
                )
            )
        _require_inside(name, number, value)
        if kind == LEFT_OUT:
            continue
        if wire not in WIRE.get(kind, (LENGTH,)):
            raise Unfit(f"field {number} ({name}) is of the wrong kind")
        parts.append(_varint(number << 3 | wire))
        parts += _content(kind, wire, value, depth)
    return parts, sum(map(len, parts))


def _content(kind: str, wire: int, value: int | memoryview, depth: int) -> Parts:
    if isinstance(value, int):
        return [_varint(value)]
    if wire != LENGTH:
        return [value]
    inner, size = _copied(value, kind, depth + 1) if kind in FIELDS else ([value], len(value))
    return [_varint(size), *inner]


def _require_inside(name: str, number: int, value: int | memoryview) -> None:
    """Refuse tensors that lie elsewhere and operators that are not the standard's."""
    if (name, number) == ("tensor", 14) and value != 0:
        raise Unfit(EXTERNAL)
    if (name, number) == ("node", 7) and not isinstance(value, int):
        domain = bytes(value[:60])
        if domain not in STANDARD:
            raise Unfit(
                f"it uses an operator of {domain.decode(errors='replace')!r}; only those of the "
                "ONNX standard are run"
            )


def _fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Number, wire type and value of each field: a number, or bytes."""
    place = 0
    while place < len(message):
        tag, place = _read_varint(message, place)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, place = _read_varint(message, place)
            yield number, wire, value
            continue
        if wire == LENGTH:
            size, place = _read_varint(message, place)
        elif wire in (EIGHT_BYTES, FOUR_BYTES):
            size = 8 if wire == EIGHT_BYTES else 4
        else:
            raise Unfit("it is no protocol buffer")
        if size > len(message) - place:
            raise Unfit("it is cut short, or no ONNX file")
        yield number, wire, message[place : place + size]
        place += size


def _read_varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number of at most 64 bits, seven in each byte from the lowest, and the place behind it."""
    value = shift = 0
    while place < len(message) and shift < 70:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            if value >> 64:
                break
            return value, place
    raise Unfit("it is cut short, or no ONNX file")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
