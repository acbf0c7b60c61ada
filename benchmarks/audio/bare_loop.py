"""The trainer against hand-written loops on the same WaveGAN and HiFi-GAN, interleaved in one process; CPU time.

    python benchmarks/audio/bare_loop.py

Networks and batches are those of the recipes `percussion` and `hifigan-small`, without penalties and averages; sounds
are random numbers in memory. The bare loops are what one would write by hand: the critic is frozen while the generator
learns, and nothing is reported. Ratios are medians over rounds of the bare loop's time by the trainer's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gan.api import recipe
from gan.data.order import Order
from gan.losses import LeastSquares, NonSaturating
from gan.recipe import Training
from gan.reporting.manifest import surroundings
from gan.runtime.device import choose_device
from gan.training.trainer import Trainer
from gan_audio.architectures.hifigan import HiFiGAN, HiFiGANConfig
from gan_audio.architectures.wavegan import WaveGAN, WaveGANConfig
from gan_audio.modality import Audio, AudioConfig
from torch import Tensor
from torch.nn.functional import softplus

COUNT = 64
"""Sounds in memory."""


class Sounds:
    """Random fields in memory."""

    def __init__(self, modality: Audio) -> None:
        rng = np.random.default_rng(0)
        self.fields: dict[str, np.ndarray] = {}
        for name, field in modality.fields.items():
            shape = (COUNT, *field.shape)
            if field.dtype == "float32":
                self.fields[name] = rng.standard_normal(shape, np.float32)
            else:
                high = 6 if name == "label" else 9000
                self.fields[name] = rng.integers(0 if name == "label" else -9000, high, shape).astype(field.dtype)

    def __len__(self) -> int:
        return COUNT

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values[indices] for name, values in self.fields.items()}


class BareLoop:
    """Alternating updates of a critic and a generator."""

    def __init__(
        self, generator: Any, critic: Any, step: Callable[[Any, dict[str, Tensor]], None], data: Sounds, batch: int
    ) -> None:
        self.generator, self.critic, self._step, self.data, self.batch = generator, critic, step, data, batch
        self.optimizers = [torch.optim.Adam(n.parameters(), 2e-4, (0.5, 0.9), fused=True) for n in (generator, critic)]
        self.order, self.position = Order(COUNT, 0), 0

    def steps(self, count: int) -> None:
        for _ in range(count):
            rows = self.data.take(self.order.indices(self.position, self.batch))
            self.position += self.batch
            self._step(self, {name: torch.from_numpy(values) for name, values in rows.items()})

    def update(self, player: int, loss: Tensor) -> None:
        self.optimizers[player].zero_grad()
        loss.backward()
        self.optimizers[player].step()


class OurLoop:
    """The trainer, taken some iterations at a time."""

    def __init__(self, architecture: Any, loss: Any, data: Sounds, batch: int) -> None:
        self.batch = batch
        training = Training(samples=batch * 10**7, batch=batch, tick=batch * 50, device="cpu", precision="fp32")
        self.trainer = Trainer(
            architecture, architecture.players(), architecture.phases(loss, {}), data, Order(COUNT, 0), training, 0,
            choose_device("cpu", "fp32"),
        )  # fmt: skip

    def steps(self, count: int) -> None:
        end = self.trainer.samples + count * self.batch
        self.trainer.run(lambda tick: None, lambda: self.trainer.samples >= end)


def wavegan(model: WaveGAN) -> Callable[[BareLoop, dict[str, Tensor]], None]:
    def step(loop: BareLoop, rows: dict[str, Tensor]) -> None:
        real, label, count = rows["sound"].float() / 32_768, rows["label"], loop.batch
        fake = model.generator(2 * torch.rand(count, model.config.latent) - 1, label)
        largest = model.config.phase_shuffle
        shifts = torch.randint(2 * largest + 1, (count, 3)) - largest
        loop.update(
            1,
            softplus(-model.critic_network(real, label, shifts)).mean()
            + softplus(model.critic_network(fake.detach(), label, shifts)).mean(),
        )
        model.critic_network.requires_grad_(False)
        loop.update(0, softplus(-model.critic_network(fake, label, shifts)).mean())
        model.critic_network.requires_grad_(True)

    return step


def hifigan(model: HiFiGAN) -> Callable[[BareLoop, dict[str, Tensor]], None]:
    def squares(scores: Any, wanted: float) -> Tensor:
        return torch.stack([0.5 * (score - wanted).square().mean() for score in scores]).sum()

    def step(loop: BareLoop, rows: dict[str, Tensor]) -> None:
        real = rows["sound"].float() / 32_768
        fake = model.generator(rows["mel"])
        found = model.discriminator(real)
        loop.update(1, squares(found.scores, 1) + squares(model.discriminator(fake.detach()).scores, 0))
        model.discriminator.requires_grad_(False)
        with torch.no_grad():
            wanted = model.discriminator(real).features
        found = model.discriminator(fake)
        features = torch.stack([(a - b).abs().mean() for a, b in zip(wanted, found.features, strict=True)]).sum()
        mel = (model.mel(real) - model.mel(fake)).abs().mean()
        loop.update(0, squares(found.scores, 1) + features + 22.5 * mel)
        model.discriminator.requires_grad_(True)

    return step


def built(name: str, values: dict[str, Any], modality: Audio) -> tuple[Any, Any, Callable[..., None]]:
    """(model, its critic, the step of its bare loop)."""
    torch.manual_seed(0)
    if name == "percussion":
        wave = WaveGAN(WaveGANConfig(**values["model"] | {"spectra": []}), modality.fields)
        return wave, wave.critic_network, wavegan(wave)
    vocoder = HiFiGAN(HiFiGANConfig(**values["model"] | {"warm_up": 0, "quieter": 0}), modality.fields)
    return vocoder, vocoder.discriminator, hifigan(vocoder)


def timed(loop: BareLoop | OurLoop, count: int) -> float:
    start = time.process_time()
    loop.steps(count)
    return (time.process_time() - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {}
    for name, loss in (("percussion", NonSaturating()), ("hifigan-small", LeastSquares())):
        values = recipe("audio", named=name)
        modality = Audio(AudioConfig(**values["modality"]))
        modality.facts = {"classes": list("abcdef")}
        data, batch = Sounds(modality), values["training"]["batch"]
        model, critic, step = built(name, values, modality)
        bare = BareLoop(model.generator, critic, step, data, batch)
        ours = OurLoop(built(name, values, modality)[0], loss, data, batch)
        timed(bare, 1), timed(ours, 1)
        pairs = []
        for number in range(arguments.rounds):
            order = [bare, ours] if number % 2 else [ours, bare]
            found = {loop: timed(loop, 2) for loop in order}
            pairs.append((found[bare], found[ours]))
        ratios = [one / other for one, other in pairs]
        result[name] = {
            "speed_of_trainer_over_bare_loop": statistics.median(ratios),
            "ratio_quartiles": statistics.quantiles(ratios, n=4),
            "bare_ms_per_step": 1000 * statistics.median(one for one, _ in pairs),
            "trainer_ms_per_step": 1000 * statistics.median(other for _, other in pairs),
        }
    report = {**result, "target": 0.97, "load": os.getloadavg(), **surroundings()}
    Path(__file__).with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
