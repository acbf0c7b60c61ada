"""Packing 900 spoken digits beside a loop of librosa.load: seconds of CPU time and of waiting, interleaved.

    python benchmarks/audio/packing.py --librosa PYTHON     # an interpreter with librosa, which gan-audio does not need

Both decode the 900 WAV files of `fsdd_digits_8k.zip` and resample them from 8 to 16 kHz with soxr; packing also
measures peaks and silence, normalises, cuts, checks, and writes 16-bit arrays with their SHA-256. librosa has loaded
one file before its time begins, so that nothing is compiled in it. Medians of five rounds in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
import zipfile
from pathlib import Path

from gan.data.packing import open_pack
from gan.reporting.manifest import surroundings
from gan.testing import shared_data
from gan_audio.modality import Audio, AudioConfig

ROUNDS = 5
LOOP = """
import sys, time
from pathlib import Path
import librosa
files = sorted(Path(sys.argv[1]).rglob("*.wav"))
librosa.load(files[0], sr=16000)
for line in sys.stdin:
    wall, cpu = time.perf_counter(), time.process_time()
    for file in files:
        librosa.load(file, sr=16000)
    print(time.perf_counter() - wall, time.process_time() - cpu, librosa.__version__, flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--librosa", required=True, help="a Python interpreter with librosa")
    arguments = parser.parse_args()
    path = shared_data("audio", "fsdd_digits_8k.zip")
    if path is None:
        raise SystemExit("needs ../shared/data/audio/fsdd_digits_8k.zip")
    found: dict[str, list[tuple[float, float]]] = {"librosa.load": [], "packing": []}
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        with zipfile.ZipFile(path) as archive:
            archive.extractall(data)
        loop = subprocess.Popen(
            [arguments.librosa, "-c", LOOP, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert loop.stdin is not None
        assert loop.stdout is not None
        version = ""
        for _ in range(ROUNDS):
            loop.stdin.write("again\n")
            loop.stdin.flush()
            wall, cpu, version = loop.stdout.readline().split()
            found["librosa.load"].append((float(wall), float(cpu)))
            started, before = time.perf_counter(), _cpu()
            pack = open_pack(data, Audio, AudioConfig(seconds=0.512), "audio", cache=Path(temporary) / "cache")
            found["packing"].append((time.perf_counter() - started, _cpu() - before))
            shutil.rmtree(Path(temporary) / "cache")
        loop.stdin.close()
        loop.wait(timeout=60)
    wall, cpu = (
        {name: sorted(pair[i] for pair in pairs)[ROUNDS // 2] for name, pairs in found.items()} for i in (0, 1)
    )
    result = {
        "files": 900,
        "samples": len(pack),
        "seconds": wall,
        "cpu_seconds": cpu,
        "ratio": wall["librosa.load"] / wall["packing"],
        "ratio_of_cpu_time": cpu["librosa.load"] / cpu["packing"],
        "librosa": version,
        "all": found,
        "load": os.getloadavg(),
        **surroundings("soundfile", "soxr"),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: result[name] for name in ("seconds", "cpu_seconds", "ratio", "ratio_of_cpu_time")}))


def _cpu() -> float:
    """CPU time of this process and of those that it has waited for."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
