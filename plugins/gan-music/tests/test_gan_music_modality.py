"""Phrases: from files to rolls and back."""

from __future__ import annotations

import io
from pathlib import Path

import mido
import numpy as np
import pretty_midi
import pytest
from gan.errors import BadData, UsageError
from gan.source import list_source
from gan_music import rolls
from gan_music.config import MusicConfig, MusicOptions
from gan_music.modality import Music
from gan_music.reading import Part, Score
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError


def music(**settings) -> Music:
    return Music(MusicConfig(**settings))


def score(*parts: tuple[str, int, bool, list[tuple[int, int, int]]], meters=(), division: int = 12) -> Score:
    """Parts of (name, program, drums, [(start, end, pitch) in steps of a twelfth])."""
    made = [
        Part(name, program, drums, np.array([(s, e, p, 90) for s, e, p in notes], np.int64).reshape(-1, 4))
        for name, program, drums, notes in parts
    ]
    return Score(division, made, list(meters))


def file_of(path: Path):
    (file,) = list_source(path, Music.suffixes).files
    return file


def test_fields_follow_the_configuration():
    assert music().fields["roll"].shape == (5, 4, 48, 84)
    assert music(tracks="paper", steps_per_beat=24).fields["roll"].shape == (5, 4, 96, 84)
    assert music(tracks="lpd-8").fields["roll"].shape == (8, 4, 48, 84)
    assert music(meter="3/4", bars=8).fields["roll"].shape == (5, 8, 36, 84)
    assert music(meter="6/8", tracks={"lead": ["80-87"]}, pitches=48).fields["roll"].shape == (1, 4, 36, 48)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tracks": "compakt"}, "no profile 'compakt'"),
        ({"tracks": {"lead": ["120-130"]}}, "from 0 to 127"),
        ({"tracks": {"lead": []}}, "no rule"),
        ({"tracks": {}}, "at least one"),
        ({"pitches": 50}, "multiple of 12"),
        ({"lowest": 60}, "128"),
        ({"meter": "four"}, "4/4"),
        ({"meter": "3/8", "steps_per_beat": 1}, "whole number of steps"),
        ({"programs": {"harp": 3}}, "harp"),
        ({"transpose": [0, 0]}, "shifts"),
    ],
)
def test_wrong_settings_are_told(wrong, message):
    with pytest.raises(ValidationError, match=message):
        MusicConfig(**wrong)


def test_families_others_and_drums():
    """Program 5 is a piano, 60 (horn) belongs to no family and so to the strings, channel 10 are drums: hits of one
    step."""
    piece = score(
        ("", 5, False, [(0, 12, 60)]), ("", 60, False, [(12, 24, 62)]), ("", 0, True, [(0, 40, 36), (47, 48, 38)])
    )
    (phrase,) = music().phrases(piece)
    found = {tuple(map(int, cell)) for cell in zip(*np.nonzero(phrase["roll"]))}
    piano = {(1, 0, step, 36) for step in range(12)}
    strings = {(4, 0, step, 38) for step in range(12, 24)}
    assert found == piano | strings | {(0, 0, 0, 12), (0, 0, 47, 14)}


def test_inventory_counts_the_notes_of_instruments_and_says_where_they_go(tmp_path):
    piece = pretty_midi.PrettyMIDI()
    for program, drums, count in ((0, False, 3), (0, False, 2), (60, False, 4), (0, True, 5)):
        instrument = pretty_midi.Instrument(program, drums)
        instrument.notes += [pretty_midi.Note(90, 60, at / 2, at / 2 + 0.25) for at in range(count)]
        piece.instruments.append(instrument)
    piece.write(str(tmp_path / "a.mid"))
    music = Music(MusicConfig(tracks={"keys": ["0-7"], "beat": ["drums"]}))
    assert music.inventory(list_source(tmp_path, Music.suffixes).files[0]) == {
        "notes of acoustic grand piano, program 0 (track keys)": 5,
        "notes of french horn, program 60 (left out)": 4,
        "notes of drums (track beat)": 5,
    }


def test_tracks_by_name_and_number():
    three = ["MELODY", "BRIDGE", "PIANO"]
    piece = score(*[(name, 0, False, [(0, 12, 60 + n)]) for n, name in enumerate(three)])
    (phrase,) = music(tracks="pop909").phrases(piece)
    assert [int(np.nonzero(t)[2][0]) for t in phrase["roll"]] == [36, 37, 38]
    swapped = score(("Bass", 0, False, [(0, 4, 48)]), ("Soprano 1", 0, False, [(0, 4, 72)]))
    (phrase,) = music(tracks="chorale").phrases(swapped)
    assert phrase["roll"].any(axis=(1, 2, 3)).tolist() == [True, False, False, True]
    nameless = score(*[("", 0, False, [(0, 4, 72 - 5 * n)]) for n in range(4)])
    (phrase,) = music(tracks="chorale").phrases(nameless)
    assert phrase["roll"].any(axis=(1, 2, 3)).all()


