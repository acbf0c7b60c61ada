"""What the first minute costs: the size of an installation, the start of light commands, and `gan demo`.

    python benchmarks/engine/first_minute.py [--out FILE]

Sizes are those of the files of the installed distributions that the core and the plugins of this repository require,
without and with the tools of development (``gan-core[dev]``). Times are CPU seconds on one thread, the median of five;
`gan demo` is run once and its wall time is given as well, with the number of artefacts.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from packaging.requirements import Requirement

HERE = Path(__file__).parent
MAIN = "import sys; from gan.cli import main; main(sys.argv[1:])"
OURS = ("gan-core", "gan-3d", "gan-audio", "gan-image", "gan-music", "gan-text", "gan-video", "gan-zoo")
COMPLETION = {"_GAN_COMPLETE": "bash_complete", "COMP_LINE": "gan run image --set training.mi"}


def required(names: tuple[str, ...], extras: set[str]) -> set[str]:
    """The installed distributions that `names` need, themselves included; `extras` of ours."""
    found: set[str] = set()
    waiting = [(name, extras) for name in names]
    while waiting:
        name, wanted = waiting.pop()
        key = name.lower().replace("_", "-")
        if key in found and not wanted:
            continue
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(key)
        for text in needs:
            need = Requirement(text)
            applies = need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ({""} | wanted))
            if applies and need.name.lower().replace("_", "-") not in found:
                waiting.append((need.name, set(need.extras)))
    return found


def size(names: set[str]) -> int:
    """Bytes of the files of distributions."""
    files = {file.locate() for name in names for file in metadata.files(name) or ()}
    return sum(path.stat().st_size for path in files if path.is_file())


def cpu(words: list[str], more: dict[str, str] | None = None, cwd: str | None = None) -> tuple[float, float]:
    """CPU and wall seconds of a command."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(more or {})}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *words], env=environment, cwd=cwd, capture_output=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "first_minute.json")
    arguments = parser.parse_args()
    sizes = {}
    for name, extras in (("runtime", set()), ("with development tools", {"dev"})):
        names = required(OURS, extras)
        sizes[name] = {"distributions": len(names), "megabytes": round(size(names) / 1e6)}
    commands: dict[str, tuple[list[str], dict[str, str]]] = {
        "gan --help": (["--help"], {}),
        "gan plugins": (["plugins"], {}),
        "completion of a key": ([], COMPLETION),
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(5):
        for name, (words, more) in commands.items():
            seconds[name].append(cpu(words, more)[0])
    found = {
        **surroundings(),
        "sizes": sizes,
        "cpu_seconds": {name: round(statistics.median(values), 3) for name, values in seconds.items()},
    }
    models = [entry.entry.name for entry in Plugins.installed().entries("gan_models")]
    if models:
        with tempfile.TemporaryDirectory() as folder:
            computing, wall = cpu(["demo"], cwd=folder)
            artefacts = len(list(Path(folder, "demo").glob("*/sample-*")))
        demo = {
            "models": models,
            "artefacts": artefacts,
            "cpu_seconds": round(computing, 1),
            "wall_seconds": round(wall, 1),
        }
        found["gan demo"] = demo
    arguments.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
