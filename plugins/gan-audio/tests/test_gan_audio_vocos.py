"""Vocos: published sizes, the inverse transform, the game's terms, and mel spectrograms of any length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.contracts import Request
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.losses import Hinge
from gan_audio.architectures.vocos import BandDiscriminator, Generator, Head, Vocos, VocosConfig
from gan_audio.modality import Audio, AudioConfig

SMALL = {"width": 16, "hidden": 32, "layers": 2, "discriminator_width": 2, "resolutions": [256, 128]}
CPU = torch.device("cpu")


def modality(**settings):
    return Audio(
        AudioConfig(**{"rate": 8000, "seconds": 0.128, "mel": True, "mel_bands": 40, "mel_hop": 64, **settings})
    )


def small(**settings):
    torch.manual_seed(0)
    return Vocos(VocosConfig(**{**SMALL, **settings}), modality().fields)


@pytest.mark.parametrize(
    ("sizes", "bands", "hop", "count"),
    [({}, 100, 256, 13_531_650), ({"width": 64, "hidden": 192, "layers": 3}, 64, 128, 139_010)],
)
def test_published_sizes_of_the_generator(sizes, bands, hop, count):
    generator = Generator(VocosConfig(**sizes), bands, hop)
    assert sum(p.numel() for p in generator.parameters()) == count


def test_published_size_of_a_discriminator_of_bands():
    """1,411,587 for three resolutions, weight normalisation folded."""
    head = BandDiscriminator(1024, 32)
    folded = sum(p.numel() for name, p in head.named_parameters() if not name.endswith("original0"))
    assert 3 * folded == 1_411_587
    found = BandDiscriminator(256, 2)(torch.randn(2, 1, 1024))
    assert len(found) == 6


def test_windows_that_overlap_give_the_waveform_back():
    """The frames of a waveform, tapered once by the analysis and once by the synthesis: SNR above 100 dB."""
    head, hop = Head(8, 64).double(), 64
    wave = torch.randn(2, 64 * 20, dtype=torch.float64)
    frames = torch.nn.functional.pad(wave, (96, 96)).unfold(1, 4 * hop, hop) * head.taper
    again = head.overlapped(frames)[:, 0]
    assert again.shape == wave.shape
    assert (again - wave).square().sum() < 1e-10 * wave.square().sum()


def batch(start=0, rows=4):
    rng = np.random.default_rng(1)
    sound = (rng.standard_normal((4, 1, 1024)) * 5000).astype(np.int16)
    fields = {"sound": sound, "mel": np.stack([modality()._mel(row) for row in sound])}
    part = {name: torch.from_numpy(values[start : start + rows]) for name, values in fields.items()}
    return Batch(part, StepDraws(3, 4, start, rows, CPU), 0, 0.0)


def test_terms_have_the_published_weights():
    """Means over periods, and a tenth of the mean over resolutions; features without those of the first layers."""
    model = small()
    discriminator, generator = model.phases(Hinge(), {})[0].turns
    one = batch()
    critic = discriminator.objective(one)
    terms = generator.objective(one)
    fakes, real = model.generator(one["mel"]), one["sound"].float() / 32768
    of_real, of_fake = model.discriminator(real), model.discriminator(fakes)

    def weighed(values):
        return (sum(values[:5]) / 5 + 0.1 * sum(values[5:]) / 2).item()

    hinges = [(1 - r).relu().mean() + (1 + f).relu().mean() for r, f in zip(of_real.scores, of_fake.scores)]
    assert critic["loss"].item() == pytest.approx(weighed(hinges), rel=1e-4)
    assert terms["loss"].item() == pytest.approx(weighed([-f.mean() for f in of_fake.scores]), rel=1e-4)
    distances = [(r - f).abs().mean() for r, f in zip(of_real.features, of_fake.features)]
    heads = [sum(distances[6 * head + 1 : 6 * head + 6]) / 5 for head in range(7)]
    assert terms["features"].item() == pytest.approx(weighed(heads), rel=1e-4)
    assert terms["mel"].item() == pytest.approx(45 * (model.mel(real) - model.mel(fakes)).abs().mean().item(), rel=1e-4)


def test_sixty_steps_bring_the_mel_spectrogram_nearer():
    model = small(width=32, hidden=64)
    one, optimizer = batch(), torch.optim.AdamW(model.generator.parameters(), 3e-3)
    real = model.mel(one["sound"].float() / 32768)
    distances = []
    for _ in range(60):
        distance = (real - model.mel(model.generator(one["mel"]))).abs().mean()
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
        distances.append(distance.item())
    assert distances[-1] < 0.5 * distances[0]


@pytest.mark.parametrize("frames", [16, 50])
def test_mel_spectrograms_of_any_length_become_sound(frames):
    rng = SeededDraws.of(0, 0, 1, CPU)
    made = small().generate(1, rng, Request(given={"mel": torch.zeros(1, 40, frames)}))
    assert made["sound"].shape == (1, 1, 64 * frames)
    assert made["sound"].dtype == torch.int16
    with pytest.raises(UsageError, match="mel"):
        small().generate(1, rng, Request())


def test_settings_that_do_not_fit_are_named():
    with pytest.raises(UsageError, match="at least 2,048"):
        small(resolutions=[2048])
    with pytest.raises(UsageError, match=r"modality\.mel=true"):
        Vocos(VocosConfig(), modality(mel=False).fields)
