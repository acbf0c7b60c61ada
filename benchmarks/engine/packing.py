"""Packing and checking 100,000 pictures, opening the pack again, reading it, and packs of a million rows.

    python benchmarks/engine/packing.py [--before CHECKOUT] [--part pack|compare|read|rows] [--work DIR]

The pictures are PNG files of 64 x 64 pixels in one archive, 1,000 different ones under different names. Each figure
is from a process of its own. ``compare`` packs and checks fewer pictures with an earlier checkout as well, in turns.
Each part updates its figures in the record, so that the parts, of some minutes each, can be run one by one; archive
and packs stay in the folder of ``--work``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
from gan.reporting.manifest import surroundings
from PIL import Image

HERE = Path(__file__).parent
PACK = """
import json, resource, sys, time
from pathlib import Path
from gan.data.packing import open_pack
from gan_image.modality import ImageModality
def used(who):
    found = resource.getrusage(who)
    return found.ru_utime + found.ru_stime
if __name__ == "__main__":
    config = ImageModality.Config(resolution=64, channels=3)
    wall, cpu = time.perf_counter(), used(resource.RUSAGE_SELF) + used(resource.RUSAGE_CHILDREN)
    pack = open_pack(Path(sys.argv[1]), ImageModality, config, "image", cache=Path(sys.argv[2]))
    found = {
        "samples": len(pack),
        "wall_s": round(time.perf_counter() - wall, 3),
        "cpu_s": round(used(resource.RUSAGE_SELF) + used(resource.RUSAGE_CHILDREN) - cpu, 3),
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "worker_memory_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10,
    }
    print(json.dumps(found))
"""
CHECK = """
import json, resource, sys
from pathlib import Path
from gan.data.check import check_source
from gan_image.modality import ImageModality
def used(who):
    found = resource.getrusage(who)
    return found.ru_utime + found.ru_stime
if __name__ == "__main__":
    cpu = used(resource.RUSAGE_SELF) + used(resource.RUSAGE_CHILDREN)
    found = check_source(Path(sys.argv[1]), ImageModality, ImageModality.Config(resolution=64, channels=3))
    print(json.dumps({"samples": found.samples,
        "cpu_s": round(used(resource.RUSAGE_SELF) + used(resource.RUSAGE_CHILDREN) - cpu, 3)}))
"""
READ = """
import json, sys, time
from pathlib import Path
from gan.data.order import Order
from gan.data.pack import load_pack
packs = Path(sys.argv[2]) / "packs"
pack = load_pack(next(path for path in packs.iterdir() if (path / "pack.json").is_file()))
order, batch, times = Order(pack.sizes, 0), 64, []
pack.take(order.indices(0, len(pack)))
for block in range(10):
    began = time.process_time()
    for step in range(100):
        pack.take(order.indices((block * 100 + step) * batch, batch))
    times.append((time.process_time() - began) / (100 * batch))
print(json.dumps({"pictures_a_cpu_second": round(1 / sorted(times)[2])}))
"""
ROWS = """
import json, resource, sys, tempfile, time
from pathlib import Path
import numpy as np
from gan.data.order import Order
from gan.data.packing import open_pack
from gan.testing.points import Points
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
if __name__ == "__main__":
    source, cache = Path(sys.argv[1]), Path(sys.argv[2])
    config = Points.Config(extent=100)
    start = peak()
    began = time.process_time()
    pack = open_pack(source, Points, config, "points", cache=cache)
    opened = time.process_time() - began
    memory = peak() - start
    order = Order(pack.sizes, 0)
    began = time.process_time()
    order.indices(0, 64)
    first = time.process_time() - began
    began = time.process_time()
    for step in range(2000):
        pack.take(order.indices(step * 64, 64))
    print(json.dumps({"rows": len(pack), "open_ms": round(1000 * opened, 2), "open_memory_mb": round(memory, 1),
        "first_order_ms": round(1000 * first, 2), "batch_us": round(500 * (time.process_time() - began), 1)}))
