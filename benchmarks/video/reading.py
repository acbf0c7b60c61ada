"""Reading films: frames per CPU second beside a bare loop of PyAV, and the memory of packing a film of one hour.

    python benchmarks/video/reading.py

The film is drawn: noise that drifts behind a moving disc, 640 x 360 pixels, 25 frames a second, H.264. The bare loop
decodes it on one thread and converts each frame to RGB, of 114 x 64 pixels or in its own size. Ours gives clips of 16
frames of 64 x 64 pixels, scaled and cropped. All are interleaved in one process, in CPU time. A further figure is for
every fourth frame, of which the bare loops convert all. The film of one hour repeats ten seconds of 320 x 180 pixels,
copied without encoding; it is packed whole (``modality.long=windows``) in a process of its own, whose largest resident
set, with those of the processes that it starts to read files, stands beside that of importing the same libraries.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from gan.reporting.manifest import surroundings
from gan.source import SourceFile
from gan_video.data.files import write_film
from gan_video.modality import VideoConfig, VideoModality
from PIL import Image, ImageDraw

HERE = Path(__file__).parent
RATE = 25


def drawn(path: Path, size: tuple[int, int], frames: int) -> Path:
    """A film of noise that drifts, and a disc that moves before it."""
    width, height = size
    ground = np.random.default_rng(0).integers(0, 256, (height // 4, width // 2, 3), np.uint8)
    wide = Image.fromarray(ground).resize((2 * width, height), Image.Resampling.BICUBIC)

    def pictures():
        for number in range(frames):
            picture = wide.crop((2 * number % width, 0, 2 * number % width + width, height))
            x = 5 * number % width
            ImageDraw.Draw(picture).ellipse((x, height // 3, x + height // 3, 2 * height // 3), (230, 40, 40))
            yield picture

    write_film(pictures(), path, RATE)
    return path


def repeated(path: Path, times: int) -> Path:
    """The same film `times` times behind itself, without decoding it."""
    longer = path.with_name(f"long-{path.name}")
    with av.open(str(longer), "w") as copy:
        stream, shift = None, 0
        for _ in range(times):
            last = 0
            with av.open(str(path)) as film:
                if stream is None:
                    stream = copy.add_stream_from_template(film.streams.video[0])
                for packet in film.demux(video=0):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    last = max(last, packet.pts + packet.duration)
                    packet.stream = stream
                    copy.mux(packet)
            shift = last
    return longer


def bare(path: Path, **size: int) -> int:
    """Decode on one thread, convert each frame to RGB."""
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        stream.thread_type = "NONE"
        return sum(
            frame.to_ndarray(format="rgb24", interpolation="AREA", **size) is not None for frame in film.decode(stream)
        )


def ours(path: Path, stride: int) -> int:
    """Clips of the modality; the frames that they span."""
    modality = VideoModality(VideoConfig(resolution=64, frames=16, stride=stride), {})
    file = SourceFile(path.name, path, None, path.stat().st_size)
    return sum(stride * len(sample["video"]) for sample in modality.read(file))


def per_second(read: Callable[[], int]) -> float:
    start = time.process_time()
    return read() / (time.process_time() - start)


def largest_memory(code: str, *arguments: str) -> tuple[float, float]:
    """(MB, CPU seconds) of a Python program and of the processes that it starts."""
    outer = (
        "import json, resource, subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL)\n"
        "found = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([found.ru_maxrss / 1024, found.ru_utime + found.ru_stime]))\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", outer, code, *arguments]
    memory, seconds = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    )
    return memory, seconds


IMPORTS = """
import sys
from pathlib import Path
from gan.data.packing import open_pack
from gan_video.modality import VideoConfig, VideoModality
import av, torch
"""
PACK = """
config = VideoConfig(resolution=64, frames=16, long="windows")
pack = open_pack(Path(sys.argv[1]), VideoModality, config, "video", cache=Path(sys.argv[2]))
assert (pack.folder / "video.bin").stat().st_size == int(sys.argv[3]) * 3 * 64 * 64
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hours", type=float, default=1.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        film = drawn(folder / "film.mp4", (640, 360), 320)
        readers: dict[str, Callable[[], int]] = {
            "bare, own size": lambda: bare(film),
            "bare, scaled": lambda: bare(film, width=114, height=64),
            "every frame": lambda: ours(film, 1),
            "every fourth frame": lambda: ours(film, 4),
        }
        rows: dict[str, list[float]] = {name: [] for name in readers}
        for number in range(arguments.rounds):
            for name in list(readers)[:: 1 if number % 2 else -1]:
                rows[name].append(per_second(readers[name]))
        seconds = drawn(folder / "seconds.mp4", (320, 180), 10 * RATE)
        (folder / "films").mkdir()
        hour = repeated(seconds, round(360 * arguments.hours))
        hour.rename(folder / "films" / "hour.mp4")
        frames = round(360 * arguments.hours) * 10 * RATE
        plain, _ = largest_memory(IMPORTS)
        memory, used = largest_memory(IMPORTS + PACK, str(folder / "films"), str(folder / "cache"), str(frames))
        result = {
            "frames_per_cpu_second": {name: statistics.median(found) for name, found in rows.items()},
            **{
                f"{name}, over {other}": statistics.median(o / b for o, b in zip(rows[name], rows[other]))
                for name in ("every frame", "every fourth frame")
                for other in ("bare, scaled", "bare, own size")
            },
            "rounds": arguments.rounds,
            "film of hours": arguments.hours,
            "its frames": frames,
            "its pack, MB": frames * 3 * 64 * 64 / 1e6,
            "largest resident memory while packing it, MB": memory,
            "of importing the libraries, MB": plain,
            "cpu_seconds": used,
            "machine": surroundings(),
        }
    (HERE / "reading.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
