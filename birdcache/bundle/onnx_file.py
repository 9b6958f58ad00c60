"""What an ONNX file of a bundle may hold: operators of ONNX alone, and all of its numbers inside.

Read field by field, as protobuf writes it, before ONNX Runtime sees it: a file from a stranger may name files of this
machine as its weights, or operators that load libraries.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from collections.abc import Iterator

STANDARD = ("", "ai.onnx")
INNER = {  # message -> its fields that hold messages
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
}
NODE_DOMAIN = 7
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # of a tensor
DEEPEST = 64  # messages in messages
BROKEN = "is no ONNX file, or a broken one"


def check_onnx(content: bytes) -> None:
    """Refuse a model with numbers in other files, operators outside ONNX, or functions of its own, and what is none."""
    pending, has_graph = [("model", memoryview(content), 0)], False
    while pending:
        kind, message, depth = pending.pop()
        if depth > DEEPEST:
            raise ValueError("nests messages too deeply")
        for field, value in _fields(message):
            inner = INNER.get(kind, {}).get(field)
            if inner == "function":
                raise ValueError("holds functions of its own, which no bundle needs")
            if kind == "node" and field == NODE_DOMAIN and _text(value) not in STANDARD:
                raise ValueError(f"uses operators of {_text(value)!r}, but a bundle may use those of ONNX alone")
            if kind == "tensor" and (field == EXTERNAL_DATA or (field == DATA_LOCATION and value)):
                raise ValueError("keeps numbers in other files; a bundle's are all in model.onnx")
            if inner and isinstance(value, memoryview):
                has_graph |= inner == "graph"
                pending.append((inner, value, depth + 1))
    if not has_graph:
        raise ValueError(BROKEN)


def _text(value: int | memoryview) -> str:
    return bytes(value[:80]).decode(errors="replace") if isinstance(value, memoryview) else str(value)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: number, and value or bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind, size = tag & 7, 0
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        if not 0 < tag < 2**32 or kind in (3, 4, 6, 7) or at + size > len(message):
            raise ValueError(BROKEN)
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = 0
    for place, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError(BROKEN)
