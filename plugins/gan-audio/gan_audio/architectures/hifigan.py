"""HiFi-GAN: a generator that turns mel spectrograms into waveforms.

Kong, Kim, Bae: HiFi-GAN: generative adversarial networks for efficient and high fidelity speech synthesis, 2020,
arXiv:2010.05646. Transposed convolutions raise the rate of the frames to that of the samples, each followed by the mean
of residual blocks with different kernels (multi-receptive-field fusion). Discriminators look at every p-th sample
(periods) and at averages (scales); the generator also matches their features and the mel spectrogram of the recording.

Different from the authors' code: the discriminator of the first scale has weight normalisation like the others instead
of spectral normalisation, whose power iteration would advance once for each part of a batch; least squares in gan have
a factor ½, so the weights of the other terms are halved with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import torch
from gan.adversarial import CriticOutput, Scored
from gan.contracts import FieldSpec
from gan.errors import UsageError
from gan.game import Optimizer, Player
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, leaky_relu, pad
from torch.nn.utils.parametrizations import weight_norm

from gan_audio.networks.spectral import VocoderMel
from gan_audio.networks.vocoder import Vocoder

SLOPE = 0.1
DEVIATION = 0.01
"""Of the published initial weights."""
PERIODS = (2, 3, 5, 7, 11)
SCALES = 3


class HiFiGANConfig(BaseModel):
    """Sizes of the networks and weights of the loss terms; the defaults are V1."""

    model_config = ConfigDict(extra="forbid")

    rate: int = Field(22_050, ge=2_000, le=192_000, description="samples per second; that of the section modality")
    width: int = Field(512, ge=8, description="channels of the first layer, halved by each upsampling")
    upsampling: list[PositiveInt] = Field([8, 8, 2, 2], description="factors, whose product is modality.mel_hop")
    block: Literal[1, 2] = Field(1, description="residual blocks: 1, of pairs of convolutions; 2, of single ones")
    kernels: list[PositiveInt] = Field([3, 7, 11], description="kernels of the residual blocks behind each upsampling")
    dilations: list[list[PositiveInt]] = Field(
        [[1, 3, 5], [1, 3, 5], [1, 3, 5]], description="dilations of the layers of a block, for each kernel"
    )
    discriminator_width: int = Field(
        32, ge=2, description="channels of the first layer for each period; 32 as published"
    )
    scales: int = Field(3, ge=0, le=3, description="discriminators of scales; their wide kernels cost most on a CPU")
    weights: Literal["published", "scaled"] = Field(
        "published",
        description="initial weights of the generator: N(0, 0.01²); or such that its layers keep the variance of their "
        "input, for few channels",
    )
    feature_weight: float = Field(2.0, ge=0, description="weight of feature matching")
    mel_weight: float = Field(45.0, ge=0, description="weight of the mean absolute difference of log-mel spectrograms")
    warm_up: int = Field(
        0, ge=0, description="real samples of a first phase on the distance of mel spectrograms alone; 0: none"
    )
    quieter: float = Field(
        0.0, ge=0, le=60, description="decibels by which training sounds are made quieter at most, drawn for each"
    )


class HiFiGAN(Vocoder):
    """HiFi-GAN's networks and its game; a `gan.contracts.ConditionalOnInput` whose input is a mel spectrogram."""

    Config = HiFiGANConfig
    name = "hifigan"

    def __init__(self, config: HiFiGANConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        if "mel" not in fields or fields["sound"].shape[0] != 1:
            raise UsageError(
                "hifigan needs mono sound with its mel spectrogram: modality.mel=true, modality.channels=1"
            )
        bands, frames = fields["mel"].shape
        hop = fields["sound"].shape[1] // frames
        if f" {config.rate} Hz" not in fields["mel"].unit:
            raise UsageError(f"model.rate is {config.rate}, and the data have the {fields['mel'].unit}")
        factor = math.prod(config.upsampling)
        if factor != hop:
            raise UsageError(f"model.upsampling multiplies to {factor}, and modality.mel_hop is {hop}")
        if len(config.kernels) != len(config.dilations) or any(kernel % 2 == 0 for kernel in config.kernels):
            raise UsageError("model.kernels must be odd, and model.dilations must have a list for each of them")
        if config.width % 2 ** len(config.upsampling):
            raise UsageError(f"model.width must be a multiple of {2 ** len(config.upsampling)}")
        self.config, self.warm_up, self.quieter = config, config.warm_up, config.quieter
        self.generator = Generator(config, bands)
        self.discriminator = Discriminators(config.discriminator_width, config.scales)
        self.mel = VocoderMel(config.rate, hop, bands)

    def players(self) -> dict[str, Player]:
        """The generator and all discriminators; both use AdamW(2e-4; 0.8, 0.99)."""
        adam = Optimizer(name="adamw", lr=2e-4, betas=(0.8, 0.99), weight_decay=0.01)
        return {
            "generator": Player(self.generator, adam, average=True),
            "discriminator": Player(self.discriminator, adam),
        }

    def _feature_matching(self, scored: Scored) -> Tensor:
        """Equation 4: the sum over layers of the mean absolute difference of features, the scores included."""
        pairs = zip(scored.real_features, scored.fake_features, strict=True)
        terms = [(real.detach() - fake).abs().mean() for real, fake in pairs]
        return 0.5 * self.config.feature_weight * torch.stack(terms).sum()

    def _mel_distance(self, real: Tensor, fake: Tensor) -> Tensor:
        """Equation 5, with mel bands up to half the rate."""
        real, fake = self.mel(real), self.mel(fake)
        distance: Tensor = 0.5 * self.config.mel_weight * (real - fake).abs().mean()
        return distance


class Generator(nn.Module):
    """Mel spectrograms ``(N, bands, frames)`` -> waveforms ``(N, 1, frames · hop)`` in -1 … 1 (figure 1)."""

    def __init__(self, config: HiFiGANConfig, bands: int) -> None:
        super().__init__()
        width, scaled = config.width, config.weights == "scaled"
        first = nn.Conv1d(bands, width, 7, padding=3)
        # magnitudes have logarithms of about -6; the published first layer has PyTorch's weights
        self.first = _normal(first, _deviation(first, 2 / 36)) if scaled else weight_norm(first)
        self.upsampling, self.blocks = nn.ModuleList(), nn.ModuleList()
        for rate in config.upsampling:
            # kernels of twice the stride, so that each sample is a sum of two frames
            padding, more = (rate + 1) // 2, rate % 2
            up = nn.ConvTranspose1d(width, width // 2, 2 * rate, rate, padding, output_padding=more)
            width //= 2
            self.upsampling.append(_normal(up, _deviation(up, 2.0) if scaled else DEVIATION))
            self.blocks.append(
                nn.ModuleList(
                    ResidualBlock(width, kernel, dilations, paired=config.block == 1, scaled=scaled)
                    for kernel, dilations in zip(config.kernels, config.dilations, strict=True)
                )
            )
        last = nn.Conv1d(width, 1, 7, padding=3)
        self.last = _normal(
            last, _deviation(last, 0.02) if scaled else DEVIATION
        )  # a quiet sound, far from tanh's ends

    def forward(self, mel: Tensor) -> Tensor:
        """The waveforms."""
        x: Tensor = self.first(mel)
        for up, blocks in zip(self.upsampling, self.blocks, strict=True):
            assert isinstance(blocks, nn.ModuleList)
            x = up(leaky_relu(x, SLOPE))
            x = torch.stack([block(x) for block in blocks]).mean(0)
        return torch.tanh(self.last(leaky_relu(x, 0.01)))  # the published networks have this slope here


class ResidualBlock(nn.Module):
    """Figure 1, right: residual layers with growing dilations; `paired` ones have a second convolution without."""

    def __init__(
        self, width: int, kernel: int, dilations: Sequence[int], *, paired: bool, scaled: bool = False
    ) -> None:
        super().__init__()

        def layer(dilation: int) -> nn.Module:
            made = nn.Conv1d(width, width, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2)
            return _normal(made, _deviation(made, 0.2) if scaled else DEVIATION)

        self.dilated = nn.ModuleList(layer(dilation) for dilation in dilations)
        self.plain = nn.ModuleList(layer(1) for _ in dilations) if paired else None

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width, samples)``, the same shape."""
        for index, dilated in enumerate(self.dilated):
            y = dilated(leaky_relu(x, SLOPE))
            if self.plain is not None:
                y = self.plain[index](leaky_relu(y, SLOPE))
            x = x + y
        return x


class Discriminators(nn.Module):
    """A head for each period and each scale: waveforms ``(N, 1, samples)`` -> scores, and features of all layers."""

    def __init__(self, width: int, scales: int = SCALES) -> None:
        super().__init__()
        self.periods = nn.ModuleList(PeriodDiscriminator(period, width) for period in PERIODS)
        self.scales = nn.ModuleList(ScaleDiscriminator(4 * width) for _ in range(scales))

    def forward(self, waves: Tensor) -> CriticOutput:
        """Five heads of the periods, then those of the scales."""
        scores: list[Tensor] = []
        features: list[Tensor] = []
        for head in self.periods:
            features += head(waves)
            scores.append(features[-1].flatten(1))
        for number, head in enumerate(self.scales):
            if number:
                waves = avg_pool1d(waves, 4, 2, 2)
            features += head(waves)
            scores.append(features[-1].flatten(1))
        return CriticOutput(scores, features)


class PeriodDiscriminator(nn.Module):
    """Section 2.3: convolutions along the columns of a waveform that is written in rows of `period` samples."""

    def __init__(self, period: int, width: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, width, 4 * width, 16 * width, 32 * width]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(before, after, (5, 1), (3, 1), (2, 0))) for before, after in pairwise(widths)
        )
        self.layers.append(weight_norm(nn.Conv2d(widths[-1], widths[-1], (5, 1), 1, (2, 0))))
        self.last = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), 1, (1, 0)))

    def forward(self, waves: Tensor) -> list[Tensor]:
        """Activations of all layers; the scores are the last."""
        count, channels, samples = waves.shape
        if samples % self.period:
            waves = pad(waves, (0, self.period - samples % self.period), "reflect")
        return _activations(waves.view(count, channels, -1, self.period), self.layers, self.last)


class ScaleDiscriminator(nn.Module):
    """Section 2.3, after MelGAN: strided convolutions in groups on the waveform or an average of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        #            channels in and out, kernel, stride, groups
        sizes = [(1, width, 15, 1, 1), (width, width, 41, 2, 4), (width, 2 * width, 41, 2, 16)]
        sizes += [(2 * width, 4 * width, 41, 4, 16), (4 * width, 8 * width, 41, 4, 16)]
        sizes += [(8 * width, 8 * width, 41, 1, 16), (8 * width, 8 * width, 5, 1, 1)]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv1d(before, after, kernel, stride, kernel // 2, groups=min(groups, before)))
            for before, after, kernel, stride, groups in sizes
        )
        self.last = weight_norm(nn.Conv1d(8 * width, 1, 3, 1, 1))

    def forward(self, waves: Tensor) -> list[Tensor]:
        """Activations of all layers; the scores are the last."""
        return _activations(waves, self.layers, self.last)


def _activations(x: Tensor, layers: nn.ModuleList, last: nn.Module) -> list[Tensor]:
    found = []
    for layer in layers:
        x = leaky_relu(layer(x), SLOPE)
        found.append(x)
    return [*found, last(x)]


def _normal(layer: nn.Conv1d | nn.ConvTranspose1d, deviation: float) -> nn.Module:
    """A layer with weight normalisation whose weights are drawn from N(0, `deviation`²)."""
    nn.init.normal_(layer.weight, std=deviation)
    normed: nn.Module = weight_norm(layer)
    return normed


def _deviation(layer: nn.Conv1d | nn.ConvTranspose1d, gain: float) -> float:
    """Of weights by which an output has `gain` times the mean square of the layer's inputs."""
    inputs = layer.in_channels * layer.kernel_size[0]
    if isinstance(layer, nn.ConvTranspose1d):
        inputs //= layer.stride[0]
    return math.sqrt(gain / inputs)
