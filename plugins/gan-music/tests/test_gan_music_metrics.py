"""Statistics of phrases against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from gan_music import key
from gan_music.config import MusicConfig
from gan_music.metrics import statistics as metrics
from gan_music.modality import Music


def roll(tracks: int = 1, bars: int = 1, steps: int = 48, pitches: int = 84, count: int = 1) -> np.ndarray:
    return np.zeros((count, tracks, bars, steps, pitches), bool)


def test_bars_pitches_and_classes():
    x = roll(bars=3)
    x[0, 0, 0, :10, [0, 12, 24, 7]] = True  # C in three octaves and G
    x[0, 0, 2, 5, 1] = True
    assert metrics.sounding_bars(x)[0, 0].tolist() == [True, False, True]
    assert metrics.used_pitches(x)[0, 0].tolist() == [4, 0, 1]
    assert metrics.used_pitch_classes(x)[0, 0].tolist() == [2, 0, 1]  # p // 7, the released defect, would give 3


def test_pitch_classes_know_the_lowest_pitch():
    x = roll(pitches=24)
    x[0, 0, 0, 0, 3] = True
    assert metrics.chroma(x, 12, lowest=36)[0, 0, 0].argmax() == 3
    assert metrics.chroma(x, 12, lowest=40)[0, 0, 0].argmax() == 7  # row 3 is MIDI 43, a G
    assert metrics.chroma(x, 12, lowest=36).shape == (1, 1, 4, 12)


def test_qualified_notes_run_over_bar_lines():
    """Notes of 1, 2 and 4 steps, the last one half in each bar: at 48 steps two of three are a 32nd part (1.5 steps)
    long."""
    x = roll(bars=2)
    x[0, 0, 0, 3, 5] = True
    x[0, 0, 0, 6:8, 5] = True
    x[0, 0, 0, 46:, 9] = x[0, 0, 1, :2, 9] = True
    good, notes = metrics.qualified_notes(x)
    assert (good[0, 0], notes[0, 0]) == (2, 3)
    assert metrics.qualified_notes(x, 3)[0][0, 0] == 1
    assert metrics.qualified_notes(x, 5)[0][0, 0] == 0
    last = roll()
    last[0, 0, 0, 47, 0] = True  # a single step at the very end must not run on into nothing
    assert metrics.qualified_notes(last, 2)[0][0, 0] == 0


def test_polyphony_counts_steps():
    x = roll()
    x[0, 0, 0, :24, 0] = x[0, 0, 0, :12, 4] = x[0, 0, 0, :6, 7] = True
    assert metrics.polyphony(x)[0, 0, 0] == 12 / 48
    assert metrics.polyphony(x, 3)[0, 0, 0] == 6 / 48


def test_scale_consistency():
    c_major = np.array([1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1.0])
    assert metrics.scale_consistency(c_major) == 1
    assert metrics.scale_consistency(np.roll(c_major, 5)) == 1
    assert metrics.scale_consistency(np.ones(12)) == pytest.approx(7 / 12)
    assert np.isnan(metrics.scale_consistency(np.zeros(12)))


def test_entropy():
    assert metrics.pitch_class_entropy(np.ones(12)) == pytest.approx(np.log2(12))
    assert metrics.pitch_class_entropy(np.eye(12)[3]) == 0
    assert metrics.pitch_class_entropy(np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0])) == 1


def test_tonal_distance():
    """Equal chords: 0. C against F sharp, a tritone: the fifths' and the minor thirds' circles are opposite, the major
    thirds' equal:
    angles 7π, 9π and 4π give distances 2, 2 and 0, together √8."""
    c, f_sharp = np.eye(12)[0], np.eye(12)[6]
    a = np.stack([c, np.zeros(12)])[None]
    assert metrics.tonal_distance(a, a)[0] == 0
    b = np.stack([3 * f_sharp, f_sharp])[None]
    assert metrics.tonal_distance(a, b)[0] == pytest.approx(np.sqrt(8))
    assert np.isnan(metrics.tonal_distance(a, np.zeros_like(a))[0])


def test_drum_pattern():
    """Hits on all sixteenths of 48 steps score 1, those a step later 0.1, those two later 0.1 as well."""
    x = roll()
    x[0, 0, 0, ::3, 12] = True
    assert metrics.drum_pattern(x[:, 0])[0] == 1
    assert metrics.drum_pattern(np.roll(x[:, 0], 1, axis=2))[0] == pytest.approx(0.1)
    turned = roll(steps=96)
    turned[0, 0, 0, 4::6, 12] = True
    assert metrics.drum_pattern(turned[:, 0])[0] == 1  # the grid may begin later at 96 steps
    assert metrics.drum_pattern(roll(steps=20)[:, 0]) is None
    assert np.isnan(metrics.drum_pattern(roll()[:, 0])[0])


def test_groove_consistency():
    x = roll(bars=2, steps=4)
    x[0, 0, 0, [0, 2], 0] = True
    x[0, 0, 1, [0, 2], 5] = True
    assert metrics.groove_consistency(x)[0] == 1
    x[0, 0, 1, 3, 9] = True
    assert metrics.groove_consistency(x)[0] == 0.75


@pytest.mark.parametrize("root", range(12))
def test_key_of_a_scale(root):
    """A scale whose tonic and fifth last longer."""
    major = np.roll([3, 0, 1, 0, 1.5, 1, 0, 2, 0, 1, 0, 1], root)
    minor = np.roll([3, 0, 1, 1.5, 0, 1, 0, 2, 1, 0, 1, 0], root)
    assert key.estimate_key(major)[:2] == (root, False)
    assert key.estimate_key(minor)[:2] == (root, True)


def test_names_of_keys():
    assert key.parse_key("F#m") == (6, True)
    assert key.parse_key("Bb major") == (10, False)
    assert key.key_name(*key.parse_key("eb minor")) == "Eb minor"
    assert [key.shift_to(0, t) for t in range(12)] == [0, 1, 2, 3, 4, 5, -6, -5, -4, -3, -2, -1]


def test_table_of_all_statistics():
    music = Music(MusicConfig())
    rng = np.random.default_rng(0)
    samples = {"roll": rng.random((8, 5, 4, 48, 84)) < 0.02}
    values = {v.name: v for v in metrics.MusicStatistics().compute(samples, samples, music)}
    assert all(v.value == v.real for v in values.values())
    assert {"empty-bars/drums", "pitch-classes/piano", "qualified-notes/bass", "polyphony/guitar"} <= set(values)
    assert {"drum-pattern/drums", "tonal-distance/piano-bass", "scale-consistency", "groove-consistency"} <= set(values)
    assert not {"qualified-notes/drums", "tonal-distance/drums-piano", "pitch-classes/drums"} & set(values)
    assert values["density"].value == pytest.approx(0.02, rel=0.05)
    assert values["notes-per-bar"].value == pytest.approx(samples["roll"].sum() / 32 * 0.98, rel=0.03)


def test_silence_is_measured_without_warnings(recwarn):
    music = Music(MusicConfig())
    silent = {"roll": np.zeros((4, 5, 4, 48, 84), bool)}
    values = {v.name: v.value for v in metrics.MusicStatistics().compute(silent, silent, music)}
    assert values["empty-bars/bass"] == 1
    assert "scale-consistency" not in values
    assert not recwarn.list


def test_pitch_classes_are_those_of_pretty_midi(tmp_path):
    """pretty_midi weighs the pitch classes of a file by duration; so does the chroma of its roll."""
    import pretty_midi

    music = Music(MusicConfig(tracks="chorale", steps_per_beat=4, lowest=35, pitches=48))
    phrase = np.random.default_rng(3).random(music.fields["roll"].shape) < 0.05
    path = music.write({"roll": phrase}, tmp_path / "a")
    theirs = pretty_midi.PrettyMIDI(str(path)).get_pitch_class_histogram(use_duration=True, normalize=True)
    ours = metrics.chroma(phrase[None], 16, 35).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(ours / ours.sum(), theirs, atol=1e-9)
    assert metrics.pitch_class_entropy(ours) == pytest.approx(-(theirs * np.log2(theirs)).sum())
