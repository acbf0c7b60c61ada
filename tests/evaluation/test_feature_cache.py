"""Features of real samples are extracted once, sealed, and made anew when they are damaged."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest
from gan.contracts import Features
from gan.data.scrub import scrub_cache
from gan.evaluation import feature_cache
from gan.evaluation.feature_cache import FeatureCache
from gan.metrics.extractors import NamedExtractor

SAMPLES = {"x": np.arange(12, dtype=np.float32).reshape(6, 2)}


class Counting:
    """An extractor that counts its calls."""

    version, sha256, preprocessing = "1", "ab", "none"

    def __init__(self):
        self.calls = 0

    def __call__(self, samples, modality):
        self.calls += 1
        rows = samples["x"]
        return Features(rows * 2, np.full((len(rows), 3), 1 / 3, np.float32))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_CACHE", str(tmp_path))
    monkeypatch.setattr(feature_cache, "WORTH", -1.0)
    return tmp_path


def features(extractor, samples=SAMPLES, sha256="s"):
    """The features of real samples in a new process: nothing is in memory."""
    named = NamedExtractor("counting", extractor)
    named.keep(samples, FeatureCache(sha256, {"name": "toy"}, "cpu"))
    return named(samples, None)


def test_features_are_extracted_once_for_the_same_samples_and_weights(cache):
    extractor = Counting()
    first, again = features(extractor), features(extractor)
    assert extractor.calls == 1
    np.testing.assert_array_equal(again.vectors, first.vectors)
    np.testing.assert_array_equal(again.probabilities, first.probabilities)
    features(extractor, sha256="others")
    assert extractor.calls == 2
    other = Counting()
    other.sha256 = "cd"
    features(other)
    assert other.calls == 1
    named = NamedExtractor("counting", extractor)
    named({"x": SAMPLES["x"]}, None)  # generated samples are not kept
    assert extractor.calls == 3
    assert len([*cache.glob("features/*/features.json")]) == 3


def test_damaged_features_are_named_and_made_anew(cache, caplog):
    extractor = Counting()
    features(extractor)
    (path,) = cache.glob("features/*/vectors.npy")
    assert scrub_cache(cache).sound == [str(path.parent)]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    found = scrub_cache(cache)
    assert "vectors.npy" in found.damaged[str(path.parent)]
    with caplog.at_level(logging.WARNING):
        again = features(extractor)
    assert "damaged" in caplog.text
    assert extractor.calls == 2
    np.testing.assert_array_equal(again.vectors, SAMPLES["x"] * 2)
    assert not scrub_cache(cache).damaged
    (path.parent / "features.json").write_text("{}")
    features(extractor)
    assert extractor.calls == 3


def test_what_was_not_used_for_longest_is_removed(cache, monkeypatch):
    extractor = Counting()
    features(extractor, sha256="a")
    (first,) = cache.glob("features/*/features.json")
    size = sum(path.stat().st_size for path in first.parent.iterdir())
    monkeypatch.setattr(feature_cache, "LARGEST", 2 * size + size // 2)
    features(extractor, sha256="b")
    os.utime(first, (1, 1))
    features(extractor, sha256="a")  # used again
    (second,) = set(cache.glob("features/*/features.json")) - {first}
    os.utime(second, (2, 2))
    features(extractor, sha256="c")
    left = set(cache.glob("features/*/features.json"))
    assert first in left
    assert second not in left
    assert len(left) == 2


def test_quick_features_are_not_kept(cache, monkeypatch):
    monkeypatch.setattr(feature_cache, "WORTH", 60.0)
    features(Counting())
    assert not [*cache.glob("features/*")]