def test_own_tracks():
    piece = score(("", 81, False, [(0, 4, 60)]), ("", 12, False, [(0, 4, 64)]))
    own = music(tracks={"melody": ["80-87"], "chords": [12, "24-31"]})
    (phrase,) = own.phrases(piece)
    assert phrase["roll"].sum(axis=(1, 2, 3)).tolist() == [4, 4]
    assert [track.program for track in own.tracks] == [0, 0]


def test_a_repeated_note_keeps_its_second_attack():
    (phrase,) = music().phrases(score(("", 0, False, [(0, 12, 60), (12, 24, 60), (30, 31, 62), (31, 32, 62)])))
    line = phrase["roll"][1, 0, :, 36]
    assert line.tolist() == [True] * 11 + [False] + [True] * 12 + [False] * 24
    assert phrase["roll"][1, 0, 30:32, 38].all()  # two notes of one step cannot be told apart


def test_meters_upbeats_and_what_is_left_out():
    """An upbeat of one beat, eight bars of 4/4 whose first is silent, then 3/4: one phrase, from the second bar on."""
    bar = 48
    notes = (
        [(0, 12, 60)] + [(12 + bar * n, 24 + bar * n, 60 + n) for n in range(1, 8)] + [(12 + bar * 8, 24 + bar * 8, 50)]
    )
    piece = score(("", 0, False, notes), meters=[(0, 1, 4), (12, 4, 4), (12 + 8 * bar, 3, 4)])
    phrases = list(music(exact_meter=True).phrases(piece))
    assert len(phrases) == 1
    assert [int(np.nonzero(bar)[1][0]) for bar in phrases[0]["roll"][1]] == [37, 38, 39, 40]
    with pytest.raises(BadData, match="no passage in 5/4"):
        list(music(meter="5/4", exact_meter=True).phrases(piece))


@pytest.mark.parametrize(
    ("meter", "taken"), [((2, 2), True), ((2, 4), True), ((1, 4), True), ((3, 4), False), ((12, 8), False)]
)
def test_meters_that_fill_a_bar(meter, taken):
    piece = score(("", 0, False, [(n * 12, n * 12 + 12, 60) for n in range(16)]), meters=[(0, *meter)])
    if taken:
        assert len(list(music().phrases(piece))) == 1
    with pytest.raises(BadData, match="no passage"):
        list(music(exact_meter=True).phrases(piece))


def test_transposing_leaves_drums_and_keeps_the_range():
    piece = score(("", 0, False, [(0, 12, 24)]), ("", 0, True, [(0, 1, 36)]))
    down, up = music(transpose=[-1, 1]).phrases(piece)
    assert np.nonzero(down["roll"][1])[2][0] == 11  # below the lowest row: an octave up
    assert np.nonzero(up["roll"][1])[2][0] == 1
    assert np.array_equal(down["roll"][0], up["roll"][0])


def test_normalising_the_key():
    d_major = [62, 64, 66, 67, 69, 71, 73, 74, 62, 69, 66, 62, 62, 62, 69, 66]
    piece = score(("", 0, False, [(12 * n, 12 * n + 12, p) for n, p in enumerate(d_major)]))
    (phrase,) = music(normalize_key=True).phrases(piece)
    classes = {int(row) % 12 for row in np.nonzero(phrase["roll"][1])[2]}
    assert classes <= {0, 2, 4, 5, 7, 9, 11}
    assert 0 in classes


def test_limits_of_phrases():
    piece = score(("", 0, False, [(48 * n, 48 * n + 12, 60) for n in range(40)]))
    assert len(list(music().phrases(piece))) == 10
    assert len(list(music(stride=1).phrases(piece))) == 37
    assert len(list(music(phrases_per_file=3).phrases(piece))) == 3
    with pytest.raises(BadData, match="no 4 bars with 99 notes"):
        list(music(min_notes=99).phrases(piece))
    with pytest.raises(BadData, match="belongs to the tracks"):
        list(music(tracks={"bass": ["32-39"]}).phrases(piece))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), density=st.sampled_from([0.001, 0.02, 0.3]))
def test_round_trip_is_the_identity(tmp_path_factory, seed, density):
    """A roll of any notes, written and read again, is itself: notes that touch stay one, drums keep every hit."""
    roll = np.random.default_rng(seed).random((5, 4, 48, 84)) < density
    roll[1, 0, 5, 7] = True
    plain = music()
    stem = tmp_path_factory.mktemp("midi") / "phrase"
    path = plain.write({"roll": roll}, stem)
    (again,) = plain.read(file_of(path))
    assert np.array_equal(again["roll"], roll)


