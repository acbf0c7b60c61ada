"""Vocabularies (tokenizers): characters, words, byte-level BPE, pretrained tokenizers and plain numbers.

A vocabulary is saved with a run as plain values. Number 0 is `END`, the end token and the padding. Of characters and
words the most common are kept, and all others become `UNKNOWN`. Byte-level BPE (Radford et al. 2019) is trained by the
`tokenizers` library and encodes every text.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from gan.errors import BadData, UsageError

END = 0
UNKNOWN = 1
PIECE = 1 << 16
"""Characters that are encoded at once; limits the memory for very long lines."""
NO_SPACE_BEFORE = re.compile(r" (?=[.,;:!?%)\]}’”])|(?<=[(\[{‘“]) ")


class Vocabulary(ABC):
    """A mapping of text to token numbers and back."""

    size: int
    """Number of different tokens, including `END`."""
    spells = True
    """Whether tokens stand for text, so that a prompt can be encoded."""

    @abstractmethod
    def encode(self, text: str) -> np.ndarray[Any, Any]:
        """Encode a text as int64 numbers, without an end token."""

    @abstractmethod
    def decode(self, numbers: Iterable[int]) -> str:
        """Decode numbers to text; `END` is skipped."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Plain values from which `restore` builds the vocabulary."""


class Characters(Vocabulary):
    """One token per code point."""

    def __init__(self, characters: str) -> None:
        self.size = len(characters) + 2
        self._points = np.sort(np.array([ord(c) for c in characters], dtype=np.uint32))
        self._spelling = ["", "\ufffd", *map(chr, self._points)]

    @classmethod
    def train(cls, texts: Iterable[str], limit: int) -> Characters:
        """Keep the `limit` - 2 most common code points."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text)
        return cls("".join(_most_common(counts, limit - 2)))

    def encode(self, text: str) -> np.ndarray[Any, Any]:
        """Encode a text; what is not in the vocabulary becomes `UNKNOWN`."""
        points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        if not len(self._points):
            return np.full(len(points), UNKNOWN, dtype=np.int64)
        place = np.minimum(np.searchsorted(self._points, points), len(self._points) - 1)
        return np.where(self._points[place] == points, place + 2, UNKNOWN).astype(np.int64)

    def decode(self, numbers: Iterable[int]) -> str:
        """Decode numbers to text."""
        return "".join(self._spelling[number] for number in numbers)

    def facts(self) -> dict[str, Any]:
        """The vocabulary as plain values."""
        return {"kind": "characters", "characters": "".join(self._spelling[2:])}


class Words(Vocabulary):
    """One token per word; `split` tells whether punctuation marks are words, or only blanks separate words."""

    def __init__(self, words: list[str], split: str) -> None:
        self.size = len(words) + 2
        self._split = split
        self._spelling = ["", "<unk>", *words]
        self._numbers = {word: number for number, word in enumerate(self._spelling) if number > UNKNOWN}
        self._pattern = re.compile(r"\w+|[^\w\s]" if split == "marks" else r"\S+")

    @classmethod
    def train(cls, texts: Iterable[str], limit: int, split: str) -> Words:
        """Keep the `limit` - 2 most common words."""
        pattern = re.compile(r"\w+|[^\w\s]" if split == "marks" else r"\S+")
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(match.group() for match in pattern.finditer(text))
        return cls(_most_common(counts, limit - 2), split)

    def encode(self, text: str) -> np.ndarray[Any, Any]:
        """Encode a text; what is not in the vocabulary becomes `UNKNOWN`."""
        get = self._numbers.get
        found = (get(match.group(), UNKNOWN) for match in self._pattern.finditer(text))
        return np.fromiter(found, dtype=np.int64)

    def decode(self, numbers: Iterable[int]) -> str:
        """Decode numbers to text."""
        text = " ".join(self._spelling[number] for number in numbers if number != END)
        return NO_SPACE_BEFORE.sub("", text) if self._split == "marks" else text

    def facts(self) -> dict[str, Any]:
        """The vocabulary as plain values."""
        return {"kind": "words", "words": self._spelling[2:], "split": self._split}


class Subwords(Vocabulary):
    """A tokenizer of the `tokenizers` library, whose end-of-text token `end` is swapped with token 0."""

    def __init__(self, definition: str, end: int) -> None:
        from tokenizers import Tokenizer

        self._definition = definition
        self._end = end
        self._tokenizer = Tokenizer.from_str(definition)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.size = max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @classmethod
    def train(cls, texts: Iterable[str], limit: int) -> Subwords:
        """Train byte-level BPE with at most `limit` tokens, including the 256 bytes."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=limit,
            special_tokens=["<end>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator((piece for text in texts for piece in pieces(text)), trainer)
        return cls(tokenizer.to_str(), END)

    @classmethod
    def pretrained(cls, name: str) -> Subwords:
        """Load the tokenizer of a transformers model; raises `UsageError` if it is not a fast one with an end token."""
        from transformers import AutoTokenizer

        from gan_text.pretrained import located, missing

        try:
            tokenizer = AutoTokenizer.from_pretrained(**located(name, "modality.pretrained"))
        except (OSError, ValueError, ImportError, KeyError) as error:
            raise missing(name, "modality.pretrained", "tokenizer", error) from error
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None or tokenizer.eos_token_id is None:
            raise UsageError(f"modality.pretrained: '{name}' has no fast tokenizer with an end-of-text token")
        return cls(backend.to_str(), int(tokenizer.eos_token_id))

    def encode(self, text: str) -> np.ndarray[Any, Any]:
        """Encode a text; what is not in the vocabulary becomes `UNKNOWN`."""
        parts = [self._tokenizer.encode(piece, add_special_tokens=False).ids for piece in pieces(text)]
        return self._swapped(np.array([number for part in parts for number in part], dtype=np.int64))

    def decode(self, numbers: Iterable[int]) -> str:
        """Decode numbers to text."""
        own = self._swapped(np.array([n for n in numbers if n != END], dtype=np.int64))
        text: str = self._tokenizer.decode(own.tolist(), skip_special_tokens=True)
        return text

    def _swapped(self, numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if self._end == END:
            return numbers
        return np.where(numbers == END, self._end, np.where(numbers == self._end, END, numbers))

    def facts(self) -> dict[str, Any]:
        """The vocabulary as plain values."""
        return {"kind": "subwords", "definition": self._definition, "end": self._end}


class Numbers(Vocabulary):
    """Tokens that do not stand for text: a text is a line of their numbers."""

    spells = False

    def __init__(self, size: int) -> None:
        self.size = size

    def encode(self, text: str) -> np.ndarray[Any, Any]:
        """Encode a line of numbers; raises `BadData` for anything else."""
        try:
            numbers = np.array([int(word) for word in text.split()], dtype=np.int64)
        except (ValueError, OverflowError):
            raise BadData(f"does not hold numbers but {text.strip()[:40]!r}") from None
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() < self.size):
            raise BadData(f"holds the number {numbers.max()}; the vocabulary ends at {self.size - 1}")
        return numbers

    def decode(self, numbers: Iterable[int]) -> str:
        """Decode numbers to text."""
        return " ".join(map(str, numbers))

    def facts(self) -> dict[str, Any]:
        """The vocabulary as plain values."""
        return {"kind": "numbers", "size": self.size}


def restore(facts: Mapping[str, Any]) -> Vocabulary:
    """Build a vocabulary from the plain values of `Vocabulary.facts`."""
    kind = facts["kind"]
    if kind == "characters":
        return Characters(facts["characters"])
    if kind == "words":
        return Words(list(facts["words"]), facts["split"])
    if kind == "subwords":
        return Subwords(facts["definition"], int(facts["end"]))
    return Numbers(int(facts["size"]))


def pieces(text: str) -> Iterator[str]:
    """Split `text` into pieces of about `PIECE` characters, before a blank where possible."""
    start = 0
    while start < len(text):
        stop = start + PIECE
        if stop < len(text):
            blank = text.rfind(" ", start + PIECE // 2, stop)
            stop = blank if blank > start else stop
        yield text[start:stop]
        start = stop


def _most_common(counts: Counter[str], limit: int) -> list[str]:
    """The most common keys, sorted by code points; ties go to the smaller key."""
    kept = sorted(counts, key=lambda key: (-counts[key], key))[: max(limit, 0)]
    return sorted(kept)
