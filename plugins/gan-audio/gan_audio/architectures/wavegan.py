"""WaveGAN: a convolutional GAN for short waveforms, unconditional or with classes.

Donahue, McAuley, Puckette: Adversarial audio synthesis, 2019, arXiv:1802.04208, tables 3 and 4. DCGAN flattened to one
axis: kernels of 25 samples and strides of 4. A waveform of ``start · 4^n`` samples, 8 ≤ start < 32, has n stages; the
published lengths 16,384 and 65,536 have start 16. The critic's phase shuffle moves the activations of each sample by a
few places, so that it cannot judge the phase of the checkerboard that strided layers draw.

Different from the authors' code: weights are drawn such that each layer keeps the variance of its input, phase shuffle
draws a shift for each sample instead of one for a batch, and there is a form with classes: the generator sees the class
beside the latent vector, and the critic adds the projection of its features on the class (Miyato and Koyama 2018,
arXiv:1802.05637).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from gan.adversarial import CriticOutput, adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player
from gan.latents import class_shares, straight
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn

from gan_audio.networks.spectral import magnitudes
from gan_audio.spectra import mel_filters

KERNEL, STRIDE, PADDING = 25, 4, 11
BANDS = 64
"""Mel bands of a critic of spectrograms."""


class WaveGANConfig(BaseModel):
    """Sizes of the two networks."""

    model_config = ConfigDict(extra="forbid")

    latent: int = Field(100, ge=1, description="size of a latent vector")
    generator_width: int = Field(64, ge=1, description="channels before the generator's last layer")
    critic_width: int = Field(64, ge=1, description="channels after the critic's first layer")
    phase_shuffle: int = Field(
        2, ge=0, le=8, description="largest shift of the critic's activations, in places of each layer; 0: none"
    )
    post_filter: int = Field(
        0, ge=0, le=4096, description="taps of a learned filter behind the generator, 512 in the paper; 0: none"
    )
    spectra: list[PositiveInt] = Field(
        [], description="windows in samples of further critics, each of the log-mel spectrogram; []: none, as published"
    )
    spectra_width: int = Field(16, ge=1, description="channels after the first layer of a critic of spectrograms")
    critic_repeats: int = Field(5, ge=1, description="updates of the critic for one of the generator")


class WaveGAN(nn.Module):
    """A generator and a critic of waveforms; a `gan.contracts.LatentSpace`, with classes also `ConditionalOnInput`."""

    Config = WaveGANConfig
    generation_batch = 64
    mixes_classes = True

    def __init__(self, config: WaveGANConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        channels, samples = fields["sound"].shape
        self.config = config
        stages, start = stages_of(samples)
        label = fields.get("label")
        self.classes = 0 if label is None else int(label.high) + 1
        self.generator = Generator(config, channels, stages, start, self.classes)
        self.critic_network = Critic(config, channels, stages, start, self.classes)
        rate = int(getattr(fields["sound"], "rate", 0))
        if config.spectra and not rate:
            raise UsageError("model.spectra needs sounds whose rate is known, as the modality audio has them")
        self.spectra = nn.ModuleList(
            SpectrumCritic(window, config.spectra_width, channels, samples, rate, self.classes)
            for window in config.spectra
        )
        self._shuffled = stages - 1 if config.phase_shuffle else 0

    def players(self) -> dict[str, Player]:
        """The generator and the critic; both use Adam(1e-4; 0.5, 0.9)."""
        adam = Optimizer(lr=1e-4, betas=(0.5, 0.9))
        return {
            "generator": Player(self.generator, adam, average=True),
            "discriminator": Player([self.critic_network, *self.spectra], adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase: the critic is updated `critic_repeats` times, then the generator once."""
        turns = adversarial_turns(
            loss,
            penalties,
            real=lambda batch: batch["sound"].float() / 32_768,
            fake=self._fakes,
            critic=self.critic,
            conditions=self._what_the_critic_sees,
            critic_repeats=self.config.critic_repeats,
        )
        return [Phase("adversarial", turns)]

    def _fakes(self, batch: Batch) -> Tensor:
        label = batch["label"] if self.classes else None
        waves: Tensor = self.generator(self.latents(batch.count, batch.rng), label)
        return waves

    def _what_the_critic_sees(self, batch: Batch) -> Tensor:
        """``(N, 1 + layers)`` int64: the class (0 without classes), and the shift in each layer."""
        labels = (
            batch["label"] if self.classes else torch.zeros(batch.count, dtype=torch.int64, device=batch.rng.device)
        )
        shifts = batch.rng.randint(2 * self.config.phase_shuffle + 1, self._shuffled) - self.config.phase_shuffle
        return torch.cat([labels[:, None], shifts], 1)

    def critic(self, waves: Tensor, seen: Tensor) -> Tensor | CriticOutput:
        """``(N, channels, samples)`` in -1 … 1 and ``(N, 1 + layers)`` int64 -> ``(N,)`` raw scores, of each critic."""
        scores: Tensor = self.critic_network(waves, seen[:, 0], seen[:, 1:])
        if not self.spectra:
            return scores
        return CriticOutput([scores, *(critic(waves, seen[:, 0]) for critic in self.spectra)])

    def given_fields(self, options: object = None) -> tuple[str, ...]:
        """``("label",)`` if there are classes."""
        return ("label",) if self.classes else ()

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent)`` from U(-1, 1)."""
        return 2.0 * rng.rand(self.config.latent) - 1.0

    def between(self, first: Tensor, second: Tensor, at: Tensor) -> Tensor:
        """Latents on a line: those on a great circle are not uniform."""
        return straight(first, second, at)

    def linear_maps(self) -> list[Tensor]:
        """The first layer, ``(features, latent)``, without the class."""
        return [self.generator.first.weight.detach()[:, : self.config.latent]]

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """The critic's activations, without phase shuffle."""
        return self.critic_network.features(samples["sound"] / 32_768)

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Sounds of the given latent vectors."""
        return {"sound": (self._waves(latents, request).clamp(-1, 1) * 32_767).round().to(torch.int16)}

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Sounds of the given latent vectors as floats -32,767 … 32,767, without rounding."""
        return {"sound": self._waves(latents, request).clamp(-1, 1) * 32_767}

    def _waves(self, latents: Tensor, request: Request) -> Tensor:
        label = None
        if self.classes:
            if request.given is None or "label" not in request.given:
                raise UsageError("the model needs the label of each sound")
            label = request.given["label"]
        waves: Tensor = self.generator(latents, label)
        return waves.float()

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` sounds."""
        return self.decode(self.latents(count, rng), request)


class Generator(nn.Module):
    """Table 3: latent vectors ``(N, latent)`` -> waveforms ``(N, channels, samples)`` in -1 … 1."""

    def __init__(self, config: WaveGANConfig, channels: int, stages: int, start: int, classes: int) -> None:
        super().__init__()
        self.classes, self.start = classes, start
        widths = [config.generator_width * 2 ** (stages - 1 - stage) for stage in range(stages)]
        self.first = nn.Linear(config.latent + classes, start * widths[0])
        self.layers = nn.ModuleList(
            nn.ConvTranspose1d(before, after, KERNEL, STRIDE, PADDING, output_padding=1)
            for before, after in zip(widths, [*widths[1:], channels], strict=True)
        )
        self.post_filter: nn.Conv1d | None = None
        if config.post_filter:
            self.post_filter = nn.Conv1d(channels, channels, config.post_filter)
        _scale(self.first, 3.0 * (config.latent + classes) / config.latent)  # U(-1, 1) has a variance of 1/3
        if classes:  # a class changes the first layer about as much as the latent vector
            nn.init.normal_(self.first.weight[:, config.latent :])
        for layer in self.layers:
            _scale(layer, 2.0 if layer is not self.layers[-1] else 0.1)

    def forward(self, latents: Tensor, label: Tensor | None) -> Tensor:
        """Waveforms of latent vectors, and of classes ``(N,)`` or shares ``(N, classes)`` if there are any."""
        if label is not None:
            latents = torch.cat([latents, class_shares(label, self.classes).to(latents.dtype)], 1)
        x: Tensor = self.first(latents).relu().unflatten(1, (-1, self.start))
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        x = self.layers[-1](x).tanh()
        if self.post_filter is None:
            return x
        taps = self.post_filter.kernel_size[0]
        filtered: Tensor = self.post_filter(nn.functional.pad(x, (taps // 2, (taps - 1) // 2)))
        return filtered


class Critic(nn.Module):
    """Table 4: waveforms ``(N, channels, samples)`` -> scores ``(N,)``."""

    def __init__(self, config: WaveGANConfig, channels: int, stages: int, start: int, classes: int) -> None:
        super().__init__()
        widths = [config.critic_width * 2**stage for stage in range(stages)]
        self.layers = nn.ModuleList(
            nn.Conv1d(before, after, KERNEL, STRIDE, PADDING)
            for before, after in zip([channels, *widths[:-1]], widths, strict=True)
        )
        self.last = nn.Linear(start * widths[-1], 1)
        self.of_class = nn.Embedding(classes, start * widths[-1]) if classes else None
        self.largest = config.phase_shuffle
        for layer in self.layers:
            _scale(layer, 2.0 / 1.04)
        _scale(self.last, 1.0)
        if self.of_class is not None:
            nn.init.normal_(self.of_class.weight, std=self.last.in_features**-0.5)

    def features(self, waves: Tensor) -> list[Tensor]:
        """The activations of all layers, for waveforms that are not shifted."""
        x, seen = waves, []
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x), 0.2)
            seen.append(x)
        return seen

    def forward(self, waves: Tensor, label: Tensor, shifts: Tensor) -> Tensor:
        """Scores; `label` is ``(N,)`` int64, `shifts` ``(N, layers - 1)`` int64, or ``(N, 0)`` for none."""
        x = waves
        for number, layer in enumerate(self.layers):
            x = nn.functional.leaky_relu(layer(x), 0.2)
            if number < shifts.shape[1]:
                x = shuffled(x, shifts[:, number], self.largest)
        features = x.flatten(1)
        scores: Tensor = self.last(features).squeeze(1)
        if self.of_class is not None:
            scores = scores + (features * self.of_class(label)).sum(1)
        return scores


class SpectrumCritic(nn.Module):
    """DCGAN's critic on log-mel spectrograms: waveforms ``(N, channels, samples)`` -> scores ``(N,)``.

    Windows overlap by three quarters. The logarithm is of 1 + 100 m: it hardly sees what is 50 dB below a loud sound,
    and its slope in silence is finite, as gradient penalties need it.
    """

    taper: Tensor
    filters: Tensor

    def __init__(self, window: int, width: int, channels: int, samples: int, rate: int, classes: int) -> None:
        super().__init__()
        self.hop = window // 4
        frames = samples // self.hop
        if window < 64 or frames < 16:
            raise UsageError(
                f"model.spectra: a window must have from 64 to {samples // 4:,} samples, a quarter of a sound, not "
                f"{window:,}"
            )
        self.register_buffer("taper", torch.hann_window(window), persistent=False)
        self.register_buffer("filters", torch.from_numpy(mel_filters(rate, window, BANDS)), persistent=False)
        widths = [channels, width, 2 * width, 4 * width, 8 * width]
        self.layers = nn.ModuleList(nn.Conv2d(before, after, 4, 2, 1) for before, after in pairwise(widths))
        self.last = nn.Linear(widths[-1] * (BANDS // 16) * (frames // 16), 1)
        self.of_class = nn.Embedding(classes, self.last.in_features) if classes else None
        for layer in self.layers:
            _scale(layer, 2.0 / 1.04)
        _scale(self.last, 1.0)
        if self.of_class is not None:
            nn.init.normal_(self.of_class.weight, std=self.last.in_features**-0.5)

    def spectrogram(self, waves: Tensor) -> Tensor:
        """``(N, channels, 64 bands, frames)`` in float32, 0 (silence) … about 3."""
        with torch.autocast(waves.device.type, enabled=False):
            mel = self.filters @ magnitudes(waves, self.taper, self.hop)[..., :-1]
            return (1 + 100 * mel).log() / 2

    def forward(self, waves: Tensor, label: Tensor) -> Tensor:
        """Scores; `label` is ``(N,)`` int64."""
        x = self.spectrogram(waves)
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x), 0.2)
        features = x.flatten(1)
        scores: Tensor = self.last(features).squeeze(1)
        if self.of_class is not None:
            scores = scores + (features * self.of_class(label)).sum(1)
        return scores


def shuffled(x: Tensor, shifts: Tensor, largest: int) -> Tensor:
    """``(N, channels, places)``: each sample moved to later places by its shift, -`largest` … `largest`, with what
    enters reflected (section 3.3)."""
    places = torch.arange(x.shape[2], device=x.device) - shifts[:, None]
    places = places.abs()
    places = torch.where(places >= x.shape[2], 2 * (x.shape[2] - 1) - places, places)  # the reflection at the end
    return x.gather(2, places[:, None].expand(-1, x.shape[1], -1))


def stages_of(samples: int) -> tuple[int, int]:
    """(stages, start) of a length of ``start · 4^stages`` samples with 8 ≤ start < 32. Raises `UsageError`."""
    stages, start = 0, samples
    while start >= 32 and start % STRIDE == 0:
        stages, start = stages + 1, start // STRIDE
    if not 8 <= start < 32 or stages < 2:
        power = max(2, round(math.log(max(samples, 1) / 16, STRIDE)))
        near = max(8, min(31, round(samples / STRIDE**power))) * STRIDE**power
        raise UsageError(
            f"wavegan needs a length of 8 to 31 times a power of 4, not {samples:,} samples; near is {near:,} "
            "(modality.seconds times modality.rate)"
        )
    return stages, start


def _scale(layer: nn.Module, gain: float) -> None:
    """Draw weights with the variance `gain` divided by the inputs of an output, and set biases to zero."""
    assert isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d)
    fan_in: float = layer.weight[0].numel()
    if isinstance(layer, nn.ConvTranspose1d):  # its weight is (in, out, kernel), and a stride divides the kernel
        fan_in = layer.in_channels * KERNEL / STRIDE
    nn.init.normal_(layer.weight, std=math.sqrt(gain / fan_in))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
