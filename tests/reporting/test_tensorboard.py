"""The records of a run become TensorBoard scalars with the values and places that they have."""

from __future__ import annotations

import pytest
from gan.errors import UsageError
from gan.reporting.tensorboard import write_events

RECORDS = [
    {"samples": 64, "terms": {"g/loss": 0.5}, "health": {"diversity": 0.25}},
    {"samples": 128, "terms": {"g/loss": None}, "metrics": {"FID": {"value": 3.0}}},
]


def test_scalars_are_those_of_the_records(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(write_events(RECORDS, tmp_path / "events")))
    events.Reload()
    found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert found == {"g/loss": [(64, 0.5)], "health/diversity": [(64, 0.25)], "metrics/FID": [(128, 3.0)]}
    with pytest.raises(UsageError, match="is not empty"):
        write_events(RECORDS, tmp_path / "events")
