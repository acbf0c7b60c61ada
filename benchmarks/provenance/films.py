"""The mark of films: false positives and detection after encoding, over all frames of a film.

    python benchmarks/provenance/films.py

Films of 16 frames of 128 x 128 pixels: four clips side by side, of sprites that walk and of shapes that move. Marked:
200 written as MP4 (H.264), of which 100 are attacked; unmarked: 1,000, each searched with a key of its own.
"""

from __future__ import annotations

import io
import tempfile
import time
import zipfile
from pathlib import Path

import av
import numpy as np
from common import ATTACKED, MARKED, UNMARKED, false_positives, key, record, row
from gan.marks import PixelSpectrum
from gan.source import SourceFile
from gan.testing import real_file
from gan_video.data.files import frames, write_animation, write_film
from gan_video.marking import VideoMark
from PIL import Image

FRAMES = 16
RATE = VideoMark.false_positive_rate
rng = np.random.Generator(np.random.Philox(1))


def clips(name: str, limit: int) -> list[np.ndarray]:
    found = []
    with zipfile.ZipFile(real_file("video", name)) as archive:
        for member in [n for n in sorted(archive.namelist()) if n.endswith(".png")][:limit]:
            strip = np.asarray(Image.open(io.BytesIO(archive.read(member))).convert("RGB"))
            clip = strip.reshape(64, -1, 64, 3).transpose(1, 0, 2, 3)
            found.append(np.resize(clip, (FRAMES, 64, 64, 3)))
    return found


def film(pool: list[np.ndarray]) -> np.ndarray:
    a, b, c, d = (pool[n] for n in rng.integers(0, len(pool), 4))
    return np.concatenate([np.concatenate([a, b], 2), np.concatenate([c, d], 2)], 1)


def main() -> None:
    started = time.process_time()
    sprites, shapes = clips("lpc_sprites.zip", 600), clips("mocogan_shapes.zip", 300)
    pools = (sprites, shapes)
    result: dict[str, object] = {}
    found = [PixelSpectrum(key(n), 1.0).detect(list(film(pools[n % 2])), RATE) for n in range(UNMARKED)]
    result["unmarked"] = false_positives(found)
    print(result["unmarked"], flush=True)
    mark = VideoMark(key(0))
    table: dict[str, list] = {}
    errors = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(MARKED):
            plain = film(pools[number % 2])
            marked = [mark.embed(frame) for frame in plain]
            errors.append(np.mean((plain.astype(float) - np.stack(marked)) ** 2))
            pictures = [Image.fromarray(frame) for frame in marked]
            path = Path(folder, "film.mp4")
            write_film(pictures, path, 8.0)
            decoded = [
                np.asarray(p.convert("RGB")) for p in frames(SourceFile(path.name, path, None, path.stat().st_size))
            ]
            table.setdefault("MP4 as written (H.264, crf 18)", []).append(mark._spectrum.detect(decoded, RATE))
            if number >= ATTACKED:
                continue
            lower = Path(folder, "lower.mp4")
            again(decoded, lower, "28")
            gif = Path(folder, "film.gif")
            write_animation(pictures, gif, "gif", 8.0)
            works = {
                "first third cut": decoded[len(decoded) // 3 :],
                "encoded again (crf 28)": read(lower),
                "cropped by 5 x 11 pixels": [frame[5:, 11:] for frame in decoded],
                "GIF of 256 colours": read(gif),
                "one frame": decoded[:1],
            }
            for name, work in works.items():
                table.setdefault(name, []).append(mark._spectrum.detect(work, RATE))
            table.setdefault("another key", []).append(PixelSpectrum(key(99), 1.0).detect(decoded, RATE))
    result["psnr_db"] = float(10 * np.log10(255**2 / np.mean(errors)))
    result["attacks"] = {name: row(detections) for name, detections in table.items()}
    print(result["attacks"])
    record("films", result, started)


def read(path: Path) -> list[np.ndarray]:
    file = SourceFile(path.name, path, None, path.stat().st_size)
    return [np.asarray(picture.convert("RGB")) for picture in frames(file)]


def again(decoded: list[np.ndarray], path: Path, crf: str) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = decoded[0].shape[1], decoded[0].shape[0], "yuv420p"
        stream.options = {"crf": crf, "threads": "1"}
        for frame in decoded:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()
