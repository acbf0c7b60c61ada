"""MIDI files that are damaged, lie or are far too large: read for what they hold or refused with a reason, never lost
in silence, at a bounded cost."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gan.errors import BadData
from gan.source import list_source
from gan.testing.bounded import bounded
from gan_music.config import MusicConfig
from gan_music.modality import Music
from gan_music.reading import read_midi

END = b"\0\xff\x2f\0"
NOTE = b"\0\x90\x3c\x50\x83\x60\x80\x3c\0"
"""Middle C for a quarter of 480 ticks."""
C, ONE = [0, 480, 60, 80], 480


def track(body: bytes, size: int | None = None, kind: bytes = b"MTrk") -> bytes:
    return kind + struct.pack(">I", len(body) if size is None else size) + body


def midi(*tracks: bytes, promised: int | None = None, kind: int = 1) -> bytes:
    count = len(tracks) if promised is None else promised
    return b"MThd" + struct.pack(">IHHH", 6, kind, count, 480) + b"".join(tracks)


READ = {
    "running status": (midi(track(NOTE[:6] + b"\x3c\0\0\x3e\x50\x83\x60\x3e\0" + END)), [[C, [480, 960, 62, 80]]]),
    "running status past a text": (midi(track(b"\0\x90\x3c\x50\0\xff\x01\x01a\x83\x60\x3c\0" + END)), [[C]]),
    "a key signature of 127 sharps": (midi(track(b"\0\xff\x59\x02\x7f\x05" + NOTE + END)), [[C]]),
    "an empty key signature": (midi(track(b"\0\xff\x59\x00" + NOTE + END)), [[C]]),
    "a tempo of zero": (midi(track(b"\0\xff\x51\x03\0\0\0" + NOTE + END)), [[C]]),
    "no end of the track": (midi(track(NOTE)), [[C]]),
    "a chunk of another kind": (midi(track(b"what", kind=b"XFIH"), track(NOTE + END), promised=1), [[C]]),
    "a name that is no text": (midi(track(b"\0\xff\x03\x02\xff\xfe" + NOTE + END)), [[C]]),
    "an end without a beginning": (midi(track(b"\0\x80\x40\x50" + NOTE + END)), [[C]]),
    "more tracks than promised": (midi(track(NOTE + END), track(NOTE + END), promised=1), [[C], [C]]),
    "no tracks promised": (midi(track(NOTE + END), promised=0), [[C]]),
    "two tracks of format 0": (midi(track(NOTE + END), track(NOTE + END), kind=0), [[C], [C]]),
}  # fmt: skip

REFUSED = {
    "running status without a status": (midi(track(b"\0\x3c\x50\x83\x60\x3c\0" + END)), "running status"),
    "a time that never ends": (midi(track(b"\x80" * 4096)), "not a valid MIDI"),
    "a length of nine bytes": (midi(track(NOTE + b"\xff" * 9 + b"\x7f" + NOTE + END)), "not a valid MIDI"),
    "a text longer than the file": (midi(track(NOTE + b"\0\xff\x01\xff\xff\xff\x7fabc" + END)), "EOF"),
    "a text longer than the track": (midi(track(b"\0\xff\x01\x7fabc" + NOTE + END)), "EOF"),
    "a system message longer than the file": (midi(track(NOTE + b"\0\xf0\x8f\xff\xff\x7f123" + END)), "EOF"),
    "a track shorter than its notes": (midi(track(NOTE + END, size=4)), "no notes"),
    "a track longer than the file": (midi(track(NOTE + END, size=1 << 31)), "cut off in track 1"),
    "a header of 4 GB": (b"MThd" + struct.pack(">IHHH", 0xFFFFFFFF, 1, 1, 480) + track(NOTE), "holds 0"),
    "a header of four bytes": (b"MThd" + struct.pack(">IHH", 4, 1, 1) + track(NOTE + END), "length is not 6"),
    "an undefined status": (midi(track(b"\0\xf4\0\xf5" + NOTE + END)), "status byte"),
    "a pitch of 188": (midi(track(b"\0\x90\xbc\x50" + NOTE + END)), "pitch"),
    "bars of no beats": (midi(track(b"\0\xff\x58\x04\0\0\x18\x08" + NOTE + END)), "time signature"),
    "beats of no length": (midi(track(b"\0\xff\x58\x04\x04\xc8\x18\x08" + NOTE + END)), "time signature"),
    "a note that never ends": (midi(track(b"\0\x90\x40\x50" + END)), "no notes"),
    "2,000 tracks": (midi(*[track(END)] * 2000, promised=1), "2,000 tracks"),
}


@pytest.mark.rule("I3", "I4")
@pytest.mark.parametrize(("data", "notes"), READ.values(), ids=READ)
def test_what_is_odd_is_read_whole(data, notes):
    assert [part.notes.tolist() for part in read_midi(data).parts] == notes


@pytest.mark.rule("I3", "I4")
@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_lies_is_refused_with_a_reason(tmp_path, data, reason):
    with pytest.raises(BadData, match=reason):
        read_midi(data)
    (tmp_path / "bad.mid").write_bytes(data)
    (file,) = list_source(tmp_path, Music.suffixes).files
    with pytest.raises(BadData, match=reason):
        list(Music(MusicConfig()).read(file))


READ_FOLDER = """
import sys
from pathlib import Path
from gan.errors import BadData
from gan.source import list_source
from gan_music.config import MusicConfig
from gan_music.modality import Music
for file in list_source(Path(sys.argv[1]), Music.suffixes).files:
    try:
        print(file.name, sum(1 for _ in Music(MusicConfig()).read(file)))
    except BadData as error:
        print(file.name, error.reason)
