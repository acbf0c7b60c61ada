"""The core's own extractor gives the numbers themselves, and keeps distances where it projects."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from gan.contracts import FieldSpec
from gan.metrics.extractors import PROJECTED, Raw
from scipy.spatial.distance import pdist


def modality(**fields):
    return SimpleNamespace(fields=fields)


def test_fields_are_scaled_and_joined_in_the_order_of_their_names():
    samples = {"b": np.array([[0], [255]], np.uint8), "a": np.array([[-1.0, 1.0], [0.0, 1.0]], np.float32)}
    kind = modality(b=FieldSpec((1,), "uint8", 0, 255, "intensity"), a=FieldSpec((2,), "float32", -1, 1, "length"))
    features = Raw()(samples, kind)
    np.testing.assert_allclose(features.vectors, [[0, 1, 0], [0.5, 1, 1]])
    assert features.vectors.dtype == np.float32
    assert features.probabilities is None


def test_a_field_of_one_value_is_a_feature_that_never_differs():
    """Texts of one length only have a length whose range is empty; scaled, it would be 0/0."""
    kind = modality(length=FieldSpec((1,), "int64", 12, 12, "number of words"))
    assert Raw()({"length": np.full((3, 1), 12)}, kind).vectors.tolist() == [[0], [0], [0]]


def test_wide_samples_are_projected_and_keep_their_distances():
    """For 512 directions the ratio of squared lengths has deviation √(2 / 512) = 6 %."""
    rng = np.random.default_rng(0)
    samples = {"x": rng.random((30, 50, 60)).astype(np.float32)}
    kind = modality(x=FieldSpec((50, 60), "float32", 0, 1, "intensity"))
    vectors = Raw()(samples, kind).vectors
    assert vectors.shape == (30, PROJECTED)
    ratio = pdist(vectors, "sqeuclidean") / pdist(samples["x"].reshape(30, -1), "sqeuclidean")
    assert ratio.mean() == pytest.approx(1, abs=0.05)
    assert ratio.std() < 0.1
    np.testing.assert_array_equal(vectors, Raw()(samples, kind).vectors)
    part = {"x": samples["x"][3:5]}
    # Sums of n = 3000 float32 products whose order depends on the number of rows: their errors grow as √n · u · Σ|x·m|,
    # here √3000 · 6e-8 · 53 = 2e-4, while the sums of two samples differ by about 1.
    np.testing.assert_allclose(vectors[3:5], Raw()(part, kind).vectors, rtol=0, atol=2e-4)
