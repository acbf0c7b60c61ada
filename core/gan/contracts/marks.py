"""Invisible, keyed marks in generated files: `Mark`, which a plugin implements, and `Detection`, what one finds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from gan.source import SourceFile


def tail(z: float) -> float:
    """The probability that a standard normal number exceeds `z`."""
    return 0.5 * math.erfc(z / math.sqrt(2))


SIGNS = 1 / (4 * tail(math.sqrt(2)))
"""A sum of random signs times any numbers whose squares add up to 1 exceeds z with at most this many times (3.18) the
probability with which a standard normal number does (Bentkus and Dzindzalieta: A tight Gaussian bound for weighted sums
of Rademacher random variables, Bernoulli 2015, theorem 1.1)."""


def _student_tail(t: float, freedom: int) -> float:
    """The probability that Student's t with so many degrees of freedom exceeds `t`."""
    from scipy.stats import t as student

    return float(student.sf(t, freedom))


@dataclass(frozen=True)
class Detection:
    """The evidence for a mark in one file. It is a probability, never a certainty."""

    z: float
    """The statistic at the best alignment that was tried; of mean 0 and variance 1 at one alignment without a mark."""
    p_value: float
    """A bound of the probability of evidence at least this strong, over all alignments that were tried, with a key that
    has nothing to do with the file."""
    false_positive_rate: float
    """The p-value up to which a mark counts as found."""
    aligned: float | None = None
    """The statistic without any search, by which many small files give evidence together (`together`)."""
    note: str = ""
    """Why nothing can be said: ``"too short: 12 notes, needs 25"``. Empty otherwise."""
    decoys: tuple[float, ...] = ()
    """`aligned` with other keys instead, the same ones in the same order for every file: how large the sum over files
    becomes without a mark, also where the files are alike."""

    @property
    def found(self) -> bool:
        """Whether the evidence passes the threshold."""
        return not self.note and self.p_value <= self.false_positive_rate

    @classmethod
    def of(cls, aligned: float, best: float, tries: int, rate: float, decoys: Iterable[float] = ()) -> Detection:
        """From the statistic without a search and the largest of `tries` alignments, which share the rate equally.

        A statistic is a sum of the key's signs times numbers from the file, divided by the root of the sum of their
        squares. The p-value is then a bound for any file whatever (`SIGNS`), and needs no normal statistic.
        """
        p_value = min(1.0, 2 * SIGNS * min(tail(aligned), tries * tail(best)))
        z = aligned if tail(aligned) <= tries * tail(best) else best
        return cls(z, p_value, rate, aligned, "", tuple(float(value) for value in decoys))

    @staticmethod
    def together(found: Sequence[Detection]) -> tuple[float, float]:
        """(z, p-value) of all files together, by the sum of `aligned`.

        Its deviation without a mark is that of the decoys' sums: √n for n files that have nothing in common, n for
        copies of one. The p-value is Student's for that estimate. Files of a mark without decoys count as independent.
        """
        known = [one for one in found if one.aligned is not None]
        total = sum(one.aligned or 0.0 for one in known)
        if not known or not all(one.decoys for one in known):
            z = total / math.sqrt(len(known) or 1)
            return z, tail(z)
        sums = [sum(values) for values in zip(*(one.decoys for one in known), strict=True)]
        z = total / math.sqrt(sum(value * value for value in sums) / len(sums) + 1e-30)
        return z, min(1.0, SIGNS * _student_tail(z, len(sums)))


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
