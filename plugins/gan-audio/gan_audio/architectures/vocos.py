"""Vocos: a vocoder that works at the rate of the frames and ends with an inverse Fourier transform.

Siuzdak: Vocos: closing the gap between time-domain and Fourier-based neural vocoders for high-quality audio synthesis,
2023, arXiv:2306.00814. ConvNeXt blocks turn a mel spectrogram into magnitudes and phases, of which overlapping windows
become the waveform. Discriminators look at every p-th sample (periods, as HiFi-GAN's) and at five bands of the complex
spectrum at three resolutions.

Different from the authors' code: frames are those of HiFi-GAN's mel spectrogram (not centred), as gan-audio's data have
them, so that the head overlaps windows without a centre; with the loss `hinge` the generator's term is -D(G) without a
bound at 1; levels of the training sounds are drawn where `quieter` is set, evenly in decibels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from gan.adversarial import CriticOutput, Scored
from gan.contracts import FieldSpec
from gan.errors import UsageError
from gan.game import Optimizer, Player
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import fold, gelu, leaky_relu
from torch.nn.utils.parametrizations import weight_norm

from gan_audio.architectures.hifigan import PERIODS, PeriodDiscriminator
from gan_audio.networks.spectral import VocoderMel
from gan_audio.networks.vocoder import Vocoder

LOUDEST = 100.0
"""Largest magnitude of a bin."""
BANDS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Edges of the bands of a discriminator, as shares of the spectrum."""
SLOPE = 0.1


class VocosConfig(BaseModel):
    """Sizes of the networks and weights of the losses; the defaults are those for 24 kHz and 100 mel bands."""

    model_config = ConfigDict(extra="forbid")

    width: int = Field(512, ge=8, description="channels of the blocks")
    hidden: int = Field(1536, ge=8, description="channels inside a block")
    layers: int = Field(8, ge=1, description="blocks")
    discriminator_width: int = Field(
        32, ge=2, description="channels of the first layer for each period, and of those of bands; 32 as published"
    )
    resolutions: list[PositiveInt] = Field([2048, 1024, 512], description="windows of the discriminators of bands")
    resolution_weight: float = Field(0.1, ge=0, description="weight of the discriminators of bands")
    feature_weight: float = Field(1.0, ge=0, description="weight of feature matching")
    mel_weight: float = Field(45.0, ge=0, description="weight of the mean absolute difference of log-mel spectrograms")
    warm_up: int = Field(
        0, ge=0, description="real samples of a first phase on the distance of mel spectrograms alone; 0: none"
    )
    quieter: float = Field(
        0.0, ge=0, le=60, description="decibels by which training sounds are made quieter at most, drawn for each"
    )


