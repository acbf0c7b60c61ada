"""How much faster than real time HiFi-GAN's generators make sound on one CPU thread; random weights suffice.

    python benchmarks/audio/hifigan_speed.py

The factor is seconds of sound by seconds of CPU time, the median of five mel spectrograms of two seconds, of all
generators in turn.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from gan.api import recipe
from gan.reporting.manifest import surroundings
from gan_audio.architectures.hifigan import Generator, HiFiGANConfig

BANDS, SECONDS, ROUNDS = 80, 2.0, 5


def main() -> None:
    torch.set_num_threads(1)
    generators, rates, factors = {}, {}, {}
    for name in ("hifigan-v1", "hifigan-v3", "hifigan-small"):
        config = HiFiGANConfig(**recipe("audio", named=name)["model"])
        generators[name], rates[name], factors[name] = Generator(config, BANDS).eval(), config.rate, []
    with torch.no_grad():
        for _ in range(ROUNDS):
            for name, generator in generators.items():
                mel = torch.randn(1, BANDS, round(SECONDS * rates[name] / 256))
                before = time.process_time()
                sound = generator(mel)
                factors[name].append(sound.shape[2] / rates[name] / (time.process_time() - before))
    result = {
        "times_real_time": {name: float(np.median(found)) for name, found in factors.items()},
        "all": factors,
        "load": os.getloadavg(),
        **surroundings(),
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["times_real_time"]))


if __name__ == "__main__":
    main()
