"""`gan verify` of a folder of 10,000 labelled pictures, without and with the search for the mark of pictures.

    python benchmarks/provenance/verify.py

The pictures have 64 x 64 pixels and are written by `Model.write` with metadata and the signed manifest; the command
runs in a process of its own, and its workers' time is counted. CPU time over wall time tells how many cores it used, on
a machine that others use as well. The search for marks, which takes most of the time, is measured with 1,000.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import record
from gan.generation.model import Model
from gan.provenance.keys import mark_key
from gan.provenance.labels import Labels
from gan_image.modality import ImageConfig, ImageModality

FILES, SEARCHED, SIDE = 10_000, 1_000, 64


def verified(folder: Path, *flags: str) -> dict[str, object]:
    """What one command said, and its time."""
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "gan", "verify", str(folder), "--json", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    wall, after = time.monotonic() - clock, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = json.loads(done.stdout)
    return {
        "files": len(found["files"]),
        "sound": sum(one["verdict"] == "sound" for one in found["files"]),
        "marks found": sum(mark["found"] for one in found["files"] for mark in one["marks"]),
        "exit code": done.returncode,
        "cpu_seconds": round(cpu, 2),
        "files per CPU second": round(len(found["files"]) / cpu, 1),
        "cores used": round(cpu / wall, 2),
        "most memory of one process, MB": after.ru_maxrss // 1024,
    }


def main() -> None:
    started = time.process_time()
    rng = np.random.default_rng(0)
    modality = ImageModality(ImageConfig(resolution=SIDE, channels=3))
    origin = {"model": "image/dcgan", "plugin": "gan-image 0.1.0", "weights": "0" * 64, "recipe": "0" * 64}
    model = Model(torch.nn.Identity(), modality, "image/dcgan", torch.device("cpu"), labels=Labels(origin))
    with tempfile.TemporaryDirectory() as work:
        os.environ["GAN_KEYS"] = f"{work}/keys"
        mark_key()
        for name, count in (("all", FILES), ("searched", SEARCHED)):
            coarse = rng.integers(0, 255, (count, 3, SIDE // 4, SIDE // 4), dtype=np.uint8)
            model.write({"image": coarse.repeat(4, 2).repeat(4, 3)}, Path(work, name), seed=0)
        result = {
            "without marks": verified(Path(work, "all"), "--no-marks"),
            "with the search for marks": verified(Path(work, "searched")),
        }
    print(json.dumps(result, indent=2))
    record("verify", result, started)


if __name__ == "__main__":
    main()
