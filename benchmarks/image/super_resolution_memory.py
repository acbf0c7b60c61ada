"""Memory and time for enlarging a photograph of 4,000 x 3,000 pixels with `gan translate`, in a process of its own.

    python benchmarks/image/super_resolution_memory.py RUN [--name x2]

RUN is a run of `esrgan`: that of super_resolution.py, or another one. The photograph is scikit-learn's ``china.jpg``,
enlarged and with some noise, as JPEG. Memory is the largest resident set of the command's process and of the processes
that it starts to read files (Linux counts it in kilobytes); what importing torch alone takes is stated beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from gan.reporting.manifest import surroundings
from PIL import Image
from sklearn.datasets import load_sample_image

HERE = Path(__file__).parent
SIZE = (4000, 3000)


def largest_memory(command: list[str]) -> tuple[float, float]:
    """(MB, CPU seconds) of a command, in a process that only waits for it."""
    code = (
        "import json, resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "found = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([found.ru_maxrss / 1024, found.ru_utime + found.ru_stime]))\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *command], check=True, capture_output=True, text=True, env=environment
    )
    memory, seconds = json.loads(done.stdout)
    return memory, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", default="x2", help="of the record")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "in").mkdir()
        large = np.asarray(Image.fromarray(load_sample_image("china.jpg")).resize(SIZE, Image.Resampling.BICUBIC))
        noise = np.random.default_rng(0).integers(-4, 5, large.shape, np.int8)
        path = folder / "in" / "photograph.jpg"
        Image.fromarray(np.clip(large + noise.astype(np.int16), 0, 255).astype(np.uint8)).save(path, quality=92)
        del large, noise
        plain, _ = largest_memory([sys.executable, "-c", "import torch, numpy, PIL.Image"])
        start = time.monotonic()
        command = [sys.executable, "-m", "gan", "translate", str(arguments.run), "--input", str(folder / "in")]
        memory, seconds = largest_memory([*command, "--out", str(folder / "out"), "--device", "cpu"])
        Image.MAX_IMAGE_PIXELS = None
        with Image.open(folder / "out" / "photograph.png") as made:
            size = made.size
        record = {
            "photograph": {"size": SIZE, "jpeg_mb": path.stat().st_size / 1e6},
            "enlarged": {"size": size, "png_mb": (folder / "out" / "photograph.png").stat().st_size / 1e6},
            "peak_memory_mb": memory,
            "of_these_importing_torch_mb": plain,
            "cpu_seconds": seconds,
            "wall_seconds": time.monotonic() - start,
            "machine": surroundings(),
        }
        (HERE / f"super_resolution_memory_{arguments.name}.json").write_text(json.dumps(record, indent=1) + "\n")
        record.pop("machine")
        print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
