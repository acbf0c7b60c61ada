"""Files of notes: what is read, what is refused, and that it is what pretty_midi reads."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import mido
import numpy as np
import pytest
from gan.errors import BadData
from gan.source import SourceFile, list_source
from gan.testing import shared_data
from gan_music.config import MusicConfig
from gan_music.modality import Music
from gan_music.reading import read_midi, read_score


def shared(name: str) -> Path:
    path = shared_data("music", name)
    if path is None:
        pytest.skip(f"{name} is not on this machine")
    return path


def midi(*tracks: list[mido.Message], ticks: int = 480, kind: int = 1) -> bytes:
    file = mido.MidiFile(type=kind, ticks_per_beat=ticks)
    for track in tracks:
        file.tracks.append(mido.MidiTrack(track))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def notes(*pairs: tuple[int, int, int], channel: int = 0) -> list[mido.Message]:
    """(wait, length, pitch) one after another."""
    made = []
    for wait, length, pitch in pairs:
        made.append(mido.Message("note_on", note=pitch, velocity=80, time=wait, channel=channel))
        made.append(mido.Message("note_off", note=pitch, velocity=0, time=length, channel=channel))
    return made


SCALE = notes(*[(0, 480, 60 + n) for n in (0, 2, 4, 5, 7, 9, 11, 12)])


def as_pretty_midi(data: bytes) -> set[tuple[int, bool, int, int, int, int]]:
    """Notes as pretty_midi reads them: program, drums, start and end in ticks, pitch, velocity."""
    import pretty_midi

    piece = pretty_midi.PrettyMIDI(io.BytesIO(data))
    return {
        (i.program, i.is_drum, piece.time_to_tick(n.start), piece.time_to_tick(n.end), n.pitch, n.velocity)
        for i in piece.instruments
        for n in i.notes
    }


def as_ours(data: bytes) -> set[tuple[int, bool, int, int, int, int]]:
    score = read_midi(data)
    return {(p.program, p.drums, *map(int, row)) for p in score.parts for row in p.notes}


def test_same_notes_as_pretty_midi_in_a_made_file():
    drums = notes((0, 60, 36), (420, 60, 38), channel=9)
    bass = [mido.Message("program_change", program=33, channel=2), *notes((240, 100, 40), (7, 481, 41), channel=2)]
    tempo = [mido.MetaMessage("set_tempo", tempo=400_000), mido.MetaMessage("set_tempo", tempo=700_000, time=960)]
    data = midi(tempo, SCALE, drums, bass)
    assert as_ours(data) == as_pretty_midi(data)
    assert len(as_ours(data)) == 12
    # the last note ends at tick 3840: two beats at 0.4 s, six at 0.7 s
    assert read_midi(data).seconds == pytest.approx(2 * 0.4 + 6 * 0.7)


@pytest.mark.shared
@pytest.mark.filterwarnings("ignore:Tempo, Key or Time signature change events found on non-zero tracks:RuntimeWarning")
@pytest.mark.parametrize("name", ["freedoom_multitrack.zip", "openmsx_multitrack.zip", "pop909.zip", "nottingham.zip"])
def test_same_notes_as_pretty_midi_in_real_files(name):
    """Beginnings always (pretty_midi loses some drum hits that overlap); ends too, but for a pitch struck again before
    it ends: there the two pair the ends differently, which
    concerns drums (whose ends mean nothing here) and at most one other note in a thousand."""
    different = total = 0
    with zipfile.ZipFile(shared(name)) as archive:
        for member in archive.namelist()[:: len(archive.namelist()) // 3][:3]:
            data = archive.read(member)
            ours, theirs = as_ours(data), as_pretty_midi(data)
            soft_onset_count, also = ({(n[0], n[1], n[2], n[4]) for n in found} for found in (ours, theirs))
            assert also <= soft_onset_count
            assert all(drums for _, drums, *_ in soft_onset_count - also)
            different += sum(not drums for _, drums, *_ in ours - theirs)
            total += len(theirs)
    assert total > 200
    assert different <= total / 1000


@pytest.mark.shared
@pytest.mark.rule("I3", "I4")
def test_edge_cases_give_phrases_or_a_reason():
    """Each of the 66 files; those of which pretty_midi reads notes give them here too, unless the file itself lies."""
    path = shared("midi_edge_cases.zip")
    music = Music(MusicConfig())
    outcomes: dict[str, str] = {}
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if not m.filename.endswith(".json")]
        about = json.loads(archive.read("pretty_midi_0.2.11_outcome.json"))
    assert about
    assert len(members) == 66
    for member in members:
        name = member.filename
        file = SourceFile(name if name.endswith((".mid", ".midi")) else name + ".mid", path, name, member.file_size)
        try:
            phrases = list(music.read(file))
            assert phrases
            outcomes[name] = "phrases"
        except BadData as error:
            outcomes[name] = error.reason
    assert all(outcomes.values())
    assert sum(outcome == "phrases" for outcome in outcomes.values()) >= 34
    with zipfile.ZipFile(path) as archive:
        for name, outcome in outcomes.items():
            if outcome == "holds no notes":
                assert not as_pretty_midi(archive.read(name)), name


@pytest.mark.rule("I3", "I4", "I5")
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "MThd"),
        (b"RIFF\0\0\0\0RMIDdata\0\0\0\0MThd\0\0\0\6\0\1\0\1\1\xe0", "RIFF"),
        (b"MThd" + struct.pack(">IHHH", 6, 1, 65535, 480), "65,535 tracks"),
        (b"MThd" + struct.pack(">IHHH", 6, 1, 3, 480), "promises 3 tracks and holds 0"),
        (b"MThd" + struct.pack(">IHHH", 6, 1, 1, 0), "zero ticks"),
        (b"MThd" + struct.pack(">IHHH", 6, 1, 1, 0xE728), "SMPTE"),
        (b"MThd" + struct.pack(">IHHH", 6, 2, 1, 480), "format 2"),
        (b"MThd" + struct.pack(">IHHH", 6, 1, 1, 480) + b"MTrk\xff\xff\xff\xff\0", "cut off"),
        (midi(SCALE)[:-9], "cut off"),
        (midi([]), "no notes"),
        (midi(notes((0, 480 * 20_000, 60))), "quarter notes long"),
        (midi([mido.MetaMessage("set_tempo", tempo=16_000_000)], notes((0, 480 * 2000, 60))), "hours"),
        (midi(notes(*[(0x0FFFFFFF, 1, 60)] * 20)), "overflow|quarter notes long"),
    ],
)
def test_hostile_files_are_refused_with_a_reason(data, reason):
    with pytest.raises(BadData, match=reason):
        read_midi(data)


@pytest.mark.rule("I3")
def test_endless_lengths_do_not_hang():
    body = b"\xff" * 4096
    data = b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480) + b"MTrk" + struct.pack(">I", len(body)) + body
    with pytest.raises(BadData):
        read_midi(data)


ABC = """X:1
T:Scale
M:4/4
L:1/4
K:C
C D E F|G A B c|c B A G|F E D C|]
"""

XML = """<?xml version="1.0"?>
<score-partwise version="3.1"><part-list><score-part id="P1"><part-name>Flute</part-name></score-part></part-list>
<part id="P1"><measure number="1"><attributes>
<divisions>1</divisions><time><beats>4</beats><beat-type>4</beat-type></time></attributes>
<note><pitch><step>C</step><octave>4</octave></pitch><duration>4</duration><tie type="start"/></note></measure>
<measure number="2"><note><pitch><step>C</step><octave>4</octave></pitch><duration>2</duration><tie type="stop"/></note>
<note><pitch><step>E</step><octave>4</octave></pitch><duration>2</duration></note></measure></part></score-partwise>
"""


def source(folder: Path, name: str, content: bytes) -> SourceFile:
    (folder / name).write_bytes(content)
    (file,) = list_source(folder / name, Music.suffixes).files
    return file


def test_abc(tmp_path):
    (score,) = read_score(source(tmp_path, "tune.abc", ABC.encode()))
    quarters = score.parts[0].notes[:, :2] / score.division
    assert score.parts[0].notes[:, 2].tolist() == [60, 62, 64, 65, 67, 69, 71, 72, 72, 71, 69, 67, 65, 64, 62, 60]
    assert quarters.tolist() == [[n, n + 1] for n in range(16)]


def test_music_xml_joins_ties(tmp_path):
    (score,) = read_score(source(tmp_path, "piece.musicxml", XML.encode()))
    assert (score.parts[0].notes[:, :3] / [score.division, score.division, 1]).tolist() == [[0, 6, 60], [6, 8, 64]]
    assert score.parts[0].name == "Flute"


def test_music_xml_with_entities_is_refused(tmp_path):
    bomb = XML.replace("<score-partwise", '<!DOCTYPE x [<!ENTITY a "aaaa">]><score-partwise', 1)
    with pytest.raises(BadData, match="entities"):
        list(read_score(source(tmp_path, "bomb.xml", bomb.encode())))


def test_json_voices_hold_repeated_steps(tmp_path):
    steps = [[72, 67, 64, 48]] * 4 + [[74, 67, -1, 43]] * 4
    (score,) = read_score(source(tmp_path, "jsb.json", json.dumps({"train": [steps]}).encode()))
    assert [part.notes[:, :3].tolist() for part in score.parts] == [
        [[0, 4, 72], [4, 8, 74]],
        [[0, 8, 67]],
        [[0, 4, 64]],
        [[0, 4, 48], [4, 8, 43]],
    ]


@pytest.mark.parametrize("text", ["{", "[]", "[1]", '{"a": [[["x"]]]}', "[" * 100_000])
def test_json_that_is_no_music(tmp_path, text):
    with pytest.raises(BadData, match="JSON"):
        list(read_score(source(tmp_path, "other.json", text.encode())))


@pytest.mark.shared
def test_jsb_collection():
    path = shared("jsb16thseparated_train_valid.json")
    (file,) = list_source(path, Music.suffixes).files
    scores = list(read_score(file))
    assert len(scores) == 229 + 76
    assert all(len(score.parts) == 4 for score in scores)


def test_times_are_whole_steps():
    from gan_music.rolls import to_steps

    # a sixth of a beat at 480 ticks is step 2 of 12; 39 ticks are 0.975 steps; halves go up
    assert to_steps(np.array([0, 80, 39, 20, 19, 1 << 40]), 480, 12).tolist() == [0, 2, 1, 1, 0, (1 << 40) // 40]
