"""The mark of velocities: found after a cut and a transposition, with no other key, and never in flat velocities."""

from __future__ import annotations

import io

import mido
import numpy as np
import pytest
from gan.errors import BadData
from gan.source import SourceFile
from gan_music.config import MusicConfig
from gan_music.marking import VelocityMark
from gan_music.modality import Music

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


def phrase():
    rng = np.random.default_rng(0)
    return {"roll": rng.random((5, 4, 48, 84)) < 0.02}


def source(path):
    return SourceFile(path.name, path, None, path.stat().st_size)


def saved(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return source(path)


def shifted(content, semitones, drop):
    """The file transposed, without the first `drop` ticks of every track."""
    file = mido.MidiFile(file=io.BytesIO(content))
    for track in file.tracks:
        now, kept, last = 0, [], drop
        for message in track:
            now += message.time
            if message.type in ("note_on", "note_off"):
                if now < drop:
                    continue
                moved = message.note + (semitones if message.channel != 9 else 0)
                kept.append(message.copy(note=moved, time=now - last))
                last = now
        track[:] = kept
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def test_a_marked_phrase_is_found_after_a_cut_and_a_transposition(tmp_path):
    music, mark = Music(MusicConfig()), VelocityMark(KEY)
    plain = music.write(phrase(), tmp_path / "plain")
    music.mark = mark
    marked = music.write(phrase(), tmp_path / "marked")
    assert {m.velocity for t in mido.MidiFile(marked).tracks for m in t if m.type == "note_on" and m.velocity} == {
        94,
        98,
    }
    assert mark.detect(source(marked)).found
    changed = saved(tmp_path, "changed.mid", shifted(marked.read_bytes(), 3, 1920))
    assert mark.detect(changed).found
    assert not VelocityMark(OTHER).detect(source(marked)).found
    assert "one velocity" in mark.detect(source(plain)).note


def test_too_few_notes_and_files_that_are_no_midi(tmp_path):
    roll = np.zeros((5, 4, 48, 84), bool)
    roll[1, 0, :4, 40] = True
    path = Music(MusicConfig()).write({"roll": roll}, tmp_path / "a")
    assert "too short: 1 notes" in VelocityMark(KEY).detect(source(path)).note
    with pytest.raises(BadData, match=r"x\.mid"):
        VelocityMark(KEY).detect(saved(tmp_path, "x.mid", b"no midi"))
