"""Bars that a file's notes suggest: found where its own are wrong, left alone where they are right."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from gan.contracts import Given
from gan.source import SourceFile
from gan.testing import shared_data
from gan_music.beats import aligned, lateness, strengths
from gan_music.config import MusicConfig, MusicGivenOptions, MusicOptions
from gan_music.modality import Music
from gan_music.piece import Piece
from gan_music.reading import Part, Score, read_score
from gan_music.reading.midi import read_midi
from gan_music.writing.midi import conductor, file_bytes, note_track

DIVISION = 480


def march(late: int, bars: int = 8) -> Score:
    """A long note on the first beat and eighths above it, all `late` ticks after the bars of the file."""
    bar = 4 * DIVISION
    low = [(b * bar, b * bar + bar, 36, 80) for b in range(bars)]
    high = [(b * bar + e * 240, b * bar + e * 240 + 200, 60 + e, 80) for b in range(bars) for e in range(8)]
    notes = np.array(sorted(low + high, key=lambda note: (note[0], note[2])), np.int64) + [late, late, 0, 0]
    return Score(DIVISION, [Part("piano", 0, False, notes)])


def test_strengths_of_the_places_of_a_bar():
    assert strengths(4).tolist() == [4, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0]
    assert strengths(3).tolist() == [4, 0, 1, 0, 2, 0, 1, 0, 2, 0, 1, 0]


@pytest.mark.parametrize("late", [60, 479, 480, 1000, 1860])
def test_lateness_is_found_to_the_tick(late):
    assert lateness(march(late), 4) == late


@pytest.mark.parametrize("late", [0, 7, 1900])
def test_a_piece_near_its_beats_is_left_alone(late):
    score = march(late)
    assert aligned(score, 4) == (score, 0)


def test_phrases_of_a_moved_piece_are_those_of_the_piece():
    plain = Music(MusicConfig(tracks="paper", bars=2, align=True))
    wanted = [sample["roll"] for sample in plain.phrases(march(0))]
    found = [sample["roll"] for sample in plain.phrases(march(1000))]
    assert len(wanted) == len(found) == 4
    assert all(np.array_equal(one, other) for one, other in zip(wanted, found, strict=True))
    crooked = [sample["roll"] for sample in Music(MusicConfig(tracks="paper", bars=2)).phrases(march(1000))]
    assert not np.array_equal(crooked[0], wanted[0])


def test_an_accompaniment_of_a_moved_piece_keeps_the_times_of_its_file(tmp_path):
    score = march(1000)
    path = tmp_path / "late.mid"
    tracks = [conductor([(0, 5e5)], [(0, 4, 4)], 0), note_track("lead", 0, 80, score.parts[0].notes, 0)]
    path.write_bytes(file_bytes(tracks, DIVISION))
    file = SourceFile(path.name, path, None, path.stat().st_size)
    music = Music(MusicConfig(tracks="chorale", bars=2, align=True))
    piece = Piece.read(music.cutter, file, Given(("roll",), {"roll": (0,)}, MusicGivenOptions()))
    assert piece.moved == 4 * DIVISION - 1000
    made = []
    for sample in piece.phrases():
        roll = sample["roll"].copy()
        roll[1, :, 0, 10] = True  # one step on each first beat
        made.append(roll)
    path.with_name("made.mid").write_bytes(piece.midi_bytes(made, MusicOptions()))
    (back,) = read_score(SourceFile("made.mid", path.with_name("made.mid"), None, 0))
    given, composed = (part.notes for part in back.parts)
    assert np.array_equal(given[:, :3], score.parts[0].notes[:, :3])
    bars = (composed[:, 0] - 1000) / (4 * DIVISION)
    assert len(bars) >= 8
    assert np.array_equal(bars, np.rint(bars))


@pytest.mark.shared
def test_recordings_of_pop909_lie_on_beats_afterwards():
    path = shared_data("music", "pop909.zip")
    if path is None:
        pytest.skip("pop909.zip is not on this machine")
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".mid"))[:30]
        scores = [read_midi(archive.read(name)) for name in names]
    before = np.mean([on_beats(score) for score in scores])
    after = np.mean([on_beats(aligned(score, 4)[0]) for score in scores])
    assert before < 0.3  # of notes anywhere, a quarter would lie so near to a beat
    assert after > 0.4


def on_beats(score: Score) -> float:
    """Share of the notes within an eighth of a beat from one."""
    starts = np.concatenate([part.notes[:, 0] for part in score.parts]) / score.division
    return float((np.abs(starts - np.rint(starts)) <= 0.125).mean())
