"""How long commands take to start, and what samples cost beside the bare network; CPU time on one thread.

    python benchmarks/engine/start.py [--before CHECKOUT]

Commands run interleaved with ``import torch`` as processes of their own, and so do those of an earlier checkout. The
run is a DCGAN of the published widths at 64 pixels, trained for a few steps. `Model.generate` is compared with the
generator called on latents that are ready, which neither seeds, nor rounds to pixels, nor copies.
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
from pathlib import Path

import numpy as np
from gan.reporting.manifest import surroundings
from PIL import Image

HERE = Path(__file__).parent
MAIN = "import sys; from gan.cli import main; main(sys.argv[1:])"
SAMPLING = """
import json, sys, time
import gan, torch
torch.set_num_threads(1)
model = gan.load(sys.argv[1])
net, found = model.architecture.generator, {}
with torch.no_grad():
    for count, rounds in ((1, 8), (64, 4)):
        latents, times = torch.randn(count, 100, 1, 1), {"bare": [], "generate": []}
        for _ in range(rounds + 1):
            for name, call in (("bare", lambda: net(latents)), ("generate", lambda: model.generate(count))):
                began = time.process_time()
                call()
                times[name].append(time.process_time() - began)
        found[count] = {name: 1000 * sorted(seconds[1:])[rounds // 4] for name, seconds in times.items()}
        found[count]["ratio"] = found[count]["bare"] / found[count]["generate"]
print(json.dumps(found))
"""


def cpu(arguments: list[str], checkout: Path | None) -> tuple[float, str]:
    """CPU seconds of a Python process, and what it prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if checkout is not None:
        folders = [checkout / "core", *sorted((checkout / "plugins").glob("gan-*"))]
        environment["PYTHONPATH"] = os.pathsep.join(map(str, folders))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout of an earlier commit")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "start.json")
    arguments = parser.parse_args()
    versions = {"after": None} | ({"before": arguments.before.resolve()} if arguments.before else {})
    with tempfile.TemporaryDirectory() as folder:
        run, out = str(Path(folder, "run")), str(Path(folder, "out"))
        pictures = Path(folder, "pictures")
        pictures.mkdir()
        numbers = np.random.default_rng(0)
        for number in range(64):
            Image.fromarray(numbers.integers(0, 256, (64, 64, 3), np.uint8)).save(pictures / f"{number:03}.png")
        settings = ["--set", "training.batch=16", "--set", "evaluation.metrics=[]", "--samples", "64"]
        recipe = ["run", "--plugin", "image", "--recipe", "dcgan-64", "--data", str(pictures)]
        cpu(["-c", MAIN, *recipe, *settings, "--quiet", "--out", run], None)
        commands = {
            "gan plugins": ["plugins"],
            "gan generate RUN --help": ["generate", run, "--help"],
            "gan generate RUN --count 16": ["generate", run, "--count", "16", "--out", out],
        }
        seconds: dict[str, list[float]] = {}
        for _ in range(arguments.rounds):
            seconds.setdefault("import torch", []).append(cpu(["-c", "import torch"], None)[0])
            for name, words in commands.items():
                for version, checkout in versions.items():
                    found = cpu(["-c", MAIN, *words], checkout)[0]
                    seconds.setdefault(f"{name}, {version}", []).append(found)
        sampling = {version: json.loads(cpu(["-c", SAMPLING, run], path)[1]) for version, path in versions.items()}
    medians = {name: round(statistics.median(found), 3) for name, found in seconds.items()}
    own = sampling["after"]["64"]["generate"] / 4000
    result = {
        "what": "CPU seconds of commands, median of rounds; CPU milliseconds of samples, lower quartile",
        "rounds": arguments.rounds,
        "cpu_seconds": medians,
        "generate_without_network_over_import_torch": {
            version: round((medians[f"gan generate RUN --count 16, {version}"] - own) / medians["import torch"], 2)
            for version in versions
        },
        "sampling_ms": sampling,
        **surroundings("gan-image"),
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
