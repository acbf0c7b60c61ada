"""What `keep_freed_memory` of `gan.runtime.device` saves: CPU time, page faults and memory of training steps.

    python benchmarks/trainer/allocator.py

DCGAN of `bare_loop.py` and R3GAN of `processes.py`, each in processes of its own, which take turns without and with it.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from bare_loop import OurLoop, model
from gan.contracts import FieldSpec
from gan.losses import NonSaturating, RelativisticPairing
from gan.reporting.manifest import surroundings
from gan.runtime import device
from gan_image.architectures.r3gan import R3GAN

HERE = Path(__file__).parent
STEPS = {"dcgan": 24, "r3gan": 6}


def loop_of(name: str) -> OurLoop:
    if name == "dcgan":
        dcgan = model()
        return OurLoop(dcgan, dcgan.phases(NonSaturating(), {}), ema_half_life=1000)
    torch.manual_seed(0)
    config = R3GAN.Config(width=16, group=4, latent=16, blocks=1)
    r3gan = R3GAN(config, {"image": FieldSpec((1, 32, 32), "uint8", 0, 255, "intensity")})
    return OurLoop(r3gan, r3gan.phases(RelativisticPairing(), {}), ema_half_life=1000)


def work(name: str, keep: bool) -> dict[str, float]:
    """What a process does: steps, and what one costs."""
    torch.set_num_threads(1)
    if not keep:
        device.keep_freed_memory = lambda: None
    loop = loop_of(name)
    loop.steps(3)
    before = resource.getrusage(resource.RUSAGE_SELF)
    loop.steps(STEPS[name])
    after = resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return {
        "cpu_ms": 1000 * (user + system) / STEPS[name],
        "system_ms": 1000 * system / STEPS[name],
        "page_faults": (after.ru_minflt - before.ru_minflt) / STEPS[name],
        "peak_mb": after.ru_maxrss / 1024,
    }


def run(name: str, keep: bool) -> dict[str, float]:
    command = [sys.executable, __file__, "--work", name, *(["--keep"] if keep else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "allocator.json")
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(work(arguments.work, arguments.keep)))
        return
    result: dict[str, Any] = {}
    for name in STEPS:
        rounds = [(run(name, False), run(name, True)) for _ in range(arguments.rounds)]
        result[name] = {
            "speed_up_in_cpu_time": statistics.median(old["cpu_ms"] / new["cpu_ms"] for old, new in rounds),
            **{
                title: {key: statistics.median(pair[place][key] for pair in rounds) for key in rounds[0][place]}
                for place, title in enumerate(("without", "with"))
            },
        }
    result["machine"] = surroundings()
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
