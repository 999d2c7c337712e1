"""ONNX files for tests, written field by field, so that hostile ones can be written too.

Numbers are those of onnx.proto.
"""

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FLOAT, INT64, BOOL = 1, 7, 9


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | float | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name: str, array: NDArray[np.generic], more: bytes = b"") -> bytes:
    kind = {"f": FLOAT, "i": INT64, "b": BOOL}[array.dtype.kind]
    dims = b"".join(field(1, size) for size in array.shape)
    return dims + field(2, kind) + field(8, name) + field(9, array.tobytes()) + more


def elsewhere(name: str, shape: Sequence[int], location: str, marked: bool = True) -> bytes:
    """A tensor whose values lie in another file."""
    dims = b"".join(field(1, size) for size in shape)
    entry = field(1, "location") + field(2, location)
    return dims + field(2, FLOAT) + field(8, name) + field(13, entry) + field(14, int(marked))


def value(name: str, shape: Sequence[int | str], kind: int = FLOAT) -> bytes:
    dims = b"".join(
        field(1, field(1, size) if isinstance(size, int) else field(2, size)) for size in shape
    )
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, dims)))


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], more: bytes = b"") -> bytes:
    ends = [*(field(1, name) for name in inputs), *(field(2, name) for name in outputs)]
    return b"".join(ends) + field(4, kind) + more


def ints(name: str, values: Sequence[int]) -> bytes:
    """An attribute of a node."""
    numbers = b"".join(field(8, number) for number in values)
    return field(5, field(1, name) + numbers + field(20, 7))


def of_graph(name: str, content: bytes) -> bytes:
    """An attribute of a node that is a graph."""
    return field(5, field(1, name) + field(6, content) + field(20, 5))


def of_tensor(name: str, content: bytes) -> bytes:
    """An attribute of a node that is a tensor."""
    return field(5, field(1, name) + field(5, content) + field(20, 4))


def graph(
    nodes: Sequence[bytes],
    tensors: Sequence[bytes] = (),
    inputs: Sequence[bytes] = (value("z", ("b", 1, "h", "w")),),
    outputs: Sequence[bytes] = (value("out", ("b", 1, "h", "w")),),
) -> bytes:
    parts = [*(field(1, each) for each in nodes), field(2, "g")]
    parts += [field(5, each) for each in tensors]
    parts += [*(field(11, each) for each in inputs), *(field(12, each) for each in outputs)]
    return b"".join(parts)


def model(content: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    return field(1, 8) + before + field(7, content) + field(8, field(1, "") + field(2, 17)) + after


def convolution(
    weight: NDArray[np.float32], batch: int | str = "b", size: int | str = "h", more: bytes = b""
) -> bytes:
    """A network of one convolution (1, 1, k, k) that keeps the image's size."""
    pad = weight.shape[-1] // 2
    layer = node("Conv", ("z", "w"), ("out",), ints("pads", [pad] * 4))
    ends = [value(name, (batch, 1, size, size)) for name in ("z", "out")]
    return model(graph([layer], [tensor("w", weight)], ends[:1], ends[1:]), after=more)


def endless(count: int = 1 << 62) -> bytes:
    """A network that adds zero to its input for ever."""
    body = graph(
        [node("Identity", ("go",), ("on",)), node("Identity", ("state",), ("next",))],
        (),
        (value("i", (), INT64), value("go", (), BOOL), value("state", ("b", 1, "h", "w"))),
        (value("on", (), BOOL), value("next", ("b", 1, "h", "w"))),
    )
    loop = node("Loop", ("count", "yes", "z"), ("out",), of_graph("body", body))
    given = [tensor("count", np.array(count)), tensor("yes", np.array(True))]
    return model(graph([loop], given))


def of_nodes(*nodes: bytes, tensors: Sequence[bytes] = ()) -> bytes:
    return model(graph(nodes, tensors))