"""


def measured(program: str, checkout: Path | None, *arguments: Path) -> dict[str, object]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if checkout is not None:
        environment["PYTHONPATH"] = os.pathsep.join(map(str, (checkout / "core", checkout / "plugins" / "gan-image")))
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def pictures(path: Path, count: int) -> None:
    numbers, files = np.random.default_rng(0), []
    for _ in range(1000):
        pixels = Image.fromarray(numbers.integers(0, 256, (8, 8, 3), np.uint8)).resize(
            (64, 64), Image.Resampling.BICUBIC
        )
        file = io.BytesIO()
        pixels.save(file, "PNG")
        files.append(file.getvalue())
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number // 1000:03}/{number:06}.png", files[number % 1000])


def points(folder: Path, rows: int) -> Path:
    folder.mkdir(exist_ok=True)
    text = "".join(f"{x:.3f},{y:.3f}\n" for x, y in np.random.default_rng(0).uniform(-50, 50, (10_000, 2)))
    for number in range(rows // 10_000):
        (folder / f"{number:04}.csv").write_text(text)
    return folder


def packed(work: Path, archive: Path) -> dict[str, object]:
    shutil.rmtree(work / "cache", ignore_errors=True)
    found: dict[str, object] = {"packing": measured(PACK, None, archive, work / "cache")}
    again = [measured(PACK, None, archive, work / "cache") for _ in range(3)]
    found["reopening"] = min(again, key=lambda one: float(str(one["cpu_s"])))
    return found


def compared(work: Path, before: Path | None, count: int, turns: int) -> dict[str, object]:
    archive = work / "fewer.zip"
    pictures(archive, count)
    versions = {"after": None} | ({"before": before.resolve()} if before else {})
    found: dict[str, object] = {"pictures": count}
    for program, what in ((PACK, "packing"), (CHECK, "checking")):
        runs: dict[str, list[float]] = {version: [] for version in versions}
        for turn in range(turns):
            for version, checkout in versions.items():
                cache = work / f"cache-{version}-{turn}"
                shutil.rmtree(cache, ignore_errors=True)
                one = measured(program, checkout, archive, cache)
                runs[version].append(float(str(one["cpu_s"])))
        found[f"{what}, CPU s"] = runs
        if before:
            found[f"{what}, after / before"] = round(
                statistics.median(runs["after"]) / statistics.median(runs["before"]), 2
            )
    return found


def flat(work: Path) -> list[dict[str, object]]:
    found = []
    for rows in (10_000, 100_000, 1_000_000):
        source = points(work / f"rows-{rows}", rows)
        measured(ROWS, None, source, work / "cache-rows")
        found.append(measured(ROWS, None, source, work / "cache-rows"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout of an earlier commit")
    parser.add_argument("--part", choices=["pack", "compare", "read", "rows"], help="default: all")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--fewer", type=int, default=3_000, help="pictures of the comparison")
    parser.add_argument("--turns", type=int, default=3, help="of the comparison")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/packing"))
    parser.add_argument("--out", type=Path, default=HERE / "packing.json")
    arguments = parser.parse_args()
    work, archive = arguments.work, arguments.work / f"pictures-{arguments.count}.zip"
    work.mkdir(parents=True, exist_ok=True)
    if not archive.exists():
        pictures(archive, arguments.count)
    parts = {
        "pack": lambda: packed(work, archive),
        "read": lambda: measured(READ, None, archive, work / "cache"),
        "compare": lambda: compared(work, arguments.before, arguments.fewer, arguments.turns),
        "rows": lambda: flat(work),
    }
    for part, call in parts.items():
        if arguments.part not in (None, part):
            continue
        found = call()
        known = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
        result = {
            "what": f"{arguments.count:,} PNG files of 64 x 64 pixels in an archive; CPU times include the readers"
        }
        result |= {name: known[name] for name in parts if name in known} | {part: found}
        arguments.out.write_text(json.dumps({**result, **surroundings("gan-image")}, indent=1) + "\n")
        print(part, json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