"""


def vlq(ticks: int) -> bytes:
    found = [ticks & 127]
    while ticks := ticks >> 7:
        found.insert(0, ticks & 127 | 128)
    return bytes(found)


@pytest.mark.rule("I5")
def test_silence_and_slowness_cost_nothing(tmp_path):
    """Ten hours of silence, two million seconds of one beat, the longest time of all: refused before a roll of that
    length is made. An hour of silence is within the bounds, and its empty bars are passed over."""
    last = vlq(0x0FFFFFFF) + NOTE[1:]
    files = {
        "hours.mid": vlq(10 * 3600 * 2 * ONE) + NOTE[1:] + END,
        "slow.mid": b"\0\xff\x51\x03\xff\xff\xff" + (vlq(8 * ONE) + NOTE[1:]) * 500 + END,
        "overflow.mid": last * 20 + END,
        "hour.mid": vlq(3600 * 2 * ONE) + NOTE[1:] * 1 + NOTE * 15 + END,
    }
    for name, body in files.items():
        (tmp_path / name).write_bytes(midi(track(body)))
    said = dict(line.split(" ", 1) for line in bounded(READ_FOLDER, tmp_path, megabytes=400, seconds=30).splitlines())
    assert "quarter notes long" in said["hours.mid"]
    assert "hours" in said["slow.mid"]
    assert "overflow" in said["overflow.mid"]
    assert said["hour.mid"] == "1"


@pytest.mark.rule("D6", "I5")
def test_300_000_events_stay_within_memory_and_time(tmp_path):
    """150,000 notes in 3,750 bars."""
    body = b"".join(
        b"\0\x90" + bytes([40 + n % 40, 80]) + vlq(48) + b"\x80" + bytes([40 + n % 40, 0]) for n in range(150_000)
    )
    (tmp_path / "many.mid").write_bytes(midi(track(body + END)))
    said = bounded(READ_FOLDER, tmp_path, megabytes=500, seconds=60)
    assert int(said.split()[1]) > 500


@pytest.mark.rule("R17")
def test_a_killed_worker_ends_the_making_of_the_data_with_a_reason(tmp_path):
    """The chorales are made by two processes. One is killed: a line that says so, nothing half-made, and the next
    command makes them."""
    environment = {**os.environ, "GAN_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "gan", "data", "fetch", "bach-chorales"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        workers: list[int] = []
        while len(workers) < 2 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
            workers = [pid for pid, words in children(process.pid) if "spawn_main" in words]
        assert workers
        os.kill(workers[0], signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode not in (0, -9)
    (line,) = [line for line in errors.splitlines() if "bach-chorales" in line]
    assert "terminated abruptly" in line
    assert "Traceback" not in errors
    assert list((tmp_path / "data").rglob("*.mid")) == []


def children(parent: int) -> list[tuple[int, str]]:
    """(process, command line) of the children of a process of ours."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append((int(folder.name), (folder / "cmdline").read_text().replace("\0", " ")))
        except OSError:
            continue
    return found


BOMBS = {
    "a bar of millions of quarters": b"X:1\nM:99999999/1\nL:1/4\nK:C\nC2\n",
    "a tiny note length": b"X:1\nM:4/4\nL:1/99999999999\nK:C\nC2\n",
    "a note without end": b"X:1\nM:4/4\nL:1/4\nK:C\nC99999999999999999999\n",
    "an inner meter": b"X:1\nM:4/4\nL:1/4\nK:C\nC [M:9999/1] C\n",
    "a division by zero": b"X:1\nM:4/0\nL:1/4\nK:C\nC\n",
}


@pytest.mark.rule("L6")
@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_scores_that_music21_would_unfold_without_end_are_refused_before_it(content, tmp_path, monkeypatch):
    path = tmp_path / "bomb.abc"
    path.write_bytes(content)
    monkeypatch.setitem(sys.modules, "music21", None)  # importing it fails
    with pytest.raises(BadData, match="digits|meter|note length"):
        list(Music(MusicConfig()).read(list_source(path, (".abc",)).files[0]))
