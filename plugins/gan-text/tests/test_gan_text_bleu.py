"""BLEU and Self-BLEU against NLTK, which compares sentence by sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from gan.cli import main
from gan_text.metrics.bleu import Corpus, bleu, corpora, distinct, self_bleu
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

METHOD1 = SmoothingFunction().method1
sentence = st.lists(st.integers(0, 6), max_size=9)


def by_nltk(references, hypothesis, n):
    return sentence_bleu(references, hypothesis, (1 / n,) * n, smoothing_function=METHOD1)


@settings(max_examples=150, deadline=None)
@given(st.lists(sentence, min_size=1, max_size=6), st.lists(sentence, min_size=1, max_size=6))
def test_bleu_equals_nltk_on_ragged_lengths(hypotheses, references):
    """Short vocabularies make clipping matter; empty and short sentences exercise smoothing and brevity."""
    found = bleu(*corpora(hypotheses, references))
    for n, values in found.items():
        wanted = [by_nltk(references, hypothesis, n) for hypothesis in hypotheses]
        np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-12)


@settings(max_examples=150, deadline=None)
@given(st.lists(sentence, min_size=2, max_size=7))
def test_self_bleu_equals_nltk_against_the_other_sentences(sentences):
    found = self_bleu(*corpora(sentences))
    for n, values in found.items():
        wanted = [by_nltk(sentences[:i] + sentences[i + 1 :], s, n) for i, s in enumerate(sentences)]
        np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-12)


def test_words_and_huge_vocabularies():
    """Numbers of words far beyond V^5 < 2^63, and words that are texts."""
    random = np.random.default_rng(0)
    huge = [[int(w) * (1 << 54) for w in random.integers(0, 200, random.integers(0, 30))] for _ in range(40)]
    corpus = Corpus(np.array([w for s in huge for w in s]), np.array([len(s) for s in huge]))
    texts = [[f"w{w}" for w in s] for s in huge]
    for n, values in self_bleu(corpus).items():
        np.testing.assert_array_equal(values, self_bleu(*corpora(texts))[n])
        wanted = [by_nltk(texts[:i] + texts[i + 1 :], s, n) for i, s in enumerate(texts)]
        np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-12)


def test_a_sentence_against_itself_scores_one():
    corpus = corpora([["a", "b", "c", "d", "e", "f"]])[0]
    assert bleu(corpus, corpus)[5] == pytest.approx([1.0], abs=1e-12)


def test_padding_does_not_count():
    padded = np.array([[3, 1, 2, 0, 0], [3, 1, 2, 4, 1]], dtype=np.int16)
    corpus = Corpus.padded(padded, np.array([3, 5]))
    assert corpus.words.tolist() == [3, 1, 2, 3, 1, 2, 4, 1]
    assert corpus.lengths.tolist() == [3, 5]


def test_distinct_counts_different_ngrams():
    """a b a b: 2 of 4 words, 2 of 3 pairs (ab ba ab), 2 of 2 triples are different."""
    assert distinct(*corpora(["abab"])) == {1: 0.5, 2: pytest.approx(2 / 3), 3: 1.0}
    assert distinct(*corpora([[]])) == {1: 0.0, 2: 0.0, 3: 0.0}


def test_references_are_needed():
    one, none = corpora([["a"]], [])
    with pytest.raises(ValueError, match="reference"):
        bleu(one, none)
    with pytest.raises(ValueError, match="two sentences"):
        self_bleu(one)


def test_files_are_compared_with_the_words_of_both_sides(tmp_path, capsys):
    """Every sentence has words that only its own side has, more than the default vocabulary holds; all numbers are
    those of the words themselves."""
    random = np.random.default_rng(1)

    def sentences(side, count):
        for number in range(count):
            own = [f"{side}{number}x{i}" for i in range(25)]
            yield [*own[:2], *(f"w{w}" for w in random.integers(0, 4, 8)), *own[2:]]

    sides = {"made": list(sentences("made", 120)), "real": list(sentences("real", 120))}
    for name, lines in sides.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(map(" ".join, lines)) + "\n")
    files = [str(tmp_path / f"{name}.txt") for name in sides]
    command = ["evaluate", files[0], "--against", files[1], "--metrics", "bleu,self-bleu", "--json", "--quiet"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--out", str(tmp_path / "receipts.json")])
    assert not ended.value.code
    receipts = json.loads(capsys.readouterr().out)
    found = {value["name"]: value["value"] for receipt in receipts for value in receipt["values"]}
    of_words = {"bleu": bleu(*corpora(sides["made"], sides["real"])), "self-bleu": self_bleu(*corpora(sides["made"]))}
    for name, values in of_words.items():
        for n in (2, 3, 4, 5):
            assert found[f"{name}-{n}"] == pytest.approx(np.mean(values[n]), abs=1e-9)
