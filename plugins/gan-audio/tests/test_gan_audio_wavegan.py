"""WaveGAN: published sizes, phase shuffle, classes, and a run from the command line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gan.contracts import FieldSpec, Request
from gan.draws import SeededDraws, StepDraws
from gan.errors import UsageError
from gan.game import Batch
from gan.losses import Wasserstein
from gan.penalties import GradientPenalty
from gan_audio.architectures.wavegan import SpectrumCritic, WaveGAN, WaveGANConfig, shuffled, stages_of
from gan_audio.modality import Audio, AudioConfig
from gan_audio.percussion import hit

LABEL = FieldSpec((), "int64", 0, 2, "class index", names=("a", "b", "c"), condition=True)


def fields(samples=1024, channels=1, label=None):
    sound = Audio(AudioConfig(rate=8000, seconds=samples / 8000, channels=channels)).fields
    return sound if label is None else {**sound, "label": label}


def small(label=None, **config):
    torch.manual_seed(0)
    return WaveGAN(
        WaveGANConfig(**{"latent": 8, "generator_width": 4, "critic_width": 4, **config}), fields(label=label)
    )


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("width", "samples", "generator", "critic"),
    [
        (64, 16_384, 19_065_345, 17_427_969),
        (16, 16_384, 1_502_337, 1_092_993),
        (64, 65_536, 73_149_953, 69_875_201),
    ],
)
def test_published_sizes(width, samples, generator, critic):
    with torch.device("meta"):
        model = WaveGAN(WaveGANConfig(generator_width=width, critic_width=width), fields(samples))
    assert (count(model.generator), count(model.critic_network)) == (generator, critic)
    assert model.generator(torch.zeros(2, 100, device="meta"), None).shape == (2, 1, samples)


def test_lengths():
    assert stages_of(16_384) == (5, 16)
    assert stages_of(65_536) == (6, 16)
    assert stages_of(8_192) == (5, 8)
    assert stages_of(20_480) == (5, 20)
    with pytest.raises(UsageError, match="near is 16,384"):
        stages_of(16_000)
    for samples in (1, 100, 5_000, 100_001):
        with pytest.raises(UsageError):
            stages_of(samples)


def test_phase_shuffle_moves_each_sample_by_its_shift_and_reflects():
    x = torch.arange(10.0).expand(5, 3, 10)
    out = shuffled(x, torch.tensor([0, 2, -2, 1, -1]), 2)
    assert out[0, 0].tolist() == list(range(10))
    assert out[1, 0].tolist() == [2, 1, 0, 1, 2, 3, 4, 5, 6, 7]
    assert out[2, 1].tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 8, 7]
    assert out[3, 2].tolist() == [1, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert out[4, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 8]


def batch(model, rows=4, start=0, total=4, seed=5):
    rng = np.random.default_rng(0)
    sound = torch.from_numpy(rng.integers(-9000, 9000, (total, 1, 1024)).astype(np.int16))
    values = {"sound": sound, "label": torch.arange(total) % 3}
    return Batch(
        {name: tensor[start : start + rows] for name, tensor in values.items()},
        StepDraws(seed, total, start, rows, torch.device("cpu")),
        0,
        0.0,
    )


def test_the_critic_shuffles_with_the_numbers_of_the_batch():
    model = small(phase_shuffle=2)
    seen = model._what_the_critic_sees(batch(model))
    assert seen.shape == (4, 1 + 2)
    assert seen[:, 1:].abs().max() <= 2
    assert torch.equal(seen, model._what_the_critic_sees(batch(model)))
    parts = [model._what_the_critic_sees(batch(model, 2, start)) for start in (0, 2)]
    assert torch.equal(seen, torch.cat(parts))  # micro-batches and processes draw the same
    assert small(phase_shuffle=0)._what_the_critic_sees(batch(model)).shape == (4, 1)


@pytest.mark.parametrize(("label", "spectra"), [(None, []), (LABEL, []), (LABEL, [256])])
def test_micro_batches_have_the_gradient_of_the_batch(label, spectra):
    model = small(label, spectra=spectra, spectra_width=2)
    (critic, generator) = model.phases(Wasserstein(), {"gp": GradientPenalty(weight=10)})[0].turns

    def gradients(turn, parts):
        model.zero_grad()
        for start in range(0, 4, 4 // parts):
            terms = turn.objective(batch(model, 4 // parts, start))
            (sum(value for name, value in terms.items() if name[0] != "_") / parts).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    for turn in (critic, generator):
        assert gradients(turn, 2) == pytest.approx(gradients(turn, 1).numpy(), rel=1e-4, abs=1e-5)
    assert critic.repeats == 5


def test_classes_change_sounds_and_scores():
    model = small(LABEL)
    rng = SeededDraws.of(1, 0, 2, torch.device("cpu"))
    latents = model.latents(2, rng)
    a, b = (
        model.decode(latents, Request(given={"label": torch.full((2,), float(label))}))["sound"] for label in (0, 1)
    )
    assert a.dtype == torch.int16
    assert a.shape == (2, 1, 1024)
    assert not torch.equal(a, b)
    seen = torch.zeros(2, 3, dtype=torch.int64)
    scores = [model.critic(a.float() / 32768, seen + torch.tensor([label, 0, 0])) for label in (0, 1)]
    assert not torch.equal(*scores)
    with pytest.raises(UsageError, match="label"):
        model.decode(latents, Request())
    assert model.given_fields() == ("label",)
    assert small().given_fields() == ()


def test_critics_of_spectrograms_are_heads_that_see_the_class():
    model = small(LABEL, spectra=[64, 128], spectra_width=2)
    seen, waves = torch.zeros(2, 3, dtype=torch.int64), 0.1 * torch.randn(2, 1, 1024)
    heads = [model.critic(waves, seen + torch.tensor([label, 0, 0])).scores for label in (0, 1)]
    for zero, one in zip(*heads, strict=True):
        assert zero.shape == (2,)
        assert not torch.equal(zero, one)
    trained = {id(p) for _, p in model.players()["discriminator"].named_parameters()}
    assert {id(p) for p in model.spectra.parameters()} <= trained
    assert isinstance(small(LABEL).critic(waves, seen), torch.Tensor)


def test_the_spectrogram_of_a_critic_shows_where_a_sound_is():
    """Silence is 0, a kick is in the lowest bands and a hat above 5 kHz; the penalty's second gradient is finite."""
    critic = SpectrumCritic(512, 2, 1, 8192, 16_000, 0)
    waves = torch.stack([torch.from_numpy(hit(kind, 0)[None]) for kind in ("kick", "hat")]).float() / 32_768
    shown = critic.spectrogram(torch.cat([waves, torch.zeros(1, 1, 8192)]))
    assert shown.shape == (3, 1, 64, 64)
    assert shown[2].abs().max() < 0.01
    loudest = shown[:2, 0].mean(2).argmax(1)
    assert loudest[0] < 5
    assert loudest[1] > 50
    waves.requires_grad_()
    (gradient,) = torch.autograd.grad(critic(waves, torch.zeros(2)).sum(), waves, create_graph=True)
    gradient.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in critic.layers.parameters())


def test_windows_of_spectrograms_that_do_not_fit_are_named():
    for window in (32, 512):
        with pytest.raises(UsageError, match="from 64 to 256 samples"):
            small(spectra=[window])


def test_the_first_samples_have_the_scale_of_a_quiet_sound():
    torch.manual_seed(0)
    model = WaveGAN(WaveGANConfig(generator_width=8, critic_width=8), fields(16_384))
    latents = model.latents(8, SeededDraws.of(1, 0, 8, torch.device("cpu")))
    with torch.no_grad():
        level = float(model.generator(latents, None).std())
        score = float(model.critic_network(torch.randn(8, 1, 16_384), latents[:, 0].long(), torch.zeros(8, 0)).std())
    assert 0.02 < level < 0.5
    assert 0.01 < score < 3


def test_post_filter_keeps_the_length():
    model = small(post_filter=512)
    assert model.generator(torch.zeros(2, 8), None).shape == (2, 1, 1024)
    assert count(model.generator) - count(small().generator) == 513
