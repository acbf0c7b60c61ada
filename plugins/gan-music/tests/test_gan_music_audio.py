"""Sound from phrases, and features of them."""

from __future__ import annotations

import base64
import io
import logging
import shutil

import numpy as np
import pytest
from gan.reporting.page import write_page
from gan_music.config import MusicConfig, MusicOptions
from gan_music.metrics.features import PhraseFeatures
from gan_music.modality import Music
from gan_music.writing import audio
from PIL import Image


def phrase() -> np.ndarray:
    roll = np.zeros((5, 4, 48, 84), bool)
    roll[1, 0, :24, 45] = True  # A4 (MIDI 69) for two beats
    return roll


def test_the_simple_synthesiser_plays_the_pitch(tmp_path, monkeypatch, caplog):
    soundfile = pytest.importorskip("soundfile")
    monkeypatch.setattr(audio.shutil, "which", lambda name: None)
    monkeypatch.setattr(audio, "_warned", False)
    with caplog.at_level(logging.WARNING):
        Music(MusicConfig(tempo=120)).write({"roll": phrase()}, tmp_path / "a", MusicOptions(render="wav"))
    assert "FluidSynth is not installed" in caplog.text
    sound, rate = soundfile.read(tmp_path / "a.wav")
    assert rate == audio.RATE
    spectrum = np.abs(np.fft.rfft(sound[: rate // 2]))
    assert np.fft.rfftfreq(rate // 2, 1 / rate)[spectrum.argmax()] == pytest.approx(440, abs=3)
    assert np.abs(sound[: rate // 2]).mean() > 20 * np.abs(sound[int(1.5 * rate) :]).mean()
    assert np.abs(sound).max() == pytest.approx(0.8, abs=0.01)


@pytest.mark.skipif(
    shutil.which("fluidsynth") is None or audio.soundfont() is None,
    reason="FluidSynth or a SoundFont is not installed (Debian: fluidsynth timgm6mb-soundfont)",
)
def test_fluidsynth_plays_the_pitch_and_the_instrument(tmp_path, monkeypatch):
    """A4 from 0 to 1 s: its energy lies at multiples of 440 Hz, and a piano's fades where a string's stays."""
    soundfile = pytest.importorskip("soundfile")
    monkeypatch.setattr(audio, "simple", lambda midi: pytest.fail("the simple synthesiser played"))
    faded = {}
    for name, program in (("piano", 0), ("strings", 48)):
        music = Music(MusicConfig(tempo=120, programs={"piano": program}))
        music.write({"roll": phrase()}, tmp_path / name, MusicOptions(render="wav"))
        sound, rate = soundfile.read(tmp_path / f"{name}.wav")
        assert rate == audio.RATE
        assert sound.shape[1] == 2
        mono = sound[:rate].mean(axis=1)
        spectrum = np.abs(np.fft.rfft(mono)) ** 2
        frequency = np.fft.rfftfreq(rate, 1 / rate)
        harmonic = np.abs(frequency / 440 - np.maximum((frequency / 440).round(), 1)) < 0.03
        assert spectrum[harmonic].sum() > 0.9 * spectrum.sum(), name
        faded[name] = np.abs(mono[rate * 8 // 10 : rate * 9 // 10]).mean() / np.abs(mono[: rate // 10]).mean()
        again = tmp_path / f"{name}.wav"
        first = again.read_bytes()
        music.write({"roll": phrase()}, tmp_path / name, MusicOptions(render="wav"))
        assert again.read_bytes() == first
    assert faded["strings"] > 2 * faded["piano"]


@pytest.mark.parametrize("kind", ["ogg", "mp3"])
def test_other_formats(tmp_path, kind):
    soundfile = pytest.importorskip("soundfile")
    Music(MusicConfig()).write({"roll": phrase()}, tmp_path / "a", MusicOptions(render=kind))
    sound, _ = soundfile.read(tmp_path / f"a.{kind}")
    assert len(sound) > audio.RATE / 2
    assert (tmp_path / "a.mid").exists()
    first = (tmp_path / f"a.{kind}").read_bytes()
    Music(MusicConfig()).write({"roll": phrase()}, tmp_path / "a", MusicOptions(render=kind))
    assert (tmp_path / f"a.{kind}").read_bytes() == first


def test_drums_are_heard_and_silence_is_silent(monkeypatch):
    roll = np.zeros((5, 4, 48, 84), bool)
    silent = audio.simple(midi(roll))
    assert not silent.any()
    roll[0, 0, [0, 12], [12, 18]] = True  # kick and closed hi-hat
    assert np.abs(audio.simple(midi(roll))[: audio.RATE // 10]).max() > 1


def midi(roll: np.ndarray) -> bytes:
    from gan_music.writing.midi import midi_bytes

    return midi_bytes(Music(MusicConfig()).grid, roll, MusicOptions(), 100.0)


def test_features_are_of_each_phrase_alone():
    music = Music(MusicConfig())
    rolls = np.random.default_rng(0).random((6, 5, 4, 48, 84)) < 0.01
    rolls[5] = False
    vectors = PhraseFeatures()({"roll": rolls}, music).vectors
    assert vectors.shape == (6, 7 * 5 + 15)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    again = PhraseFeatures()({"roll": rolls[2:3]}, music).vectors
    np.testing.assert_allclose(again[0], vectors[2], atol=1e-6)
    assert (vectors[0] != vectors[1]).any()
    assert vectors[5, :35:7].tolist() == [1] * 5  # silent bars of each track


def test_a_page_with_players(tmp_path):
    music = Music(MusicConfig(tracks="chorale", steps_per_beat=4))
    roll = np.zeros((4, 4, 16, 84), bool)
    roll[:, :, :8, 40] = True
    paths = [music.write({"roll": roll}, tmp_path / f"sample-{n}") for n in range(2)]
    silent = music.write({"roll": np.zeros_like(roll)}, tmp_path / "silent")
    text = write_page(tmp_path, music, [*paths, silent]).read_text()
    assert text.count("<audio") == 3
    assert text.count("data:image/gif") == 2
    assert "4.0 notes a bar" in text
    moving = Image.open(io.BytesIO(base64.b64decode(text.split("base64,")[1].split('"')[0])))
    assert moving.n_frames == 16  # beats
    assert moving.info["duration"] == 600  # at 100 beats a minute
    dark = []
    for frame in (0, 15):
        moving.seek(frame)
        dark.append((np.asarray(moving.convert("L"))[30:] < 180).sum())
    assert dark[1] > 4 * dark[0] > 0  # what has sounded by the end, and in the first beat
    assert (tmp_path / "page" / "sample-1.ogg").stat().st_size > 1000
    assert "holds no notes" in text
