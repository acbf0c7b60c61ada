"""A user's own file accompanied: which track plays what, phrases on the grid, key, and the file that comes of it."""

from __future__ import annotations

from pathlib import Path

import mido
import numpy as np
import pytest
import symusic
from gan.contracts import Given
from gan.errors import BadData, UsageError
from gan.source import SourceFile
from gan_music.config import MusicConfig, MusicGivenOptions, MusicOptions
from gan_music.modality import Music
from gan_music.piece import Piece, Window
from gan_music.velocities import Velocities
from gan_music.writing.midi import conductor, file_bytes, note_track

SETTINGS = {"tracks": "chorale", "steps_per_beat": 4, "lowest": 36, "pitches": 48, "bars": 2, "min_tracks": 4}
SCALE = [0, 2, 4, 5, 7, 9, 11]


def music(**changes) -> Music:
    return Music(MusicConfig(**{**SETTINGS, **changes}))


def given(track: str | None = None, places=(0,), piece: int | None = None) -> Given:
    return Given(("roll",), {"roll": tuple(places)}, MusicGivenOptions(track=track, piece=piece))


def melody(bars: float, division: int = 96, key: int = 0, high: int = 60) -> np.ndarray:
    """A scale up and down in eighths, each a little late and short, with a velocity of its own; ``(n, 4)``."""
    rows = []
    for number in range(int(bars * 8)):
        start = number * division // 2 + (3 if number % 2 else 0)
        degree = [0, 1, 2, 3, 4, 5, 6, 7, 6, 5, 4, 3, 2, 1][number % 14]
        pitch = high + key + SCALE[degree % 7] + 12 * (degree // 7)
        rows.append((start, start + division // 2 - 5, pitch, 40 + number % 60))
    return np.array(rows, np.int64)


def save(path: Path, parts, *, tempos=((0, 60e6 / 137),), meters=((0, 4, 4),), division: int = 96) -> SourceFile:
    """Parts are (name, program, drums, notes)."""
    tracks = [conductor(tempos, meters, 0)]
    for channel, (name, program, drums, notes) in enumerate(parts):
        tracks.append(note_track(name, 9 if drums else channel, program, notes, 0))
    path.write_bytes(file_bytes(tracks, division))
    return SourceFile(path.name, path, None, path.stat().st_size)


@pytest.fixture
def band(tmp_path) -> SourceFile:
    """Five bars: pad, lead in D major, drums, another pad."""
    hits = np.array([(beat * 96, beat * 96 + 24, 36, 99) for beat in range(20)])
    return save(
        tmp_path / "band.mid",
        [
            ("Pad", 88, False, melody(5, high=36)),
            ("Lead", 80, False, melody(4.5, key=2)),
            ("Kit", 0, True, hits),
            ("Pad", 89, False, melody(5, high=48)),
        ],
    )


def notes_of(track: symusic.Track) -> list[tuple[int, int, int, int]]:
    return sorted((note.time, note.time + note.duration, note.pitch, note.velocity) for note in track.notes)


def composed(piece: Piece) -> list[np.ndarray]:
    """Phrases with one held note in every other track: row 10 + track, and their number in the row of the step 0."""
    made = []
    for number, sample in enumerate(piece.phrases()):
        roll = sample["roll"].copy()
        for track in range(1, 4):
            roll[track, :, :, 10 + track] = True
            roll[track, 0, 0, 20 + number] = True
        made.append(roll)
    return made


@pytest.mark.parametrize("track", ["1", "lead", "LEAD*"])
def test_the_chosen_track_is_heard_on_the_grid(band, track):
    """The lead is program 80 and no soprano; its late notes are heard on the eighths."""
    phrases = [sample["roll"] for sample in Piece.read(music().cutter, band, given(track)).phrases()]
    assert len(phrases) == 3
    assert not any(roll[1:].any() for roll in phrases)
    whole = phrases[0][0].reshape(32, 48)
    onsets = [int(np.flatnonzero(whole[step])[0]) + 36 for step in range(0, 32, 2)]
    assert onsets == melody(2, key=2)[:, 2].tolist()


def test_the_last_phrase_ends_with_the_piece(band):
    """Five bars in phrases of two: the third phrase begins in bar 3 and gives its second bar only."""
    piece = Piece.read(music().cutter, band, given("1"))
    assert piece.windows() == [Window(0, 0, 32), Window(32, 32, 64), Window(48, 64, 80)]
    phrases = [sample["roll"] for sample in piece.phrases()]
    assert np.array_equal(phrases[2][:, 0], phrases[1][:, 1])
    line = piece.composed(composed(piece), 1)
    assert line.shape == (80, 48)
    assert np.flatnonzero(line[:, 11]).tolist() == list(range(80))
    assert (line[0, 20], line[32, 21], line[:, 22].any()) == (True, True, False)  # its first bar is the second's


def test_a_piece_shorter_than_a_phrase_is_filled_with_silence(tmp_path):
    file = save(tmp_path / "short.mid", [("x", 80, False, melody(1))])
    piece = Piece.read(music().cutter, file, given())
    (sample,) = piece.phrases()
    assert sample["roll"][0, 0].any()
    assert not sample["roll"][:, 1].any()
    assert piece.windows() == [Window(0, 0, 16)]


def test_the_result_keeps_the_given_track_and_the_file_s_time(band, tmp_path):
    tempos = [(0, 60e6 / 137), (960, 60e6 / 90)]
    lead = melody(4.5, key=2)
    file = save(tmp_path / "song.mid", [("Pad", 88, False, melody(5)), ("Lead", 80, False, lead)], tempos=tempos)
    modality = music()
    samples = [{"roll": roll} for roll in composed(Piece.read(modality.cutter, file, given("1")))]
    (path,) = modality.write_like(samples, tmp_path / "result", file, given("1"))
    score = symusic.Score(path)
    times = score.ticks_per_quarter // 96
    assert [(track.name, track.program) for track in score.tracks] == [
        ("Lead", 80), ("alto", 52), ("tenor", 52), ("bass", 52),
    ]  # fmt: skip
    assert notes_of(score.tracks[0]) == [(s * times, e * times, p, v) for s, e, p, v in sorted(lead.tolist())]
    assert [(t.time // times, round(t.qpm)) for t in score.tempos] == [(0, 137), (960, 90)]
    held = [note for note in notes_of(score.tracks[1]) if note[2] == 36 + 11]
    assert held == [(0, 20 * score.ticks_per_quarter, 47, 96)]  # five bars, over the seams of the phrases
    again = modality.write_like(samples, tmp_path / "again", file, given("1"))
    assert again[0].read_bytes() == path.read_bytes()


def test_composed_tracks_have_the_velocities_of_the_training_files(band, tmp_path):
    """Those of the given track are the player's own; a note's step counts from the first bar."""
    modality = music()
    told = {"steps": [100, *[50] * (modality.grid.steps - 1)], "pitch": 47.0, "slope": 2.0}
    modality.velocities = Velocities({"alto": told})
    samples = [{"roll": roll} for roll in composed(Piece.read(modality.cutter, band, given("1")))]
    (path,) = modality.write_like(samples, tmp_path / "x", band, given("1"))
    lead, alto, tenor, _ = symusic.Score(path).tracks
    assert [note[3] for note in notes_of(lead)] == melody(4.5)[:, 3].tolist()
    assert {note[2]: note[3] for note in notes_of(alto)} == {47: 100, 56: 118, 57: 120}
    assert {note[3] for note in notes_of(tenor)} == {96}


def test_the_options_of_writing_change_the_composed_tracks(band, tmp_path):
    modality = music()
    samples = [{"roll": roll} for roll in composed(Piece.read(modality.cutter, band, given("1")))]
    options = MusicOptions(tempo=80, instruments="soprano=73,bass=32", velocity=50)
    (path,) = modality.write_like(samples, tmp_path / "x", band, given("1"), options)
    score = symusic.Score(path)
    assert [(track.name, track.program) for track in score.tracks] == [("Lead", 73), ("bass", 32)]
    assert [round(tempo.qpm) for tempo in score.tempos] == [80]
    assert {note.velocity for note in score.tracks[1].notes} == {50}
    assert [note[3] for note in notes_of(score.tracks[0])] == melody(4.5)[:, 3].tolist()
    (moved,) = modality.write_like(samples, tmp_path / "y", band, given("1"), MusicOptions(key="F"))
    shift = {a[2] - b[2] for a, b in zip(notes_of(symusic.Score(moved).tracks[0]), notes_of(score.tracks[0]))}
    assert len(shift) == 1
    assert shift != {0}


@pytest.mark.parametrize("key", [0, 2, 5, -3])
def test_a_model_in_c_hears_the_melody_in_c_and_answers_in_its_key(tmp_path, key):
    """The same melody in any key is heard as in C; what was composed in C sounds in the key of the melody."""
    modality = music(normalize_key=True)
    plain = save(tmp_path / "c.mid", [("m", 0, False, melody(4))])
    moved = save(tmp_path / "k.mid", [("m", 0, False, melody(4, key=key))])
    heard = [sample["roll"] for sample in Piece.read(modality.cutter, plain, given()).phrases()]
    piece = Piece.read(modality.cutter, moved, given())
    assert piece.home == -key
    for one, other in zip(heard, piece.phrases(), strict=True):
        assert np.array_equal(one, other["roll"])
    (path,) = modality.write_like([{"roll": roll} for roll in composed(piece)], tmp_path / "out", moved, given())
    score = symusic.Score(path)
    assert 36 + 11 + key in {note.pitch for note in score.tracks[1].notes}
    assert [note[2] for note in notes_of(score.tracks[0])] == melody(4, key=key)[:, 2].tolist()


def test_bars_of_another_metre_are_left_to_the_given_track(tmp_path):
    """Two bars of 4/4, one of 3/4, two of 4/4: the phrases are the first two and the last two bars."""
    meters = [(0, 4, 4), (768, 3, 4), (1056, 4, 4)]
    file = save(tmp_path / "m.mid", [("m", 0, False, melody(4.75))], meters=meters)
    piece = Piece.read(music().cutter, file, given())
    assert piece.windows() == [Window(0, 0, 32), Window(44, 44, 76)]
    line = piece.composed(composed(piece), 1)
    assert np.flatnonzero(~line.any(1)).tolist() == list(range(32, 44))
    waltz = save(tmp_path / "w.mid", [("m", 0, False, melody(4))], meters=[(0, 3, 4)])
    with pytest.raises(BadData, match="no passage in 4/4"):
        Piece.read(music().cutter, waltz, given())


def test_several_tracks_in_the_order_of_the_model_s(band):
    """The model is given alto and bass (1 and 3): --track 1,0 makes the lead the alto and the first pad the bass."""
    piece = Piece.read(music().cutter, band, given("1,0", places=(1, 3)))
    assert piece.plays == {1: [1], 3: [0]}
    roll = next(piece.phrases())["roll"]
    assert [bool(track.any()) for track in roll] == [False, True, False, True]
    assert Piece.read(music().cutter, band, given("lead,0+3", places=(0, 1))).plays == {0: [1], 1: [0, 3]}


@pytest.mark.parametrize(
    ("track", "places", "reason"),
    [
        ("4", (0,), "--track 4: there is no such track; the file has 0 'Pad' (program 88, 40 notes), 1 'Lead' ("),
        ("pad", (0,), "--track pad: 2 tracks have that name"),
        ("drums", (0,), "track 2 is drums and cannot play the soprano"),
        ("0,1", (0,), "names 2 tracks; the model takes 1, in this order: soprano"),
        ("1", (0, 3), "names 1 tracks; the model takes 2, in this order: soprano, bass"),
        ("1,1", (0, 3), "names one track twice"),
    ],
)
def test_tracks_that_are_not_clear_are_refused_with_a_list(band, track, places, reason):
    with pytest.raises(UsageError) as error:
        Piece.read(music().cutter, band, given(track, places))
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_without_a_choice_the_rules_of_the_training_data_hold(band, tmp_path):
    modality = music(tracks={"melody": ["80-87"], "chords": ["88-95"]}, programs={"melody": 73})
    assert Piece.read(modality.cutter, band, given()).plays == {0: [1]}
    with pytest.raises(UsageError, match="2 of its tracks match the chords; choose one with --track: 0 'Pad'"):
        Piece.read(modality.cutter, band, given(places=(1,)))
    flute = save(tmp_path / "flute.mid", [("a", 73, False, melody(2)), ("b", 5, False, melody(2))])
    with pytest.raises(UsageError, match="none of its tracks matches the melody; choose one"):
        Piece.read(modality.cutter, flute, given())
    alone = save(tmp_path / "alone.mid", [("a", 73, False, melody(2))])
    assert Piece.read(modality.cutter, alone, given()).plays == {0: [0]}


ABC = "X:1\nT:a\nM:4/4\nL:1/8\nQ:1/4=90\nK:C\nCDEF GABc|cBAG FEDC|\n\nX:2\nT:b\nM:4/4\nL:1/8\nK:C\nccBB AAGG|EEDD C4|\n"


def test_a_piece_of_a_collection_in_other_formats(tmp_path):
    path = tmp_path / "tunes.abc"
    path.write_text(ABC)
    file = SourceFile(path.name, path, None, path.stat().st_size)
    with pytest.raises(UsageError, match="holds 2 pieces; choose one with --piece 0 … 1"):
        Piece.read(music().cutter, file, given())
    with pytest.raises(UsageError, match="--piece 2"):
        Piece.read(music().cutter, file, given(piece=2))
    modality = music()
    piece = Piece.read(modality.cutter, file, given(piece=0))
    (path,) = modality.write_like([{"roll": roll} for roll in composed(piece)], tmp_path / "o", file, given(piece=0))
    score = symusic.Score(path)
    assert [round(tempo.qpm) for tempo in score.tempos] == [90]
    up = [60, 62, 64, 65, 67, 69, 71, 72]
    assert [note.pitch for note in score.tracks[0].notes] == up + up[::-1]
    assert mido.MidiFile(path).length == pytest.approx(8 * 60 / 90, abs=0.05)


@pytest.mark.parametrize("per_beat", [4, 12, 7, 96])
@pytest.mark.parametrize("division", [1, 96, 480, 1024, 9600, 32767])
def test_steps_and_given_ticks_meet_in_the_result(tmp_path, division, per_beat):
    """Any resolution of a file with any grid: given times are scaled by a whole number, composed ones lie within a tick
    of their place."""
    notes = np.array([(0, division, 60, 90), (3 * division, 8 * division, 64, 91)])
    file = save(tmp_path / "x.mid", [("x", 0, False, notes)], division=division)
    modality = music(steps_per_beat=per_beat)
    piece = Piece.read(modality.cutter, file, given())
    made = [sample["roll"].copy() for sample in piece.phrases()]
    made[0][1, 0, 1, 20] = True
    (path,) = modality.write_like([{"roll": roll} for roll in made], tmp_path / "o", file, given())
    score = symusic.Score(path)
    times, rest = divmod(score.ticks_per_quarter, division)
    assert rest == 0
    assert notes_of(score.tracks[0]) == [(s * times, e * times, p, v) for s, e, p, v in notes.tolist()]
    (note,) = score.tracks[1].notes
    assert abs(note.time - score.ticks_per_quarter / per_beat) < 1
