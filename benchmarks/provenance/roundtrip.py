"""Metadata of every format through an independent reader, attacks on manifests, and the time of `gan verify`.

    python benchmarks/provenance/roundtrip.py

Files are made with Pillow, soundfile, mido, PyAV and trimesh, labelled by the core, and read again by the same library
and, where it is installed, by exiftool. Attacks on manifests are those of the tests; what is said of each is recorded.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import record
from gan.provenance.containers import embed, extract
from gan.provenance.record import SOFTWARE, canonical, record_of
from gan.provenance.verification import Search, verify
from PIL import Image

TESTS = Path(__file__).parents[2] / "tests" / "provenance"
sys.path.insert(0, str(TESTS))
FILES = 500
UNREAD = (".webp", ".glb", ".ply", ".obj")
"""Suffixes of formats whose library does not give the record as a text."""


def formats(folder: Path) -> dict[str, dict[str, object]]:
    from test_containers import FILES as MADE
    from test_containers import content_of

    text = canonical(record_of({"model": "image/dcgan", "weights": "0" * 64}, {"seed": 1, "index": 2}))
    found: dict[str, dict[str, object]] = {}
    for name, (suffix, make) in MADE.items():
        plain = make()
        labelled = embed(plain, suffix, text, SOFTWARE)
        assert labelled is not None
        before, _ = content_of(suffix, plain)
        after, theirs = content_of(suffix, labelled)
        same = len(before) == len(after) and all(np.array_equal(a, b) for a, b in zip(before, after))
        path = folder / f"a{suffix}"
        path.write_bytes(labelled)
        found[name] = {
            "bytes": len(labelled) - len(plain),
            "gan reads the record": extract(labelled, suffix) == text,
            "content unchanged for its library": same,
            "its library reads the record": "see note" if suffix in UNREAD else theirs == text,
        }
        if shutil.which("exiftool"):
            done = subprocess.run(
                ["exiftool", "-j", "-a", "-G", str(path)], capture_output=True, text=True, timeout=60, check=False
            )
            tags = json.loads(done.stdout or "[{}]")[0]
            found[name]["exiftool"] = sorted(tag for tag, value in tags.items() if "trainedAlgorithmic" in str(value))
    return found


def attacks(folder: Path) -> dict[str, str]:
    from gan.provenance import keys
    from test_folder import written

    os.environ["GAN_KEYS"] = str(folder / "keys")
    own = keys.signing_key().public
    search = Search(frozenset({own}), own)
    said = {}

    def tell(name: str, change) -> None:
        here = folder / name.replace(" ", "-")
        written(here / "out", seed=1)
        written(here / "other", seed=2)
        change(here)
        report = verify(here / "out", search)
        wrong = [one for one in report.files if one.verdict != "sound"] or report.files
        manifest = "; ".join(report.manifests.values())
        said[name] = f"{wrong[0].name}: {wrong[0].reason} | {manifest} | exit code {report.exit_code}"

    def flip(here: Path) -> None:
        path = here / "out" / "sample-0000.png"
        content = bytearray(path.read_bytes())
        content[-20] ^= 1
        path.write_bytes(content)

    def climb(here: Path) -> None:
        path = here / "out" / "provenance.json"
        value = json.loads(path.read_text())
        value["files"]["../../etc/passwd"] = value["files"]["sample-0000.png"]
        path.write_text(canonical(value))

    def other_key(here: Path) -> None:
        os.environ["GAN_KEYS"] = str(folder / "thief")
        shutil.rmtree(here / "out")
        written(here / "out", seed=1)
        os.environ["GAN_KEYS"] = str(folder / "keys")

    tell("nothing", lambda here: None)
    tell("one flipped byte", flip)
    tell("a swapped file", lambda here: shutil.copy(here / "other/sample-0000.png", here / "out/sample-0000.png"))
    tell("two files exchanged", lambda here: shutil.copy(here / "out/sample-0001.png", here / "out/sample-0000.png"))
    tell("another key", other_key)
    tell("a manifest of another folder", lambda here: shutil.copy(here / "other/provenance.json", here / "out"))
    tell("a manifest of a gigabyte", lambda here: os.truncate(here / "out/provenance.json", 1 << 30))
    tell("a path that climbs out", climb)
    tell("a file added", lambda here: shutil.copy(here / "other/sample-0000.png", here / "out/guest.png"))
    tell("a file removed", lambda here: (here / "out/sample-0000.png").unlink())
    return said


def speed(folder: Path) -> dict[str, float]:
    """CPU and wall time of `gan verify` on many files, without and with the search for a mark."""
    from gan.provenance.keys import own_keys
    from gan_image.marking import ImageMark

    folder.mkdir()
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for number in range(FILES):
        picture.putpixel((0, 0), (number % 256, number // 256, 0))
        picture.save(folder / f"{number:05d}.png", compress_level=1)
    found = {"files": float(FILES)}
    own = own_keys()[0]
    for name, marks in (("without marks", {}), ("with the mark of pictures", {"pixels": ImageMark(bytes(32))})):
        clock = time.monotonic()
        report = verify(folder, Search(frozenset({own}), own, marks))
        found[f"files per second, {name}"] = len(report.files) / (time.monotonic() - clock)
    return found


def main() -> None:
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        result = {
            "formats": formats(Path(folder)),
            "note": "Pillow gives WebP's XMP as a packet, in which the test finds IPTC's term; trimesh reads GLB, PLY "
            "and OBJ without their comments, as before",
            "attacks on manifests": attacks(Path(folder)),
            "verify": speed(Path(folder, "many")),
        }
    record("roundtrip", result, started)


if __name__ == "__main__":
    main()
