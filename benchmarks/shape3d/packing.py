"""CPU time of packing shapes: 296 MagicaVoxel files with and without colours, and pictures of the furniture.

    python benchmarks/shape3d/packing.py

One thread, readers included, in a cache of its own. The archive holds 296 models of at most 48 voxels a side.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

from gan.api import recipe as named_recipe
from gan.build import open_data, resolve
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.reporting.reporter import Reporter
from gan.testing import real_file

HERE = Path(__file__).parent
CASES = {
    "296 VOX at 32 voxels": ("3dgan-furniture", ["modality.resolution=32", "modality.labels=false"]),
    "296 VOX at 32 voxels with colours": (
        "3dgan-furniture",
        ["modality.resolution=32", "modality.labels=false", "modality.colours=true"],
    ),
    "12,800 pictures of furniture at 32 pixels": ("eg3d-furniture", []),
}
"""What is packed: recipe and settings."""


def spent() -> float:
    """CPU seconds of this process and of its readers that have ended."""
    of_readers = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + of_readers.ru_utime + of_readers.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    plugins, result = Plugins.installed(), {}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["GAN_CACHE"] = cache
        for name, (recipe, settings) in CASES.items():
            source = str(real_file("shape3d", "mmmm_vox.zip")) if "VOX" in name else "furniture"
            resolved = resolve(named_recipe("3d", named=recipe, settings=[*settings, f"data.source={source}"]), plugins)
            start, begin = spent(), time.perf_counter()
            pack = open_data(resolved, plugins, Reporter())
            result[name] = {
                "cpu_seconds": spent() - start,
                "seconds": time.perf_counter() - begin,
                "samples": len(pack),
            }
            print(name, result[name], flush=True)
    result["machine"] = surroundings("trimesh", "scikit-image")
    (HERE / "packing.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
