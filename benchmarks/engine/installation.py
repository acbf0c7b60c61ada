"""What an installation costs: time and size of the runtime alone, as ``make demo`` installs it, and with all tools.

    python benchmarks/engine/installation.py [--wheels FOLDER] [--out FILE]

All wheels, those of this checkout included, are first put into a folder (not measured, as a network is). Then pip
installs from it into new environments, in turn: the runtime (the core and the plugins of this repository with what
they require), and the same with ``gan-core[dev]``, which every installation brought before. Measured are seconds of
CPU and wall time of pip, the first ``gan --help`` after it, and the bytes on the disk.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from gan.reporting.manifest import surroundings

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
OURS = ["gan-core", *(path.name for path in PLUGINS)]
TARGETS = {"runtime": OURS, "with development tools": ["gan-core[dev]", *OURS[1:]]}


def measured(*command: object) -> tuple[float, float]:
    """CPU and wall seconds of a command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - began


def gather(folder: Path) -> None:
    """Put wheels of everything that the larger installation needs into `folder`, unless they are there."""
    if any(folder.glob("torch-*.whl")) and any(folder.glob("gan_core-*.whl")):
        return
    pip = [sys.executable, "-m", "pip", "--quiet"]
    measured(*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT, *PLUGINS)
    measured(
        *pip, "wheel", "-c", ROOT / "constraints.txt", "--find-links", folder, "--wheel-dir", folder,
        *TARGETS["with development tools"],
    )  # fmt: skip


def installed(wheels: Path, targets: list[str]) -> dict[str, float]:
    """Install `targets` into a new environment; what it cost and takes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder, with_pip=True)
        python = folder / "bin" / "python"
        before = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
        computing, wall = measured(
            python, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", wheels, *targets
        )
        size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) - before
        return {
            "distributions": len(list(folder.glob("lib/python*/site-packages/*.dist-info"))) - 2,  # pip, setuptools
            "megabytes": round(size / 1e6),
            "cpu_seconds": round(computing, 1),
            "wall_seconds": round(wall, 1),
            "first_help_cpu_seconds": round(measured(folder / "bin" / "gan", "--help")[0], 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, help="a folder that keeps the wheels")
    parser.add_argument("--out", type=Path, default=HERE / "installation.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        wheels = arguments.wheels or Path(name)
        wheels.mkdir(parents=True, exist_ok=True)
        gather(wheels)
        sizes = sum(path.stat().st_size for path in wheels.glob("*.whl"))
        costs = {title: installed(wheels, targets) for title, targets in TARGETS.items()}
        ours = {path.name.partition("-")[0]: path.stat().st_size for path in sorted(wheels.glob("gan_*.whl"))}
    found = {**surroundings(), "wheels_megabytes": round(sizes / 1e6), "our_wheels_bytes": ours, "installations": costs}
    arguments.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
