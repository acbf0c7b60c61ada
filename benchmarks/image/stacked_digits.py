"""Mode coverage: how many of 1,000 triples of digits a generator makes, as in Stacked-MNIST, with drawn digits.

    python benchmarks/image/stacked_digits.py r3gan --minutes 4

Every image has three channels of 16 pixels, each with a digit that Pillow draws in its own font, turned, moved and
scaled at random: 1,000 modes, equally frequent (Metz et al. 2017, "Unrolled generative adversarial networks", section
3.3.1, with digits of MNIST). A small classifier, trained on other drawings, names the digit of every channel of 26,000
samples; counted are the triples that occur, and measured the Kullback-Leibler divergence of their frequencies from
those of equal ones. As many real images give the lower bound. Published for MNIST: DCGAN 99, WGAN-GP 959, R3GAN 1,000
modes.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gan import recipe as recipes
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan_image.modality import grid
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.nn import functional
from training import Training, length_for

HERE = Path(__file__).parent
SIDE = 16
TRAINING, SAMPLES = 20_000, 26_000
CASES = {
    "dcgan": ("dcgan-32", "penalties=[]"),
    "dcgan-r1": ("dcgan-32",),
    "wgan-gp": ("wgan-gp-32",),
    "r3gan": ("r3gan-32",),
}
"""The recipe and settings of each case; DCGAN as published, without a penalty, and with that of our recipe."""


def drawn(digits: np.ndarray, seed: int) -> np.ndarray:
    """uint8 ``(N, SIDE, SIDE)``: digits 0 … 9 ``(N,)`` in white on black."""
    generator = np.random.Generator(np.random.Philox(seed))
    pictures = np.empty((len(digits), SIDE, SIDE), np.uint8)
    fonts = {size: ImageFont.load_default(size) for size in range(48, 65, 4)}  # four times as large, then reduced
    for place, digit in enumerate(digits):
        canvas = Image.new("L", (4 * SIDE, 4 * SIDE))
        font = fonts[int(generator.choice(list(fonts)))]
        centre = 2 * SIDE + generator.uniform(-6, 6, 2)
        ImageDraw.Draw(canvas).text(tuple(centre), str(digit), fill=255, font=font, anchor="mm")
        canvas = canvas.rotate(generator.uniform(-15, 15), Image.Resampling.BILINEAR)
        pictures[place] = np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX))
    return pictures


def stacked(count: int, seed: int) -> np.ndarray:
    """uint8 ``(N, SIDE, SIDE, 3)``: a digit in each channel, all 1,000 triples equally frequent."""
    digits = np.random.Generator(np.random.Philox(seed)).integers(0, 10, (3, count))
    return np.stack([drawn(row, 10 * seed + channel) for channel, row in enumerate(digits)], -1)


class Classifier(nn.Module):
    """``(N, 1, SIDE, SIDE)`` 0 … 1 -> 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * (SIDE // 4) ** 2, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits

    @torch.no_grad()
    def named(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``(N,)`` twice: the digits in uint8 ``(N, SIDE, SIDE)`` and their probabilities."""
        parts = np.array_split(pictures, max(1, len(pictures) // 1000))
        logits = torch.cat([self(torch.from_numpy(part.copy())[:, None] / 255) for part in parts])
        probabilities, digits = logits.softmax(1).max(1)
        return digits.numpy(), probabilities.numpy()


def trained_classifier() -> tuple[Classifier, float]:
    """The classifier, and its accuracy on other drawings."""
    torch.manual_seed(0)
    network, generator = Classifier(), np.random.Generator(np.random.Philox(99))
    digits = generator.integers(0, 10, 22_000)
    pictures = drawn(digits, 98)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(3):
        for rows in np.array_split(generator.permutation(20_000), 200):
            loss = functional.cross_entropy(
                network(torch.from_numpy(pictures[rows])[:, None] / 255), torch.from_numpy(digits[rows])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network, float((network.named(pictures[20_000:])[0] == digits[20_000:]).mean())


def coverage(pictures: np.ndarray, classifier: Classifier) -> dict[str, float]:
    """Modes that occur in uint8 ``(N, SIDE, SIDE, 3)``, and KL(samples ‖ equal frequencies) in nats; then the share of
    samples in whose channels all digits are clear, with a probability above 0.9, and the modes that occur in these:
    pictures of nothing count among the former."""
    named = [classifier.named(pictures[..., channel]) for channel in range(3)]
    modes = sum(10**place * digits for place, (digits, _) in enumerate(named))
    clear = np.all([probabilities > 0.9 for _, probabilities in named], axis=0)
    counts = np.bincount(modes, minlength=1000)
    shares = counts[counts > 0] / counts.sum()
    return {
        "modes": int((counts > 0).sum()),
        "KL": float((shares * np.log(shares * 1000)).sum()),
        "clear": float(clear.mean()),
        "clear_modes": len(np.unique(modes[clear])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--minutes", type=float, default=4.0, help="of CPU time, training only")
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plugins = Plugins.installed()
    recipe, *settings = CASES[arguments.case]
    settings = [f"modality.resolution={SIDE}", "modality.channels=3", *settings, *arguments.set]
    classifier, accuracy = trained_classifier()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for place, picture in enumerate(stacked(TRAINING, 1)):
            Image.fromarray(picture).save(folder / f"{place:05}.png", compress_level=1)
        length = length_for(recipe, folder, settings, arguments.minutes, plugins)
        settings += [f"training.samples={length}", f"training.tick={max(2000, length // 10)}"]
        training = Training(recipe, folder, settings, plugins)
        used = training.run(66 * arguments.minutes)
        made = training.samples(SAMPLES)["image"]
        result: dict[str, Any] = {
            "metric": f"triples of digits in {SAMPLES:,} samples of the averaged weights, of 1,000; their divergence "
            "from equal frequencies, nats",
            "values": coverage(np.moveaxis(made, 1, -1), classifier),
            "real": coverage(stacked(SAMPLES, 2), classifier),
            "classifier_accuracy": accuracy,
            "cpu_seconds": used,
            "real_samples_shown": training.trainer.samples,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "parameters": training.trainer.parameter_counts(),
            "recipe": recipes.dump(training.resolved.recipe).replace(str(folder), "digits"),
            "machine": surroundings(),
        }
    grid(made[:40], 10).save(HERE / f"stacked_digits_{arguments.case}.png")
    (HERE / f"stacked_digits_{arguments.case}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({name: result[name] for name in ("values", "real", "classifier_accuracy", "real_samples_shown")}))


if __name__ == "__main__":
    main()
