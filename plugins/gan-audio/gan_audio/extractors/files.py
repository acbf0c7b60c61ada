"""Arrays from files of other frameworks, without these: TensorFlow checkpoints (version 2) and ONNX models.

Both formats are tables of protocol buffers; only what names, shapes and float32 values need is read, and nothing in a
file is executed. TensorFlow: tensorflow/core/protobuf/tensor_bundle.proto and the table format of LevelDB; ONNX:
onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gan.errors import BadData
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Value = int | bytes

FOOTER = 48
MAGIC = bytes.fromhex("57fb808b247547db")
"""The last bytes of a table."""
FLOAT32 = 1
"""Float32 in the enumerations of both formats."""


def tensorflow_variables(index: Path, data: bytes) -> dict[str, Floats]:
    """The float32 variables by name, of a checkpoint's ``.index`` file and the content of its only data file.

    Raises `BadData` if the index is damaged or does not fit the data.
    """
    table = index.read_bytes()
    if len(table) < FOOTER or table[-8:] != MAGIC:
        raise BadData("it is not the index of a TensorFlow checkpoint", index)
    found: dict[str, Floats] = {}
    try:
        at = 0
        footer = table[-FOOTER:]
        for _ in range(2):  # where the index of metadata blocks lies
            _, at = _varint(footer, at)
        start, at = _varint(footer, at)
        size, _ = _varint(footer, at)
        for _, place in _entries(table, start, size):
            block, at = _varint(place, 0)
            length, _ = _varint(place, at)
            for name, entry in _entries(table, block, length):
                fields = dict(_fields(entry))
                if name and fields.get(1) == FLOAT32:
                    shape = tuple(
                        _number(dict(_fields(_bytes(one))), 1) for key, one in _fields(_bytes(fields[2])) if key == 2
                    )
                    values = data[_number(fields, 4) : _number(fields, 4) + _number(fields, 5)]
                    found[name.decode()] = np.frombuffer(values, "<f4").reshape(shape)
    except (IndexError, KeyError, ValueError, TypeError) as error:
        raise BadData(f"the index or the data of this TensorFlow checkpoint are damaged ({error})", index) from error
    return found


def onnx_constants(path: Path) -> dict[str, Floats]:
    """The float32 initializers of an ONNX model's graph by name. Raises `BadData` if the file is damaged."""
    found: dict[str, Floats] = {}
    try:
        graphs = [value for key, value in _fields(path.read_bytes()) if key == 7]
        for key, value in _fields(_bytes(graphs[0])):
            if key != 5:
                continue
            shape, name, kind, raw = [], "", 0, b""
            for place, one in _fields(_bytes(value)):
                if place == 1:
                    shape += [one] if isinstance(one, int) else list(_varints(one))
                elif place == 2:
                    kind = one if isinstance(one, int) else 0
                elif place in (8, 9):
                    name, raw = (_bytes(one).decode(), raw) if place == 8 else (name, _bytes(one))
            if kind == FLOAT32:
                found[name] = np.frombuffer(raw, "<f4").reshape(shape)
    except (IndexError, ValueError, TypeError) as error:
        raise BadData(f"it is not an ONNX model, or is damaged ({error})", path) from error
    return found


def _entries(table: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of a block, whose keys share their beginnings with the key before them."""
    if table[start + size] != 0:
        raise ValueError("a compressed block")
    block = table[start : start + size]
    end = size - 4 - 4 * int.from_bytes(block[-4:], "little")
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        unshared, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + unshared]
        at += unshared
        yield key, block[at : at + length]
        at += length


def _fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """(number, value) of the fields of a protocol buffer: integers, and the bytes of everything else."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            number, at = _varint(message, at)
            yield tag >> 3, number
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + length > len(message):
            raise ValueError("a field is longer than its message")
        yield tag >> 3, message[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(number, where it ends)."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        number, at = _varint(data, at)
        yield number


def _bytes(value: Value) -> bytes:
    if isinstance(value, int):
        raise TypeError("a number where a message should be")
    return value


def _number(fields: dict[int, Value], key: int) -> int:
    value = fields.get(key, 0)
    if not isinstance(value, int):
        raise TypeError("a message where a number should be")
    return value
