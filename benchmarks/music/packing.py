"""Measures the speed of packing: 900 MIDI files packed by the core in CPU time, and parsing beside pretty_midi."""

from __future__ import annotations

import io
import resource
import tempfile
import time
import zipfile
from pathlib import Path

import pretty_midi
from common import record
from gan.data.packing import open_pack
from gan.testing import real_file
from gan_music.config import MusicConfig
from gan_music.modality import Music
from gan_music.reading import read_midi

FILES = 900


def main() -> None:
    result = {}
    for name, tracks in (("nottingham.zip", "lead-sheet"), ("pop909.zip", "pop909")):
        path = real_file("music", name)
        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(path) as archive:
                contents = [archive.read(member) for member in archive.namelist()]
            midi = Path(folder, "midi")
            midi.mkdir()
            for number in range(FILES):
                (midi / f"{number:04d}.mid").write_bytes(contents[number % len(contents)])
            begin = resource.getrusage(resource.RUSAGE_SELF)
            wall = time.perf_counter()
            pack = open_pack(midi, Music, MusicConfig(tracks=tracks), "music", cache=Path(folder, "cache"))
            wall = time.perf_counter() - wall
            end = resource.getrusage(resource.RUSAGE_SELF)
            cpu = end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime
        few = contents[:: len(contents) // 12][:12]
        ours = measured(read_midi, few)
        theirs = measured(lambda data: pretty_midi.PrettyMIDI(io.BytesIO(data)), few)
        result[name] = {
            "files": FILES,
            "phrases": pack.count,
            "skipped": len(pack.skipped),
            "cpu_seconds": round(cpu, 2),
            "wall_seconds": round(wall, 2),
            "parsing_times_faster_than_pretty_midi": round(theirs / ours, 1),
        }
        print(name, result[name])
    record("packing", {"what": "900 MIDI files to packed phrases", "sets": result})


def measured(read, contents: list[bytes]) -> float:
    for data in contents:
        read(data)
    begin = time.process_time()
    for data in contents:
        read(data)
    return time.process_time() - begin


if __name__ == "__main__":
    main()
