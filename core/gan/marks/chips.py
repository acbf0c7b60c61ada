"""Keyed signs: +1 and -1 that nobody can predict without the key, the same on every machine."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def chips(key: bytes, purpose: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """``shape`` float32 of +1 and -1, from SHAKE-256 of the key and the purpose."""
    count = math.prod(shape)
    stream = hashlib.shake_256(key + b"\0" + purpose.encode()).digest(-(-count // 8))
    bits = np.unpackbits(np.frombuffer(stream, np.uint8), count=count)
    return (2.0 * bits - 1.0).astype(np.float32).reshape(shape)


DECOYS = 64
"""Other keys whose statistics tell what is to be expected without a mark."""


def decoys(key: bytes, purpose: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """``(DECOYS, *shape)``: `chips` of keys that nothing was marked with."""
    return chips(key, f"{purpose}, decoys", (DECOYS, *shape))
