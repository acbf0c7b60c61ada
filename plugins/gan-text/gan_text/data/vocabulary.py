"""Vocabularies: text to numbers and back.

A vocabulary is plain values, so that it is saved with a run. Number 0 is `END`: it ends a text and fills the rest. Of
characters and words the commonest are kept and the others become number 1. Byte-level BPE (Radford et al. 2019) is
trained by the `tokenizers` library and knows every text.
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
"""Characters that are encoded at once: a line of 33 MB must not become 33 million objects."""
NO_SPACE_BEFORE = re.compile(r" (?=[.,;:!?%)\]}’”])|(?<=[(\[{‘“]) ")


class Vocabulary(ABC):
    """Text to numbers and back."""

    size: int
    """How many numbers there are, `END` included."""
    spells = True
    """Whether a text can be encoded."""

    @abstractmethod
    def encode(self, text: str) -> np.ndarray[Any, Any]:
        """int64 numbers, without an end."""

    @abstractmethod
    def decode(self, numbers: Iterable[int]) -> str:
        """The text of numbers; `END` has none."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Plain values that `restore` makes the vocabulary of."""


class Characters(Vocabulary):
    """One number a code point."""

    def __init__(self, characters: str) -> None:
        self.size = len(characters) + 2
        self._points = np.sort(np.array([ord(c) for c in characters], dtype=np.uint32))
        self._spelling = ["", "\ufffd", *map(chr, self._points)]

    @classmethod
    def train(cls, texts: Iterable[str], limit: int) -> Characters:
        """The `limit` - 2 commonest code points."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text)
        return cls("".join(_commonest(counts, limit - 2)))

    def encode(self, text: str) -> np.ndarray[Any, Any]:
        """`UNKNOWN` for what was not kept."""
        points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
        if not len(self._points):
            return np.full(len(points), UNKNOWN, dtype=np.int64)
        place = np.minimum(np.searchsorted(self._points, points), len(self._points) - 1)
        return np.where(self._points[place] == points, place + 2, UNKNOWN).astype(np.int64)

    def decode(self, numbers: Iterable[int]) -> str:
        """The text; what was not kept shows as a mark."""
        return "".join(self._spelling[number] for number in numbers)

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": "characters", "characters": "".join(self._spelling[2:])}


class Words(Vocabulary):
    """One number a word; `split` says whether marks stand apart from words or only blanks divide."""

    def __init__(self, words: list[str], split: str) -> None:
        self.size = len(words) + 2
        self._split = split
        self._spelling = ["", "<unk>", *words]
        self._numbers = {word: number for number, word in enumerate(self._spelling) if number > UNKNOWN}
        self._pattern = re.compile(r"\w+|[^\w\s]" if split == "marks" else r"\S+")

    @classmethod
    def train(cls, texts: Iterable[str], limit: int, split: str) -> Words:
        """The `limit` - 2 commonest words."""
        pattern = re.compile(r"\w+|[^\w\s]" if split == "marks" else r"\S+")
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(match.group() for match in pattern.finditer(text))
        return cls(_commonest(counts, limit - 2), split)

    def encode(self, text: str) -> np.ndarray[Any, Any]:
        """`UNKNOWN` for what was not kept."""
        get = self._numbers.get
        found = (get(match.group(), UNKNOWN) for match in self._pattern.finditer(text))
        return np.fromiter(found, dtype=np.int64)

    def decode(self, numbers: Iterable[int]) -> str:
        """The text; what was not kept shows as a mark."""
        text = " ".join(self._spelling[number] for number in numbers if number != END)
        return NO_SPACE_BEFORE.sub("", text) if self._split == "marks" else text

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": "words", "words": self._spelling[2:], "split": self._split}


class Subwords(Vocabulary):
    """A tokenizer of the `tokenizers` library; its own end-of-text token `end` changes places with 0."""

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
        """Byte-level BPE with at most `limit` numbers, the 256 bytes among them."""
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
        """The tokenizer of a model of transformers; raises `UsageError` where it has no fast one or no end token."""
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise UsageError(f"modality.pretrained: no tokenizer at '{name}': {str(error).splitlines()[0]}") from error
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None or tokenizer.eos_token_id is None:
            raise UsageError(f"modality.pretrained: '{name}' has no fast tokenizer with an end-of-text token")
        return cls(backend.to_str(), int(tokenizer.eos_token_id))

    def encode(self, text: str) -> np.ndarray[Any, Any]:
        """`UNKNOWN` for what was not kept."""
        parts = [self._tokenizer.encode(piece, add_special_tokens=False).ids for piece in pieces(text)]
        return self._swapped(np.array([number for part in parts for number in part], dtype=np.int64))

    def decode(self, numbers: Iterable[int]) -> str:
        """The text; what was not kept shows as a mark."""
        own = self._swapped(np.array([n for n in numbers if n != END], dtype=np.int64))
        text: str = self._tokenizer.decode(own.tolist(), skip_special_tokens=True)
        return text

    def _swapped(self, numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if self._end == END:
            return numbers
        return np.where(numbers == END, self._end, np.where(numbers == self._end, END, numbers))

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": "subwords", "definition": self._definition, "end": self._end}


class Numbers(Vocabulary):
    """Words without spelling: the text is their numbers."""

    spells = False

    def __init__(self, size: int) -> None:
        self.size = size

    def encode(self, text: str) -> np.ndarray[Any, Any]:
        """Raises `BadData` for what is no number of a word."""
        try:
            numbers = np.array([int(word) for word in text.split()], dtype=np.int64)
        except (ValueError, OverflowError):
            raise BadData(f"holds no numbers but {text.strip()[:40]!r}") from None
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() < self.size):
            raise BadData(f"holds the number {numbers.max()}; the vocabulary ends at {self.size - 1}")
        return numbers

    def decode(self, numbers: Iterable[int]) -> str:
        """The text; what was not kept shows as a mark."""
        return " ".join(map(str, numbers))

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": "numbers", "size": self.size}


def restore(facts: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary that `Vocabulary.facts` described."""
    kind = facts["kind"]
    if kind == "characters":
        return Characters(facts["characters"])
    if kind == "words":
        return Words(list(facts["words"]), facts["split"])
    if kind == "subwords":
        return Subwords(facts["definition"], int(facts["end"]))
    return Numbers(int(facts["size"]))


def pieces(text: str) -> Iterator[str]:
    """`text` in pieces of about `PIECE` characters, cut before a blank where there is one near."""
    start = 0
    while start < len(text):
        stop = start + PIECE
        if stop < len(text):
            blank = text.rfind(" ", start + PIECE // 2, stop)
            stop = blank if blank > start else stop
        yield text[start:stop]
        start = stop


def _commonest(counts: Counter[str], limit: int) -> list[str]:
    """The commonest keys in the order of their code points; ties go to the smaller key."""
    kept = sorted(counts, key=lambda key: (-counts[key], key))[: max(limit, 0)]
    return sorted(kept)
