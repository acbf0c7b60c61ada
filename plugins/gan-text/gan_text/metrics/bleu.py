"""Fast BLEU, Self-BLEU and distinct-n of many sentences at once.

BLEU: Papineni et al. 2002; sentence level with smoothing method 1 of Chen and Cherry 2014 (0.1 for a count of zero),
closest reference length, uniform weights. Agrees with ``nltk.translate.bleu_score.sentence_bleu`` to 1e-12.
Self-BLEU (Zhu et al. 2018, Texygen): each sentence against all others.

NLTK compares each sentence with each reference. Here every n-gram of both sets is numbered once: an n-gram is the pair
of the number of its first n - 1 words and its last word, renumbered at each order so that numbers stay small. The
clipping limits come from one sorted table of (n-gram, sentence) counts.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

EPSILON = 0.1
"""Numerator of a precision that has no matches (smoothing method 1)."""
ORDERS = (2, 3, 4, 5)


@dataclass(frozen=True)
class Corpus:
    """Concatenated sentences."""

    words: Ints
    """``(sum of lengths,)`` word numbers."""
    lengths: Ints
    """``(S,)`` words per sentence."""

    @classmethod
    def padded(cls, tokens: NDArray[Any], lengths: NDArray[Any]) -> Corpus:
        """From ``(S, T)`` padded tokens, of which the first ``lengths[s]`` belong to sentence s."""
        kept = np.arange(tokens.shape[1]) < np.asarray(lengths)[:, None]
        return cls(np.asarray(tokens)[kept].astype(np.int64), np.asarray(lengths, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.lengths)


def corpora(*sets: Sequence[Sequence[Hashable]]) -> list[Corpus]:
    """Number the words of several sets of sentences with one vocabulary; words may be any hashable values."""
    numbers: dict[Hashable, int] = {}
    found = []
    for sentences in sets:
        words = [numbers.setdefault(word, len(numbers)) for sentence in sentences for word in sentence]
        lengths = [len(sentence) for sentence in sentences]
        found.append(Corpus(np.asarray(words, dtype=np.int64), np.asarray(lengths, dtype=np.int64)))
    return found


def bleu(hypotheses: Corpus, references: Corpus, orders: Sequence[int] = ORDERS) -> dict[int, Floats]:
    """BLEU-n of every hypothesis against all references: n -> ``(S,)`` in 0 … 1."""
    if not len(references):
        raise ValueError("BLEU needs at least one reference")
    split = len(hypotheses)
    both = Corpus(
        np.concatenate([hypotheses.words, references.words]), np.concatenate([hypotheses.lengths, references.lengths])
    )
    matches = np.zeros((max(orders), split))
    for n, ngrams, sentences in _ngrams(both, max(orders)):
        ours = sentences < split
        limits = np.zeros(int(ngrams.max(initial=-1)) + 1, dtype=np.int64)
        theirs, _, counts = _counted(ngrams[~ours], sentences[~ours])
        first = _group_starts(theirs)
        if len(theirs):
            limits[theirs[first]] = np.maximum.reduceat(counts, first)
        grams, owner, counts = _counted(ngrams[ours], sentences[ours])
        matches[n - 1] = np.bincount(owner, np.minimum(counts, limits[grams]), minlength=split)
    closest = _closest_lengths(hypotheses.lengths, references.lengths, own=False)
    return _scores(matches, hypotheses.lengths, closest, orders)


def self_bleu(sentences: Corpus, orders: Sequence[int] = ORDERS) -> dict[int, Floats]:
    """BLEU-n of every sentence against all others: n -> ``(S,)`` in 0 … 1; high values mean little variety."""
    total = len(sentences)
    if total < 2:
        raise ValueError("Self-BLEU needs at least two sentences")
    matches = np.zeros((max(orders), total))
    for n, ngrams, owners in _ngrams(sentences, max(orders)):
        grams, owner, counts = _counted(ngrams, owners)
        if not len(grams):
            continue
        first = _group_starts(grams)
        group = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(grams))))
        highest = np.maximum.reduceat(counts, first)
        leads = counts == highest[group]
        leaders = np.add.reduceat(leads.astype(np.int64), first)
        second = np.maximum.reduceat(np.where(leads, 0, counts), first)
        limits = np.where(leads & (leaders[group] == 1), second[group], highest[group])  # excludes the sentence itself
        matches[n - 1] = np.bincount(owner, np.minimum(counts, limits), minlength=total)
    closest = _closest_lengths(sentences.lengths, sentences.lengths, own=True)
    return _scores(matches, sentences.lengths, closest, orders)


def distinct(sentences: Corpus, orders: Sequence[int] = (1, 2, 3)) -> dict[int, float]:
    """Distinct-n (Li et al. 2016): the share of different n-grams among all n-grams; 0 if there are none."""
    found = dict.fromkeys(orders, 0.0)
    for n, ngrams, _ in _ngrams(sentences, max(orders)):
        if n in found and len(ngrams):
            found[n] = len(np.unique(ngrams)) / len(ngrams)
    return found


def _ngrams(corpus: Corpus, highest: int) -> Any:
    """Yield (n, numbers of the n-grams, the sentence of each) for n = 1 … `highest`."""
    words = np.unique(corpus.words, return_inverse=True)[1].astype(np.int64)
    vocabulary = int(words.max(initial=0)) + 1
    sentences = np.repeat(np.arange(len(corpus)), corpus.lengths)
    left = np.repeat(np.cumsum(corpus.lengths), corpus.lengths) - np.arange(len(words))  # words from here to the end
    start, ngrams = np.arange(len(words)), words
    for n in range(1, highest + 1):
        if n > 1:
            fits = left[start] >= n
            start, ngrams = start[fits], ngrams[fits]
            pairs = ngrams * vocabulary + words[start + n - 1]
            ngrams = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
        yield n, ngrams, sentences[start]


def _counted(ngrams: Ints, sentences: Ints) -> tuple[Ints, Ints, Ints]:
    """(n-gram, sentence, count in that sentence), sorted by n-gram."""
    width = int(sentences.max(initial=0)) + 1
    keys = np.sort(ngrams * width + sentences)
    first = _group_starts(keys)
    return keys[first] // width, keys[first] % width, np.diff(np.append(first, len(keys)))


def _group_starts(ordered: Ints) -> Ints:
    """Indices at which a new value begins in a sorted array."""
    changes = np.ones(len(ordered), dtype=bool)
    changes[1:] = ordered[1:] != ordered[:-1]
    return np.flatnonzero(changes)


def _closest_lengths(hypotheses: Ints, references: Ints, *, own: bool) -> Ints:
    """The reference length closest to each hypothesis, the shorter of two; `own`: without the sentence itself."""
    values, counts = np.unique(references, return_counts=True)
    lengths, where = np.unique(hypotheses, return_inverse=True)
    nearest = np.empty_like(lengths)
    for index, length in enumerate(lengths):
        others = values[counts > 1] if own else values
        if own and length not in others:
            others = values[values != length]
        nearest[index] = min(others.tolist(), key=lambda value: (abs(value - length), value))
    return nearest[where]


def _scores(matches: Floats, lengths: Ints, closest: Ints, orders: Sequence[int]) -> dict[int, Floats]:
    totals = np.maximum(1, lengths - np.arange(len(matches))[:, None])
    logs = np.log(np.where(matches == 0, EPSILON, matches) / totals)
    penalty = np.where(lengths > closest, 1.0, np.exp(1.0 - closest / np.maximum(lengths, 1)))
    penalty = np.where((lengths == 0) | (matches[0] == 0), 0.0, penalty)
    return {n: penalty * np.exp(logs[:n].sum(0) / n) for n in orders}