def test_every_reader_finds_the_same_notes(tmp_path):
    import pretty_midi
    import symusic
    from music21 import converter

    roll = np.random.default_rng(3).random((5, 4, 48, 84)) < 0.004
    path = music().write({"roll": roll}, tmp_path / "phrase")
    with_mido = []
    for track in mido.MidiFile(path).tracks:
        now = 0
        for message in track:
            now += message.time
            if message.type == "note_on" and message.velocity:
                with_mido.append((now, message.note))
    pretty = pretty_midi.PrettyMIDI(str(path))
    with_pretty = [(pretty.time_to_tick(n.start), n.pitch) for i in pretty.instruments for n in i.notes]
    with_symusic = [(n.time, n.pitch) for t in symusic.Score(str(path)).tracks for n in t.notes]
    assert sorted(with_pretty) == sorted(with_mido) == sorted(with_symusic)
    assert len(with_mido) > 200
    parsed = of_music21(converter.parse(str(path), forceSource=True, quantizePost=False))
    assert sorted(tick for tick, _ in parsed) == sorted(tick for tick, _ in with_mido)
    known = [note for note in parsed if note[1] is not None]
    assert len(known) > 200
    assert set(known) <= set(with_mido)


def of_music21(piece) -> list[tuple[int, int | None]]:
    """(tick, pitch) of every note; drums, which music21 renames to instruments, have None."""
    found = []
    for item in piece.recurse().notes:
        tick = round(float(item.getOffsetInHierarchy(piece)) * 480)
        for one in getattr(item, "notes", (item,)):
            found.append((tick, one.pitch.midi if one.isNote and hasattr(one, "pitch") else None))
    return found


def test_files_say_what_they_are(tmp_path):
    roll = np.zeros((5, 4, 48, 84), bool)
    roll[:, 0, 0, 40] = True
    plain = music(tempo=90)
    first = plain.write({"roll": roll}, tmp_path / "a").read_bytes()
    assert first == plain.write({"roll": roll}, tmp_path / "b").read_bytes()
    file = mido.MidiFile(file=io.BytesIO(first))
    assert (file.type, file.ticks_per_beat) == (1, 480)
    assert [track.name for track in file.tracks] == ["conductor", "drums", "piano", "guitar", "bass", "strings"]
    meta = {m.type: m for m in file.tracks[0]}
    assert meta["set_tempo"].tempo == round(60e6 / 90)
    assert (meta["time_signature"].numerator, meta["time_signature"].denominator) == (4, 4)
    programs = [m.program for track in file.tracks for m in track if m.type == "program_change"]
    assert programs == [0, 0, 25, 33, 48]
    assert {m.channel for m in file.tracks[1] if m.type == "note_on"} == {9}
    assert file.length == pytest.approx(16 * 60 / 90, abs=0.01)


def test_options_of_writing(tmp_path):
    roll = np.zeros((5, 4, 48, 84), bool)
    for n, pitch in enumerate([36, 40, 43, 36, 41, 45, 36, 43, 47, 36]):  # C major from row 36 = C4
        roll[1, 0, n * 4 : n * 4 + 4, pitch] = True
    roll[0, 0, 0, 12] = True

    def notes(options: MusicOptions) -> mido.MidiFile:
        return mido.MidiFile(music().write({"roll": roll}, tmp_path / "x", options))

    up = notes(MusicOptions(key="D", tempo=60, velocity=50, instruments="piano=4,drums"))
    assert [track.name for track in up.tracks] == ["conductor", "drums", "piano"]
    assert next(m.note for m in up.tracks[2] if m.type == "note_on") == 62
    assert next(m.note for m in up.tracks[1] if m.type == "note_on") == 36
    assert next(m.velocity for m in up.tracks[2] if m.type == "note_on") == 50
    assert next(m.program for m in up.tracks[2] if m.type == "program_change") == 4
    with pytest.raises(UsageError, match="did you mean 'piano'"):
        notes(MusicOptions(instruments="pianno"))
    with pytest.raises(UsageError, match="key"):
        notes(MusicOptions(key="H flat"))


def test_swing_delays_the_second_eighth(tmp_path):
    roll = np.zeros((5, 4, 48, 84), bool)
    roll[1, 0, [0, 6], 36] = True
    file = mido.MidiFile(music().write({"roll": roll}, tmp_path / "x", MusicOptions(swing=1.0)))
    now, starts = 0, []
    for message in file.tracks[2]:
        now += message.time
        if message.type == "note_on":
            starts.append(now)
    assert starts == [0, 240 + 160]


def shown(roll, colour) -> int:
    return int((np.asarray(music().preview({"roll": roll})) == colour).all(axis=-1).sum())


def test_preview_marks_tracks_by_colour():
    roll = np.zeros((2, 5, 4, 48, 84), bool)
    legend = [shown(roll, colour) for colour in ((214, 39, 40), (31, 119, 180))]
    roll[0, 1, 0, :24, 40] = True
    roll[1, 0, 2, 3, 12] = True
    red, blue = (shown(roll, colour) for colour in ((214, 39, 40), (31, 119, 180)))
    assert red - legend[0] > 100
    assert 0 < blue - legend[1] < 30


def test_transpose_arithmetic():
    roll = np.zeros((1, 1, 1, 24), bool)
    roll[..., [0, 5, 23]] = True
    assert np.nonzero(rolls.transpose(roll, 2, np.array([True])))[3].tolist() == [2, 7, 13]
    assert np.nonzero(rolls.transpose(roll, -2, np.array([True])))[3].tolist() == [3, 10, 21]
