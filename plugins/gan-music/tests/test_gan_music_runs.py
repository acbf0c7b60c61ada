"""Whole trainings: from MIDI files to MIDI files, stopped and gone on, and from the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import gan
import numpy as np
import pytest
import symusic
from gan.cli import main
from gan.errors import Stopped
from gan.reporting.reporter import Reporter
from gan_music.config import MusicConfig
from gan_music.modality import Music

MODALITY = {"tracks": "chorale", "steps_per_beat": 2, "lowest": 36, "pitches": 48, "bars": 2}


@pytest.fixture(scope="module")
def midi_folder(tmp_path_factory) -> Path:
    """Twelve phrases of four voices that walk a scale."""
    folder = tmp_path_factory.mktemp("midi")
    music = Music(MusicConfig(**MODALITY))
    rng = np.random.default_rng(0)
    for number in range(12):
        roll = np.zeros((4, 2, 8, 48), bool)
        for voice, base in enumerate((36, 28, 19, 8)):
            for beat in range(8):
                roll[voice, beat // 4, beat % 4 * 2, base + [0, 2, 4, 5, 7, 9][rng.integers(6)]] = True
        music.write({"roll": roll}, folder / f"phrase-{number}")
    return folder


def recipe(folder: Path, architecture: str = "musegan", **model) -> dict:
    sizes = {"musictransformer": {"width": 16, "layers": 1, "heads": 2, "context": 128}, "temporal": {"latent": 16}}
    return {
        "plugin": "music",
        "architecture": architecture,
        "modality": MODALITY,
        "data": {"source": str(folder)},
        "model": {
            **sizes.get(architecture, {"latent": 8}),
            **({} if architecture == "musictransformer" else {"width": 32}),
            **model,
        },
        "loss": "wasserstein",
        "penalties": [{"name": "gradient-penalty", "weight": 10}],
        "training": {
            "samples": 64,
            "batch": 4,
            "tick": 16,
            "ema_half_life": 16,
            "checkpoint_ticks": 2,
            "device": "cpu",
        },
        "evaluation": {"samples": 8, "artefacts": 2},
    }


class StopAfter(Reporter):
    def __init__(self, samples: int) -> None:
        self.samples = samples

    def tick(self, tick) -> None:
        if tick.samples >= self.samples:
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("architecture", "model"),
    [
        pytest.param(
            "musegan",
            {"composition": "hybrid", "critic_repeats": 2, "binarisation": "bernoulli"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "bmusegan",
            {"critic_repeats": 2, "refiner_width": 2, "neuron": "stochastic", "pretraining_samples": 32},
            marks=pytest.mark.slow,
        ),
        ("framegan", {"attributes": ["density", "register"]}),
        ("framegan", {"attributes": ["density"], "given": "any", "monophonic": [0], "neuron": "stochastic"}),
    ],
)
def test_stopped_and_gone_on_is_never_stopped(midi_folder, tmp_path, architecture, model):
    """Four ticks at once, and two, an end of the process, and two more: the same weights, averages, optimisers,
    metrics, samples."""
    attributes = model.pop("attributes", []) if "attributes" in model else []
    values = recipe(midi_folder, architecture, **model)
    values["modality"] = {**MODALITY, "attributes": attributes}
    if architecture == "bmusegan":
        values["phases"] = {"binary": {"samples": 32}}
    gan.train(values, out=tmp_path / "whole")
    with pytest.raises(Stopped):
        gan.train(values, out=tmp_path / "parts", reporter=StopAfter(32))
    code = f"import gan.api; gan.api.resume_run({str(tmp_path / 'parts')!r})"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    whole, parts = (sorted((tmp_path / name / "checkpoints").iterdir())[-1] for name in ("whole", "parts"))
    assert whole.name == parts.name
    files = sorted(path.name for path in whole.iterdir() if path.suffix == ".safetensors")
    assert files
    for name in files:
        assert (whole / name).read_bytes() == (parts / name).read_bytes(), name
    for name in ("sample-0000.mid", "sample-0001.mid"):
        assert (tmp_path / "whole/samples" / name).read_bytes() == (tmp_path / "parts/samples" / name).read_bytes()
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


def metrics(run: Path) -> list:
    return [value["value"] for value in json.loads((run / "evaluation/result.json").read_text())["metrics"]]


@pytest.mark.parametrize("architecture", ["accompaniment", "temporal", "musictransformer"])
def test_the_others_train_and_generate(midi_folder, tmp_path, architecture):
    result = gan.train(recipe(midi_folder, architecture), out=tmp_path / "run")
    assert len(result.artefacts) == 2
    assert all(path.read_bytes()[:4] == b"MThd" for path in result.artefacts)
    names = {value.name for value in result.metrics}
    assert {"empty-bars/soprano", "scale-consistency", "notes-per-bar"} <= names


def test_generate_from_the_command_line(midi_folder, tmp_path, capsys):
    values = recipe(midi_folder, "accompaniment", initial_density=0.2)
    values["model"]["binarisation"] = "bernoulli"
    gan.train(values, out=tmp_path / "run")

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            main(["generate", str(tmp_path / "run"), *arguments])
        return stop.value.code, "".join(capsys.readouterr())

    common = ["--count", "2", "--seed", "7", "--input", str(midi_folder / "phrase-3.mid"), "--tempo", "90"]
    code, said = run(*common, "--out", str(tmp_path / "a"))
    assert code == 0, said
    run(*common, "--out", str(tmp_path / "b"))
    for name in ("sample-0000.mid", "sample-0001.mid"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    music = Music(MusicConfig(**MODALITY))
    from gan.source import list_source

    def roll(path: Path) -> np.ndarray:
        return next(iter(music.read(list_source(path, music.suffixes).files[0])))["roll"]

    made, given = roll(tmp_path / "a/sample-0000.mid"), roll(midi_folder / "phrase-3.mid")
    assert np.array_equal(made[0], given[0])
    assert not np.array_equal(made[1:], given[1:])
    code, said = run("--count", "1", "--out", str(tmp_path / "c"))
    assert code == 2
    assert "--input" in said

    song = tmp_path / "song.mid"
    music.write({"roll": np.roll(np.concatenate([given] * 3, 1)[:, :5], 1, axis=0)}, song.with_suffix(""))
    whole = ["--accompany", str(song), "--track", "1", "--seed", "7"]
    code, said = run(*whole, "--out", str(tmp_path / "e"))
    assert code == 0, said
    assert [path.name for path in sorted((tmp_path / "e").iterdir())] == [
        "preview.png",
        "provenance.json",
        "song-0000.mid",
    ]
    accompanied = symusic.Score(tmp_path / "e/song-0000.mid")
    assert [track.name for track in accompanied.tracks][:1] == ["alto"]  # plays the soprano, under its own name
    assert accompanied.tracks[0].notes == symusic.Score(song).tracks[1].notes
    assert run(*whole, "--count", "2", "--out", str(tmp_path / "f"))[0] == 0
    first, second = ((tmp_path / "f" / f"song-000{index}.mid").read_bytes() for index in range(2))
    assert first == (tmp_path / "e/song-0000.mid").read_bytes()
    assert first != second
    for wrong, reason in (
        (["--accompany", str(song), "--track", "9"], "--track 9: there is no such track; the file has 0 'soprano'"),
        (["--track", "1"], "name it with --input FILE or --accompany FILE"),
        (["--accompany"], "needs the name of a file"),
        (["--accompany", str(midi_folder)], "uses one file"),
    ):
        code, said = run(*wrong, "--out", str(tmp_path / "g"))
        assert (code, reason in said) == (2, True), said
    (tmp_path / "none.mid").write_bytes(b"no music")
    code, said = run("--accompany", str(tmp_path / "none.mid"), "--out", str(tmp_path / "g"))
    assert (code, "none.mid: is not a MIDI file" in said) == (3, True), said

    arguments = ["--input", str(tmp_path), "--track", "1", "--out", str(tmp_path / "h")]
    with pytest.raises(SystemExit) as stop:
        main(["translate", str(tmp_path / "run"), *arguments])
    said = "".join(capsys.readouterr())
    assert stop.value.code == 0, said
    assert "warning: none.mid: is not a MIDI file" in said
    assert (tmp_path / "h/song.mid").is_file()
    assert (tmp_path / "h/a/sample-0000.mid").is_file()
    code, said = run(*common, "--tempoo", "80", "--out", str(tmp_path / "d"))
    assert code == 2
    assert "--tempo" in said


def test_a_model_told_and_given_what_the_user_chooses(midi_folder, tmp_path, capsys):
    """One model: composes freely, accompanies any tracks, and is asked for a density."""
    values = recipe(midi_folder, "framegan", given="any", initial_density=0.2)
    values["modality"] = {**MODALITY, "attributes": ["density", "register"]}
    gan.train(values, out=tmp_path / "run")
    music = Music(MusicConfig(**MODALITY))
    roll = np.zeros((4, 5, 8, 48), bool)
    roll[0, :, ::2, 30], roll[1, :, ::4, 10] = True, True
    song = music.write({"roll": roll}, tmp_path / "song")

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            main(["generate", str(tmp_path / "run"), *arguments, "--out", str(tmp_path / "out")])
        return stop.value.code, "".join(capsys.readouterr())

    assert run("--count", "2", "--density", "16", "--bars", "4")[0] == 0
    code, said = run("--accompany", str(song), "--track", "1,0", "--given", "bass,soprano", "--density", "16")
    assert code == 0, said
    made, given = (symusic.Score(path) for path in (tmp_path / "out/song-0000.mid", song))
    assert (made.tracks[0].name, made.tracks[-1].name) == ("soprano", "alto")  # the alto plays the bass
    assert (made.tracks[0].notes, made.tracks[-1].notes) == (given.tracks[0].notes, given.tracks[1].notes)
    for wrong, reason in (
        (["--accompany", str(song), "--track", "0"], "choose it with --given"),
        (["--accompany", str(song), "--given", "violin"], "--given names no track 'violin' (known: 0 soprano"),
        (["--given", "soprano"], "makes samples from an input: roll must be given"),
        (["--density", "1000"], "density 1000: the training data have 16 to 16"),
        (["--register", "H"], "'H' is not a pitch"),
    ):
        code, said = run(*wrong)
        assert (code, reason in said) == (2, True), said
