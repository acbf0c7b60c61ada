"""Velocities of the training files, and of written notes."""

import mido
import numpy as np
import pytest
from gan.source import list_source
from gan_music.config import MusicConfig, MusicOptions
from gan_music.modality import Music
from gan_music.velocities import EVEN, FEWEST, Velocities, summary

TRACKS = {"tune": [0], "base": [32], "kit": ["drums"]}


def piece(path, tune, base=(), kit=()):
    """A file with notes (beat, pitch, velocity) of three instruments, each an eighth long."""
    file = mido.MidiFile(ticks_per_beat=480)
    for channel, program, notes in ((0, 0, tune), (1, 32, base), (9, 0, kit)):
        track = mido.MidiTrack([mido.Message("program_change", channel=channel, program=program)])
        events = []
        for beat, pitch, velocity in notes:
            events += [(round(480 * beat), 1, pitch, velocity), (round(480 * beat) + 240, 0, pitch, 0)]
        now = 0
        for tick, on, pitch, velocity in sorted(events):
            kind = "note_on" if on else "note_off"
            track.append(mido.Message(kind, channel=channel, note=pitch, velocity=velocity, time=tick - now))
            now = tick
        if notes:
            file.tracks.append(track)
    file.save(path)


def music(facts=None, **settings):
    return Music(MusicConfig(tracks=TRACKS, steps_per_beat=4, bars=1, velocities=True, **settings), facts)


def written(path):
    """Track name -> (tick, pitch, velocity) of the notes of a file."""
    found = {}
    for track in mido.MidiFile(path).tracks:
        now, notes = 0, []
        for message in track:
            now += message.time
            if message.type == "note_on" and message.velocity:
                notes.append((now, message.note, message.velocity))
        found[track.name] = notes
    return found


def test_velocities_of_the_files_are_measured_by_track_and_step(tmp_path):
    bars = range(20)
    tune = [(4 * bar + beat, 60, velocity) for bar in bars for beat, velocity in ((0, 110), (2, 90))]
    base = [(4 * bar + beat, 40, 70) for bar in bars for beat in (0, 1)]
    piece(tmp_path / "a.mid", tune, base)
    (tmp_path / "b.mid").write_bytes(b"no music")  # `read` reports it
    facts = music().survey(list_source(tmp_path, Music.suffixes).files)
    assert facts["velocities"].keys() == {"tune", "base"}  # no drums in the files
    steps = facts["velocities"]["tune"]["steps"]
    assert (len(steps), steps[0], steps[8], steps[4]) == (16, 110, 90, 100)  # the mean where nothing is struck
    assert set(facts["velocities"]["base"]["steps"]) == {70}
    assert Music(MusicConfig(tracks=TRACKS)).survey([]) == {}


def test_rare_steps_have_the_mean_of_their_track():
    struck = np.array([[0, 60, 100]] * FEWEST + [[1, 60, 40]] * (FEWEST - 1))
    found = summary(struck, 4, drums=False)
    mean = (100 * FEWEST + 40 * (FEWEST - 1)) / (2 * FEWEST - 1)
    assert found["steps"] == [100.0, *[round(mean, 1)] * 3]


def test_high_notes_are_louder_as_in_the_files_but_not_drums():
    struck = np.array([[0, pitch, 60 + 2 * (pitch - 50)] for pitch in (50, 54, 58, 62)] * FEWEST)
    found = summary(struck, 4, drums=False)
    assert (found["pitch"], found["slope"]) == (56.0, 2.0)
    velocities = Velocities({"tune": found})
    assert velocities.of("tune", np.array([0, 4, 0]), np.array([50, 62, 127])).tolist() == [60, 84, 127]  # at most 127
    assert velocities.of("tune", np.array([0]), np.array([0])).tolist() == [1]  # at least 1
    assert velocities.of("other", np.array([0]), np.array([60])).tolist() == [EVEN]
    assert summary(struck, 4, drums=True)["slope"] == 0


def test_steps_count_from_the_bar_of_the_meter_that_is_read(tmp_path):
    """Three quarters of another meter come first; notes there are not counted."""
    file = mido.MidiFile(ticks_per_beat=480)
    signs = mido.MidiTrack([mido.MetaMessage("time_signature", numerator=3, denominator=4)])
    signs.append(mido.MetaMessage("time_signature", numerator=4, denominator=4, time=3 * 480))
    notes = mido.MidiTrack([mido.Message("program_change", program=0)])
    wait = 0
    for beat in range(3 + 4 * FEWEST):
        velocity = 20 if beat < 3 else 100 if (beat - 3) % 4 == 0 else 50
        notes.append(mido.Message("note_on", note=60, velocity=velocity, time=wait))
        notes.append(mido.Message("note_off", note=60, time=240))
        wait = 240
    file.tracks += [signs, notes]
    file.save(tmp_path / "a.mid")
    facts = music(exact_meter=True).survey(list_source(tmp_path, Music.suffixes).files)
    assert facts["velocities"]["tune"]["steps"][::4] == [100, 50, 50, 50]


@pytest.mark.parametrize("swing", [0.0, 1.0])
def test_written_notes_have_the_velocities_of_their_step_and_pitch(tmp_path, swing):
    told = {"tune": {"steps": [100, 50, 40, *[50] * 13], "pitch": 60.0, "slope": 1.0}}
    modality = music({"velocities": told})
    roll = np.zeros((3, 2, 16, 84), bool)
    roll[0, :, 0, 36] = roll[0, :, 2, 48] = roll[1, :, 0, 12] = True  # C4 on the beat, C5 an eighth later, C2
    found = written(modality.write({"roll": roll}, tmp_path / "x", MusicOptions(swing=swing)))
    assert [velocity for _, _, velocity in found["tune"]] == [100, 52] * 2  # swing moves no note to another step
    assert {velocity for _, _, velocity in found["base"]} == {EVEN}
    even = written(modality.write({"roll": roll}, tmp_path / "x", MusicOptions(velocity=33)))
    assert {velocity for _, _, velocity in even["tune"]} == {33}
