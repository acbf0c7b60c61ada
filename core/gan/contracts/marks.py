"""Invisible, keyed marks in generated files: `Mark`, which a plugin implements, and `Detection`, what one finds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from gan.source import SourceFile


def tail(z: float) -> float:
    """The probability that a standard normal number exceeds `z`."""
    return 0.5 * math.erfc(z / math.sqrt(2))


@dataclass(frozen=True)
class Detection:
    """The evidence for a mark in one file. It is a probability, never a certainty."""

    z: float
    """The statistic at the best alignment that was tried; about standard normal at one alignment without a mark."""
    p_value: float
    """Probability of evidence at least this strong in a file without the mark of this key: a bound over all alignments
    that were tried (Bonferroni), for a normal statistic."""
    false_positive_rate: float
    """The p-value up to which a mark counts as found."""
    aligned: float | None = None
    """The statistic without any search. Over n files of one key, the sum divided by √n is standard normal without a
    mark, so that many small files give evidence together."""
    note: str = ""
    """Why nothing can be said: ``"too short: 12 notes, needs 25"``. Empty otherwise."""

    @property
    def found(self) -> bool:
        """Whether the evidence passes the threshold."""
        return not self.note and self.p_value <= self.false_positive_rate

    @classmethod
    def of(cls, aligned: float, best: float, tries: int, rate: float) -> Detection:
        """From the statistic without a search and the largest of `tries` alignments, which share the rate equally."""
        p_value = min(1.0, 2 * min(tail(aligned), tries * tail(best)))
        return cls(aligned if tail(aligned) <= tries * tail(best) else best, p_value, rate, aligned)


class Mark(ABC):
    """A mark that is put into artefacts while they are made or written, and found again with the same key.

    Without the key it can neither be found nor told apart from noise. A modality passes what it is about to encode to
    `Modality.marked`, which calls `embed`; marks of tokens act in the sampler, which finds the mark in `Request.mark`.
    Equal arguments give equal results on every machine.
    """

    suffixes: ClassVar[tuple[str, ...]]
    """Suffixes of the files that it marks and finds marks in, with the dot, in lower case."""
    strength: ClassVar[float]
    """The default strength. Its unit is stated in the class's docstring."""
    in_sampling: ClassVar[bool] = False
    """Whether it acts in the sampler instead of the writing."""
    needs_modality: ClassVar[bool] = False
    """Whether `detect` needs the modality of the run (a vocabulary)."""
    false_positive_rate: ClassVar[float] = 1e-6
    """The p-value up to which a mark counts as found."""

    def __init__(self, key: bytes, strength: float | None = None) -> None:
        self.key = key
        self.amount = type(self).strength if strength is None else strength

    @abstractmethod
    def embed(self, content: Any, **about: Any) -> Any:
        """Return `content` with the mark. What `content` and `about` are is agreed between a plugin's modality or
        sampler and its mark: pixels, samples with their rate, a file's bytes, scores of the next token."""

    @abstractmethod
    def detect(self, file: SourceFile, modality: Any = None) -> Detection:
        """Look for the mark in a file, which may be anything. Raises `BadData` if it cannot be read.

        `modality` is the `Modality` of the run that made the file, where it is known and `needs_modality` asks for it.
        """
