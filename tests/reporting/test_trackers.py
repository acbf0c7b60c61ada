"""Trackers are told of a training: TensorBoard by its own reader, other services by the calls that they get."""

from __future__ import annotations

import sys
import wave
from types import SimpleNamespace

import numpy as np
import pytest
from gan import api
from gan.errors import UsageError
from gan.plugins.manager import Plugins
from gan.reporting.reporter import Several
from gan.reporting.trackers import MLflow, Tracker, Trackio, WandB
from gan.storage.run_folder import RunFolder

SHORT = {"training": {"samples": 256, "batch": 64, "tick": 128}, "evaluation": {"samples": 64, "artefacts": 2}}


def train(plugins, out, tracker):
    return api.train({"plugin": "toy", **SHORT}, out=out, plugins=plugins, reporter=tracker)


def test_tensorboard_shows_scalars_pictures_and_texts(tmp_path, cache, plugins):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tracker = plugins.load(plugins.find("gan_trackers", "tensorboard"))()
    result = api.train({"plugin": "toy", **SHORT}, out=tmp_path / "run", plugins=plugins, reporter=tracker)
    path = tmp_path / "run" / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((np.sin(np.arange(800)) * 30_000).astype("<i2").tobytes())
    tracker.begin(RunFolder(result.run), {})
    tracker.finished({**result.summary(), "artefacts": [str(path)]})
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "events"))
    events.Reload()
    tags = events.Tags()
    assert [event.step for event in events.Scalars("generator/loss")] == [128, 256]
    assert {"metrics/modes", "rate"} <= set(tags["scalars"])
    assert {"real samples", "samples"} <= set(tags["images"])
    assert tags["audio"] == ["tone"]
    assert any("verdict" in tag for tag in tags["tensors"])


def service(calls):
    """A module that records what it is called with."""

    class Service:
        def __getattr__(self, name):
            if name == "Image":
                return lambda path: f"<{path.rpartition('/')[2]}>"
            return lambda *arguments, **named: calls.append((name, arguments, named))

    return Service()


@pytest.mark.parametrize(("tracker", "module"), [(WandB, "wandb"), (Trackio, "trackio")])
def test_weights_and_biases_and_trackio(tmp_path, cache, plugins, monkeypatch, tracker, module):
    calls = []
    monkeypatch.setitem(sys.modules, module, service(calls))
    train(plugins, tmp_path / "run", tracker())
    assert calls[0][0] == "init"
    assert calls[0][2]["name"] == "run"
    assert calls[0][2]["config"]["architecture"] == "mlp"
    logged = [arguments[0] for name, arguments, _ in calls if name == "log"]
    assert [found["samples"] for found in logged if "generator/loss" in found] == [128, 256]
    assert any(found.get("real samples") == "<real.png>" for found in logged)
    assert any("metrics/modes" in found for found in logged)
    assert calls[-1][0] == "finish"


def test_mlflow(tmp_path, cache, plugins, monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "mlflow", service(calls))
    train(plugins, tmp_path / "run", MLflow())
    assert [name for name, *_ in calls[:2]] == ["start_run", "log_params"]
    assert calls[1][1][0]["training.batch"] == "64"
    steps = [named["step"] for name, arguments, named in calls if name == "log_metrics" and "rate" in arguments[0]]
    assert steps == [128, 256]
    assert calls[-1][0] == "end_run"
    names = [key for name, arguments, _ in calls if name == "log_metrics" for key in arguments[0]]
    assert not any("[" in key for key in names)


def test_a_missing_service_says_what_to_install(monkeypatch, plugins):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match="pip install wandb"):
        WandB()
    with pytest.raises(Exception, match="no tracker named 'wandbb' .*did you mean 'wandb'"):
        api.train("toy", track=["wandbb"], plugins=plugins)


def test_trackers_hear_warnings_and_other_reporters_as_well():
    said = []
    tracker = SimpleNamespace(text=lambda samples, name, text: said.append((samples, name, text)), _samples=5)
    Several([SimpleNamespace(warn=lambda text: Tracker.warn(tracker, text))]).warn("careful")
    assert said == [(5, "warnings", "careful")]
    assert Plugins().entries("gan_trackers")[0].entry.name == "tensorboard"
