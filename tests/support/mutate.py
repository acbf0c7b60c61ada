"""Damage bytes and recipes at random, from a seed."""

from __future__ import annotations

import random
from typing import Any

ODD_BYTES = [b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\n", b"<", b"{", b"[", b"'"]
NUMBERS = [b"0", b"-1", b"99999999999999999999", b"1e999", b"nan", b"0x", b"2147483648", b"65536"]
VALUES: list[Any] = [
    None, True, "", "x", "nan", "../..", "~", "\x1b[2J", "org/name", "1e400", -1, 0, 1, 2, 7, 255, 4096, 65536, 10**6,
    10**9, 10**12, 1 << 63, -(1 << 31), 10**40, 0.5, -0.5, 1e-40, 1e20, 1e308, float("nan"), float("inf"),
    -float("inf"), [], [1], [[1]], ["x", 2], {}, {"name": "x"}, {"a": {"b": 1}},
]  # fmt: skip


def damaged(content: bytes, rng: random.Random) -> bytes:
    """`content` after one to six random changes."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        to = min(len(data), at + rng.choice([1, 2, 4, 16, 256]))
        match rng.randrange(8):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at:at] = rng.choice(ODD_BYTES)
            case 2:
                del data[at:to]
            case 3:
                data[at:to] = rng.choice(ODD_BYTES)
            case 4:
                del data[at:]
            case 5:
                data[at:at] = data[at:to] * rng.choice([1, 2, 50])
            case 6:
                digits = [index for index, byte in enumerate(data) if 48 <= byte <= 57]
                if digits:
                    place = rng.choice(digits)
                    data[place : place + 1] = rng.choice(NUMBERS)
            case _:
                data[at:to] = bytes(rng.randrange(256) for _ in range(to - at))
    return bytes(data[: 1 << 20])


def changed(values: Any, rng: random.Random) -> Any:
    """Plain nested values after one to three random changes: a value, a key, a missing or an additional entry."""
    for _ in range(rng.randint(1, 3)):
        places = list(_places(values))
        if not places:
            return values
        holder, key = rng.choice(places)
        match rng.randrange(8):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[str(key)[:-1] + "x"] = holder.pop(key)
            case 2:
                other, place = rng.choice(places)
                holder[key] = other[place] if not isinstance(other[place], (dict, list)) else None
            case 3 if isinstance(holder[key], dict):
                holder[key]["surplus"] = rng.choice(VALUES)
            case _:
                holder[key] = rng.choice(VALUES)
    return values


def _places(values: Any) -> Any:
    """(container, key) of every value."""
    for key, value in list(values.items() if isinstance(values, dict) else enumerate(values)):
        yield values, key
        if isinstance(value, (dict, list)):
            yield from _places(value)