class Vocos(Vocoder):
    """Vocos' networks and its game; a `gan.contracts.ConditionalOnInput` whose input is a mel spectrogram."""

    Config = VocosConfig
    name = "vocos"
    discriminator: Discriminators

    def __init__(self, config: VocosConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        rate = int(getattr(fields["sound"], "rate", 0))
        if "mel" not in fields or fields["sound"].shape[0] != 1 or not rate:
            raise UsageError("vocos needs mono sound with its mel spectrogram: modality.mel=true, modality.channels=1")
        bands, frames = fields["mel"].shape
        samples = fields["sound"].shape[1]
        if samples < max(config.resolutions):
            raise UsageError(
                f"vocos needs samples of at least {max(config.resolutions):,} samples (model.resolutions), not "
                f"{samples:,} (modality.seconds times modality.rate)"
            )
        self.config, self.warm_up, self.quieter = config, config.warm_up, config.quieter
        self.mel = VocoderMel(rate, samples // frames, bands)
        self.generator = Generator(config, bands, samples // frames)
        self.discriminator = Discriminators(config)

    def players(self) -> dict[str, Player]:
        """The generator and all discriminators; both use AdamW(5e-4; 0.8, 0.9), decayed to 0 along a cosine."""
        adam = Optimizer(name="adamw", lr=5e-4, betas=(0.8, 0.9), weight_decay=0.01, schedule="cosine")
        return {
            "generator": Player(self.generator, adam, average=True),
            "discriminator": Player(self.discriminator, adam),
        }

    def _feature_matching(self, scored: Scored) -> Tensor:
        """The mean absolute difference of features, averaged over the layers of a head but its first, and weighed as
        the heads are."""
        terms = []
        per_head = len(scored.real_features) // len(self.discriminator.weights)
        pairs = list(zip(scored.real_features, scored.fake_features, strict=True))
        for head, weight in enumerate(self.discriminator.weights):
            layers = pairs[head * per_head + 1 : (head + 1) * per_head]
            distances = [(real.detach() - fake).abs().mean() for real, fake in layers]
            terms.append(weight * torch.stack(distances).mean())
        return self.config.feature_weight * torch.stack(terms).sum()

    def _mel_distance(self, real: Tensor, fake: Tensor) -> Tensor:
        real, fake = self.mel(real), self.mel(fake)
        distance: Tensor = self.config.mel_weight * (real - fake).abs().mean()
        return distance


class Generator(nn.Module):
    """Mel spectrograms ``(N, bands, frames)`` -> waveforms ``(N, 1, frames · hop)`` (figure 2)."""

    def __init__(self, config: VocosConfig, bands: int, hop: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(bands, config.width, 7, padding=3)
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.blocks = nn.ModuleList(Block(config.width, config.hidden, 1 / config.layers) for _ in range(config.layers))
        self.after = nn.LayerNorm(config.width, eps=1e-6)
        self.head = Head(config.width, hop)
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, mel: Tensor) -> Tensor:
        """The waveforms."""
        x = self.norm(self.first(mel).transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        waves: Tensor = self.head(self.after(x.transpose(1, 2)))
        return waves


class Block(nn.Module):
    """A ConvNeXt block on one axis: a convolution of each channel, then two layers for each frame, scaled."""

    def __init__(self, width: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.along = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.wide, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width, frames)``, the same shape."""
        y = self.norm(self.along(x).transpose(1, 2))
        y = self.scale * self.narrow(gelu(self.wide(y)))
        found: Tensor = x + y.transpose(1, 2)
        return found


class Head(nn.Module):
    """Vectors ``(N, frames, width)`` -> windows of four hops by their magnitudes and phases -> waveforms."""

    taper: Tensor

    def __init__(self, width: int, hop: int) -> None:
        super().__init__()
        self.hop, self.window = hop, 4 * hop
        self.out = nn.Linear(width, self.window + 2)
        self.register_buffer("taper", torch.hann_window(self.window), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 1, frames · hop)``."""
        with torch.autocast(x.device.type, enabled=False):
            logs, phases = self.out(x.float()).chunk(2, 2)
            spectrum = torch.polar(logs.exp().clamp(max=LOUDEST), phases)
            return self.overlapped(torch.fft.irfft(spectrum, self.window, 2))

    def overlapped(self, windows: Tensor) -> Tensor:
        """``(N, frames, window)`` added where they overlap, divided by the sum of squares of their tapers."""
        frames, edge = windows.shape[1], (self.window - self.hop) // 2
        size = (1, (frames - 1) * self.hop + self.window)
        stride, kernel = (1, self.hop), (1, self.window)
        waves = fold((windows * self.taper).transpose(1, 2), size, kernel, stride=stride)
        squares = self.taper.square().expand(1, frames, -1).transpose(1, 2)
        envelope = fold(squares, size, kernel, stride=stride)
        inner = slice(edge, edge + frames * self.hop)
        return waves[:, :, 0, inner] / envelope[:, :, 0, inner].clamp_min(1e-8)


class Discriminators(nn.Module):
    """A head for each period and each resolution: waveforms ``(N, 1, samples)`` -> scores, features, weights."""

    def __init__(self, config: VocosConfig) -> None:
        super().__init__()
        self.periods = nn.ModuleList(PeriodDiscriminator(period, config.discriminator_width) for period in PERIODS)
        self.bands = nn.ModuleList(
            BandDiscriminator(window, config.discriminator_width) for window in config.resolutions
        )
        self.weights = [1 / len(PERIODS)] * len(PERIODS)
        self.weights += [config.resolution_weight / len(config.resolutions)] * len(config.resolutions)
        """Of the heads: the mean over periods, and that over resolutions times its weight."""

    def forward(self, waves: Tensor) -> CriticOutput:
        """The heads of the periods, then those of the resolutions, with six features each."""
        scores: list[Tensor] = []
        features: list[Tensor] = []
        for head in (*self.periods, *self.bands):
            found = head(waves)
            features += found
            scores.append(found[-1].flatten(1))
        return CriticOutput(scores, features, self.weights)


class BandDiscriminator(nn.Module):
    """Convolutions on real and imaginary parts of five bands of a spectrum, whose results are joined by frequency."""

    taper: Tensor

    def __init__(self, window: int, width: int) -> None:
        super().__init__()
        bins = window // 2 + 1
        self.edges = [int(share * bins) for share in BANDS]
        self.register_buffer("taper", torch.hann_window(window), persistent=False)

        def layers() -> nn.ModuleList:
            found = [nn.Conv2d(2, width, (3, 9), padding=(1, 4))]
            found += [nn.Conv2d(width, width, (3, 9), (1, 2), (1, 4)) for _ in range(3)]
            found.append(nn.Conv2d(width, width, 3, padding=1))
            return nn.ModuleList(weight_norm(layer) for layer in found)

        self.stacks = nn.ModuleList(layers() for _ in BANDS[1:])
        self.last = weight_norm(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, waves: Tensor) -> list[Tensor]:
        """Activations of all layers, joined over the bands; the scores are the last."""
        x = self.spectrum(waves)
        parts = [x[..., start:end] for start, end in zip(self.edges, self.edges[1:])]
        found = []
        for number in range(len(self.stacks[0])):  # type: ignore[arg-type]
            parts = [leaky_relu(stack[number](part), SLOPE) for stack, part in zip(self.stacks, parts)]  # type: ignore[index]
            found.append(torch.cat(parts, 3))
        return [*found, self.last(found[-1])]

    def spectrum(self, waves: Tensor) -> Tensor:
        """``(N, 1, samples)`` -> ``(N, 2, frames, bins)`` in float32; the mean is removed, the peak 0.8."""
        with torch.autocast(waves.device.type, enabled=False):
            flat = waves.float().squeeze(1)
            flat = flat - flat.mean(1, keepdim=True)
            flat = 0.8 * flat / (flat.abs().amax(1, keepdim=True) + 1e-9)
            size = len(self.taper)
            found = torch.stft(flat, size, size // 4, window=self.taper, center=True, return_complex=True)
            return torch.view_as_real(found).permute(0, 3, 2, 1)
