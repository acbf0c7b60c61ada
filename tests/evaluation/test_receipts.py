"""Receipts come back whole, tell what forbids a comparison, and what a second computation found."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from gan.contracts import MetricValue
from gan.errors import CheckpointError, UsageError
from gan.evaluation.metric_names import BoundMetric
from gan.evaluation.receipts import Receipt, agreement, metric_identity, read_receipts, samples_sha256, write_receipts
from gan.metrics import KernelDistance
from gan.metrics.extractors import NamedExtractor, Raw
from gan.weights import file_sha256, find_weights

RECEIPT = Receipt(
    metric="fid[lenet5]",
    metric_version="1",
    settings={"k": 3},
    extractor={"name": "lenet5", "version": "1", "sha256": "a" * 64, "preprocessing": "32 x 32"},
    generated={"count": 1000, "sha256": "b" * 64, "seed": 0, "weights": "c" * 64},
    real={"count": 5000, "sha256": "d" * 64, "source": "mnist", "fingerprint": "e" * 64},
    modality={"name": "image", "settings": {"resolution": 28}},
    libraries={"numpy": "2.4.6"},
    device="cpu",
    precision="fp32",
    command="gan evaluate runs/x --metrics fid[lenet5]",
    values=[MetricValue("FID[lenet5]", 3.5, error=0.1, direction="lower", details={"n": 1})],
)


def test_a_receipt_survives_the_disk(tmp_path):
    failed = replace(RECEIPT, values=[MetricValue("x", math.nan, details={"error": "why"})])
    write_receipts([RECEIPT, failed], tmp_path / "sub" / "receipts.json")
    first, second = read_receipts(tmp_path / "sub" / "receipts.json")
    assert first == RECEIPT
    assert math.isnan(second.values[0].value)
    assert second.values[0].details == {"error": "why"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metric": "kid[lenet5]"}, "metric: fid[lenet5] and kid[lenet5]"),
        ({"metric_version": "2"}, "metric version: 1 and 2"),
        ({"settings": {"k": 5}}, "metric setting k: 3 and 5"),
        (
            {"extractor": {**RECEIPT.extractor, "sha256": "f" * 64}},
            "extractor sha256: sha256 aaaaaaaaaaaa… and sha256 f",
        ),
        ({"extractor": {**RECEIPT.extractor, "preprocessing": "28 x 28"}}, "extractor preprocessing"),
        ({"generated": {**RECEIPT.generated, "count": 50}}, "generated samples: 1,000 and 50"),
        ({"real": {**RECEIPT.real, "count": 50}}, "real samples: 5,000 and 50"),
        ({"real": {**RECEIPT.real, "sha256": "0" * 64}}, "real data"),
        ({"modality": {"name": "image", "settings": {"resolution": 32}}}, "modality setting resolution: 28 and 32"),
        ({"precision": "bf16"}, "precision: fp32 and bf16"),
    ],
)
def test_each_unlikeness_is_named(change, words):
    other = replace(RECEIPT, **change)
    (said,) = RECEIPT.unlike(other)
    assert words in said
    assert other.unlike(RECEIPT)


def test_what_was_compared_may_differ():
    other = replace(
        RECEIPT,
        generated={"count": 1000, "sha256": "0" * 64, "seed": 7, "weights": "1" * 64},
        metric="fid[lenet5=/elsewhere/w.npz]",
        libraries={"numpy": "2.4.5"},
        device="cuda (card)",
        command="another",
    )
    assert RECEIPT.unlike(other) == []
    assert RECEIPT.remarks(other) == ["device: cpu and cuda (card)", "library numpy: 2.4.6 and 2.4.5"]


def test_a_second_computation_agrees_or_says_what_is_otherwise():
    value = RECEIPT.values[0]
    assert agreement(RECEIPT, RECEIPT) == []
    assert agreement(RECEIPT, replace(RECEIPT, values=[replace(value, value=3.5 * (1 + 1e-8))])) == []
    (said,) = agreement(RECEIPT, replace(RECEIPT, values=[replace(value, value=3.6)]))
    assert said == "FID[lenet5] was 3.5 and is 3.6 now"
    (said,) = agreement(RECEIPT, replace(RECEIPT, values=[replace(value, value=math.nan)]))
    assert "is nan now" in said
    (said,) = agreement(RECEIPT, replace(RECEIPT, values=[]))
    assert "missing" in said
    (said,) = agreement(RECEIPT, replace(RECEIPT, generated={**RECEIPT.generated, "weights": "0" * 64}))
    assert said.startswith("generated weights")
    failed = replace(RECEIPT, values=[replace(value, value=math.nan)])
    assert agreement(failed, failed) == []


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"format": 9}]', json.dumps([{**RECEIPT.to_json(), "real": {}}])])
def test_other_files_are_refused(tmp_path, text):
    file = tmp_path / "r.json"
    file.write_text(text)
    with pytest.raises(CheckpointError, match=r"r\.json"):
        read_receipts(file)
    with pytest.raises(UsageError, match="writes receipts"):
        read_receipts(tmp_path / "none.json")


def test_the_hash_of_samples_sees_every_number_its_type_and_its_field():
    x = np.arange(3000, dtype=np.int32).reshape(1500, 2)
    base = samples_sha256({"x": x})
    changed = x.copy()
    changed[1400, 1] += 1
    others = [{"x": changed}, {"y": x}, {"x": x.astype(np.uint32)}, {"x": x.reshape(1500, 2, 1)}, {"x": x[:-1]}]
    assert base not in [samples_sha256(other) for other in others]
    assert base == samples_sha256({"x": np.asfortranarray(x)})


def test_what_a_metric_says_of_itself():
    metric = BoundMetric(KernelDistance(seed=3), NamedExtractor("raw", Raw()))
    identity = metric_identity(metric)
    assert identity["settings"]["seed"] == 3
    assert identity["extractor"]["name"] == "raw"
    assert identity["metric_version"] == "1"


def test_weights_are_found_by_name_and_proved(tmp_path, monkeypatch):
    file = tmp_path / "net.npz"
    file.write_bytes(b"weights")
    right = file_sha256(file)
    monkeypatch.delenv("GAN_WEIGHTS", raising=False)
    with pytest.raises(UsageError, match="GAN_WEIGHTS"):
        find_weights("net.npz", right)
    monkeypatch.setenv("GAN_WEIGHTS", f"/nowhere:{tmp_path}")
    assert find_weights("net.npz", right) == file
    assert find_weights("net.npz", right, tmp_path) == file
    assert find_weights("other name", right, file) == file
    with pytest.raises(Exception, match="sha256 is"):
        find_weights("net.npz", "0" * 64)
    with pytest.raises(UsageError, match="does not hold it"):
        find_weights("net.npz", right, tmp_path / "no")
