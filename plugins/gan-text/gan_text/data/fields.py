"""The fields of a text sample: token numbers and a length.

``tokens`` ``(T,)`` holds token numbers; ``length`` ``()`` is how many of them belong to the text. Where texts may be
shorter than T, token 0 is the end token and the padding; it is also the start token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gan.contracts import FieldSpec

START = 0
"""The token before the first one. Where sequences may end early, it is also the end token and the padding."""


@dataclass(frozen=True)
class TokenField(FieldSpec):
    """The field ``tokens``, which can encode a prompt."""

    encode: Callable[[str], list[int]] | None = None
    """Text -> tokens, without an end token."""


def token_fields(
    length: int, words: int, shortest: int, encode: Callable[[str], list[int]] | None = None
) -> dict[str, FieldSpec]:
    """The fields of texts of `shortest` to `length` tokens from a vocabulary of `words`."""
    dtype: Any = "int16" if words <= 1 << 15 else "int32"
    return {
        "tokens": TokenField(
            (length,), dtype, 0, words - 1, "number of a word in the vocabulary", longer=True, encode=encode
        ),
        "length": FieldSpec((), "int32", shortest, length, "tokens that belong to the text"),
    }


def vocabulary_size(fields: Mapping[str, FieldSpec]) -> int:
    """V: the number of different tokens, including token 0."""
    return int(fields["tokens"].high) + 1


def ends_early(fields: Mapping[str, FieldSpec]) -> bool:
    """Whether a text may be shorter than T, so that token 0 ends it."""
    return fields["length"].low < fields["tokens"].shape[0]
