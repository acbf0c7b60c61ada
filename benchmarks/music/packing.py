"""The speed of reading MIDI files beside pretty_midi, and of packing 900 of them; CPU time.

    python benchmarks/music/packing.py [--before CHECKOUT]

Parsing is bytes to notes. "To phrases" is bytes to boolean piano rolls of four bars with twelve steps a beat: with
pretty_midi, `get_piano_roll` of every instrument on a grid in seconds of the file's first tempo, and, as an alternative
that follows changes of tempo, on its beats. Each round reads all files in every way; a ratio is the
median over rounds. An earlier checkout reads the same files in processes of its own, which alternate with the others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from common import record
from gan.testing import real_file

READ = """
import gc, io, json, statistics, sys, time, warnings, zipfile
import numpy as np, pretty_midi
from gan.errors import BadData
from gan_music.config import MusicConfig
from gan_music.phrases import PhraseCutter
from gan_music.reading import read_midi
warnings.simplefilter("ignore")
STEPS, PHRASE = 12, 4 * 48
def phrases(data):
    try:
        for _ in cutter.phrases(read_midi(data)):
            pass
    except BadData:
        pass
def parsed(data):
    return pretty_midi.PrettyMIDI(io.BytesIO(data))
def cut(rolls):
    for roll in rolls:
        line = np.zeros((-(-roll.shape[1] // PHRASE) * PHRASE, 84), bool)
        line[: roll.shape[1]] = roll[24:108].T > 0
        line.reshape(-1, PHRASE, 84)
def in_seconds(data):
    midi = parsed(data)
    fs = STEPS * midi.get_tempo_changes()[1][0] / 60
    cut([instrument.get_piano_roll(fs) for instrument in midi.instruments])
def on_beats(data):
    midi = parsed(data)
    beats = midi.get_beats()
    times = np.interp(np.arange(0, len(beats) - 1, 1 / STEPS), np.arange(len(beats)), beats)
    cut([instrument.get_piano_roll(100, times=times) for instrument in midi.instruments])
ways = {"parse": read_midi, "phrases": phrases, "pretty_midi parse": parsed,
        "pretty_midi phrases": in_seconds, "pretty_midi phrases on beats": on_beats}
path, tracks, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
cutter = PhraseCutter(MusicConfig(tracks=tracks))
with zipfile.ZipFile(path) as archive:
    names = archive.namelist()
    files = [archive.read(member) for member in names[:: len(names) // 24][:24]]
found = []
for _ in range(rounds + 1):
    seconds = {}
    for way, call in ways.items():
        gc.collect()
        began = time.process_time()
        for data in files:
            call(data)
        seconds[way] = time.process_time() - began
    found.append(seconds)
found = found[1:]
def ratio(theirs, ours):
    return round(statistics.median(s[theirs] / s[ours] for s in found), 1)
print(json.dumps({
    "ms_a_file": {way: round(1000 * min(s[way] for s in found) / len(files), 3) for way in ways},
    "parsing_times_faster": ratio("pretty_midi parse", "parse"),
    "to_phrases_times_faster": ratio("pretty_midi phrases", "phrases"),
    "to_phrases_times_faster_than_on_beats": ratio("pretty_midi phrases on beats", "phrases")}))
"""
PACK = """
import json, resource, sys, tempfile, time, zipfile
from pathlib import Path
from gan.data.packing import open_pack
from gan_music.config import MusicConfig
from gan_music.modality import Music
def used(who):
    found = resource.getrusage(who)
    return found.ru_utime + found.ru_stime
FILES = 900
with tempfile.TemporaryDirectory() as folder:
    with zipfile.ZipFile(sys.argv[1]) as archive:
        contents = [archive.read(member) for member in archive.namelist()]
    midi = Path(folder, "midi")
    midi.mkdir()
    for number in range(FILES):
        (midi / f"{number:04d}.mid").write_bytes(contents[number % len(contents)])
    wall, own, readers = time.perf_counter(), used(resource.RUSAGE_SELF), used(resource.RUSAGE_CHILDREN)
    pack = open_pack(midi, Music, MusicConfig(tracks=sys.argv[2]), "music", cache=Path(folder, "cache"))
    print(json.dumps({"files": FILES, "phrases": pack.count, "skipped": len(pack.skipped),
        "wall_s": round(time.perf_counter() - wall, 2), "cpu_s": round(used(resource.RUSAGE_SELF) - own, 2),
        "readers_cpu_s": round(used(resource.RUSAGE_CHILDREN) - readers, 2)}))
"""
SETS = (("nottingham.zip", "lead-sheet"), ("pop909.zip", "pop909"))


def measured(program: str, checkout: Path | None, *arguments: object) -> dict[str, object]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if checkout is not None:
        environment["PYTHONPATH"] = os.pathsep.join(map(str, (checkout / "core", checkout / "plugins" / "gan-music")))
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout of an earlier commit")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    versions = {"after": None} | ({"before": arguments.before.resolve()} if arguments.before else {})
    result: dict[str, dict[str, object]] = {}
    for name, tracks in SETS:
        result[name], path = {}, real_file("music", name)
        for version, checkout in versions.items():
            reading = measured(READ, checkout, path, tracks, arguments.rounds)
            result[name][version] = {"reading": reading, "packing": measured(PACK, checkout, path, tracks)}
            print(name, version, result[name][version], flush=True)
    what = (
        "24 files of each set: milliseconds of the best round, ratios to pretty_midi; 900 MIDI files to packed phrases"
    )
    record("packing", {"what": what, "sets": result})


if __name__ == "__main__":
    main()
