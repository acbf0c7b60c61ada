"""A neural codec: waveforms become codes at a stated bit rate, and codes waveforms.

Défossez, Copet, Synnaeve, Adi: High fidelity neural audio compression (EnCodec), 2022, arXiv:2210.13438, with the
settings of audiocraft where the paper states none. A causal convolutional encoder, residual vector quantisation, a
mirrored decoder; discriminators of short-time Fourier transforms; losses that a balancer weighs by their gradients.
Samples use different numbers of stages in training, so that one model serves several bit rates.

Different from the authors' code: the padding at the start is zeros instead of a reflection, so that a part with the
state of the one before it gives exactly what the whole gives; the number of stages is drawn for each sample instead of
each batch; codebooks begin with random vectors of the first batch instead of their k-means; the spectral loss compares
logarithms in both of its terms. A short training needs the phase `warm_up`: codes that are learned as averages are too
slow for an encoder that is far from its end, the commitment draws its vectors to them, and both shrink to nothing.

The file is long because it has the whole method: layers that continue a recording, networks, losses, phases and use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from gan.adversarial import CriticOutput, adversarial_turns, augmented, loss_at
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player, Turn
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import elu, leaky_relu, pad
from torch.nn.utils.parametrizations import weight_norm

from gan_audio.networks.balancer import Balancer
from gan_audio.networks.codebooks import Codebooks
from gan_audio.networks.spectral import MultiScaleMel

KERNEL, RESIDUAL = 7, 3
SLOPE = 0.2
SECONDS = 10
"""Seconds of a recording that are encoded and decoded at a time."""

State = dict[nn.Module, Any]
"""What layers remember of the part of a recording before: their last inputs, or the state of an LSTM."""


class CodecConfig(BaseModel):
    """Sizes of the networks and weights of the losses; the defaults are EnCodec's for 24 kHz."""

    model_config = ConfigDict(extra="forbid")

    width: int = Field(32, ge=2, description="channels after the first layer, doubled by each downsampling")
    ratios: list[PositiveInt] = Field([2, 4, 5, 8], description="downsampling factors; their product is the hop")
    size: int = Field(128, ge=1, description="length of a code vector")
    lstm: int = Field(2, ge=0, le=4, description="layers of the LSTM between convolutions and codes")
    stages: int = Field(32, ge=1, le=128, description="residual codebooks")
    codes: int = Field(1024, ge=2, le=1 << 16, description="vectors of a codebook")
    decay: float = Field(0.99, gt=0, lt=1, description="decay of the averages that are the codes, for each update")
    choices: list[PositiveInt] = Field(
        [2, 4, 8, 16, 32], description="numbers of stages that samples use in training, drawn for each; []: all stages"
    )
    discriminator_width: int = Field(32, ge=1, description="channels of the discriminators")
    transforms: list[PositiveInt] = Field(
        [2048, 1024, 512, 256, 128], description="window of each discriminator, in samples"
    )
    adversarial_weight: float = Field(4.0, ge=0, description="share of the adversarial gradient")
    feature_weight: float = Field(4.0, ge=0, description="share of the gradient of feature matching")
    time_weight: float = Field(0.1, ge=0, description="share of the gradient of the distance of waveforms")
    spectrum_weight: float = Field(2.0, ge=0, description="share of the gradient of the distance of mel spectrograms")
    commitment: float = Field(1.0, ge=0, description="weight of the commitment to codes, which is not balanced")
    warm_up: int = Field(
        0,
        ge=0,
        description="real samples of a first phase, in which the decoder gets the encoder's vectors instead of codes, "
        "on the distance of waveforms alone, while the codebooks learn these vectors; 0: none",
    )


class CodecOptions(BaseModel):
    """Options of one call of `generate`."""

    model_config = ConfigDict(extra="forbid")

    kbps: float | None = Field(
        None, gt=0, le=10_000, description="Bit rate in kbit/s, at most; none: that of all stages of the model."
    )


class Codec(nn.Module):
    """EnCodec's networks and its game; a `gan.contracts.GivenInPart` that makes given sounds anew."""

    Config = CodecConfig
    Options = CodecOptions
    generation_batch = 8
    choices: Tensor

    def __init__(self, config: CodecConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        channels, samples = fields["sound"].shape
        self.config, self.rate = config, int(getattr(fields["sound"], "rate", 0))
        if not self.rate:
            raise UsageError("codec needs sounds whose rate is known, as the modality audio has them")
        self.hop = math.prod(config.ratios)
        if samples % self.hop or samples < max(config.transforms):
            least = max(self.hop, *config.transforms)
            raise UsageError(
                f"codec needs samples of a multiple of {self.hop} (the product of model.ratios), at least {least:,} "
                f"(model.transforms), not {samples:,} (modality.seconds times modality.rate)"
            )
        if any(choice > config.stages for choice in config.choices):
            raise UsageError(f"model.choices must be at most model.stages, {config.stages}")
        self.encoder = Encoder(config, channels)
        self.decoder = Decoder(config, channels)
        self.codebooks = Codebooks(config.stages, config.codes, config.size, least=2.0, rarest=8.0, decay=config.decay)
        choices = torch.tensor(config.choices or [config.stages])
        self.register_buffer("choices", choices, persistent=False)
        self.discriminators = Discriminators(config.transforms, config.discriminator_width, channels)
        self.spectrum = MultiScaleMel(self.rate, [2**power for power in range(6, 12)])
        self.balancer = Balancer(
            {
                "adversarial": config.adversarial_weight,
                "features": config.feature_weight,
                "time": config.time_weight,
                "spectrum": config.spectrum_weight,
            }
        )

    # ------------------------------------------------------------------ training

    def players(self) -> dict[str, Player]:
        """The codec and all discriminators; both use Adam(3e-4; 0.5, 0.9)."""
        adam = Optimizer(lr=3e-4, betas=(0.5, 0.9))
        return {
            "generator": Player([self.encoder, self.decoder], adam, average=True),
            "discriminator": Player(self.discriminators, adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """An update of the discriminators, then one of the codec on the same sounds; before it the phase `warm_up`."""
        *critic, _ = adversarial_turns(loss, penalties, real=self._real, fake=self._made, critic=self.discriminators)

        def objective(batch: Batch) -> dict[str, Tensor]:
            return self._reconstruct(batch, loss)

        codec = Turn("generator", objective, learn=self._learn, when=self._ready)
        if not self.config.warm_up:
            return [Phase("adversarial", [*critic, codec])]
        warm_up = Turn("generator", self._without_codes, learn=self.codebooks.learn)
        return [
            Phase("warm-up", [warm_up], samples=self.config.warm_up),
            Phase("adversarial", [*critic, codec], reset_optimizers=True),  # balanced gradients have another scale
        ]

    def _without_codes(self, batch: Batch) -> dict[str, Tensor]:
        """The distance of the waveforms, which alone knows their phases."""
        real = self._real(batch)
        vectors = self.encoder(real)
        self.codebooks.observe(batch, vectors)
        return {"time": (real - self.decoder(vectors).float()).abs().mean()}

    def _ready(self, batch: Batch) -> Tensor:
        """The first iteration only learns codebooks and norms of gradients."""
        return self.codebooks.ready() & self.balancer.ready()

    def _real(self, batch: Batch) -> Tensor:
        return batch["sound"].float() / 32_768

    def _made(self, batch: Batch) -> Tensor:
        """The sounds of the batch from their codes; what the codec's update needs besides them is shared with it."""
        vectors = self.encoder(self._real(batch))
        stages = self.choices[batch.rng.randint(len(self.choices))]
        quantised = self.codebooks(vectors, stages)
        batch.shared["codec"] = vectors, stages, quantised.commitment
        made: Tensor = self.decoder(quantised.vectors)
        return made

    def _reconstruct(self, batch: Batch, loss: Loss) -> dict[str, Tensor]:
        """Section 3.4: balanced losses of the output, and the commitment."""
        made = batch.shared.pop("fake", None)
        if made is None:  # the discriminators' turn was left out
            made = self._made(batch)
        vectors, stages, commitment = batch.shared.pop("codec")
        self.codebooks.observe(batch, vectors, stages)
        real = self._real(batch)
        with torch.no_grad():
            of_real = self.discriminators(augmented(batch, real))

        now = loss_at(loss, batch)

        def losses(output: Tensor) -> dict[str, Tensor]:
            of_fake = self.discriminators(augmented(batch, output))
            scores = zip(of_real.scores, of_fake.scores, strict=True)
            heads = [now.generator(one, other).mean() for one, other in scores]
            pairs = zip(of_real.features, of_fake.features, strict=True)
            return {
                "adversarial": torch.stack(heads).mean(),
                "features": torch.stack([(one - other).abs().mean() for one, other in pairs]).mean(),
                "time": (real - output).abs().mean(),
                "spectrum": self.spectrum(real, output),
            }

        balanced, values = self.balancer.combine(batch, made, losses)
        return {
            "balanced": balanced,
            "commitment": self.config.commitment * commitment,
            **{f"_{name}": value for name, value in values.items()},
        }

    def _learn(self, observed: Mapping[str, Tensor], rng: Draws) -> None:
        self.codebooks.learn(observed, rng)
        self.balancer.learn(observed)

    # ------------------------------------------------------------------ use

    @property
    def kbps(self) -> float:
        """The bit rate of one stage, in kbit/s."""
        return self.rate / self.hop * math.log2(self.config.codes) / 1000

    def stages_for(self, kbps: float | None) -> int:
        """The most stages within a bit rate. Raises `UsageError` below the rate of one stage, or above that of all."""
        if kbps is None:
            return self.config.stages
        stages = int(kbps / self.kbps + 1e-9)
        if not 1 <= stages <= self.config.stages:
            raise UsageError(
                f"--kbps {kbps:g}: this codec has bit rates from {self.kbps:g} to {self.config.stages * self.kbps:g} "
                f"kbit/s"
            )
        return stages

    def encode(self, sounds: Tensor, stages: int | None = None) -> Tensor:
        """``(N, channels, samples)`` in -1 … 1, of a multiple of `hop` -> codes ``(N, stages, samples / hop)``."""
        state: State = {}
        parts = [
            self.codebooks(self.encoder(part, state), self.config.stages if stages is None else stages).codes
            for part in torch.split(sounds, SECONDS * self.rate // self.hop * self.hop, 2)
        ]
        return torch.cat(parts, 2)

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Codes ``(N, stages, frames)`` -> waveforms ``(N, channels, frames · hop)``."""
        state: State = {}
        parts = [
            self.decoder(self.codebooks.decode(part), state)
            for part in torch.split(codes, SECONDS * self.rate // self.hop, 2)
        ]
        return torch.cat(parts, 2)

    def given_fields(self, options: object = None) -> tuple[str, ...]:
        """``("sound",)``."""
        return ("sound",)

    def given_places(self, options: object = None) -> Mapping[str, Sequence[int]]:
        """No channel is returned unchanged: the sound is made anew."""
        return {"sound": ()}

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """The given sounds by way of their codes, of any length.

        Also returns these sounds as ``original`` and the codes ``(N, stages, frames)`` as ``codes``, for metrics.
        """
        options = request.options if isinstance(request.options, CodecOptions) else CodecOptions()
        if request.given is None or "sound" not in request.given:
            raise UsageError("codec encodes sounds and decodes them: a file must be given")
        sound = request.given["sound"]
        waves = pad(sound.float() / 32_768, (0, -sound.shape[2] % self.hop))
        codes = self.encode(waves, self.stages_for(options.kbps))
        made = self.decode_codes(codes)[..., : sound.shape[2]].float()
        return {
            "sound": (made.clamp(-1, 1) * 32_767).round().to(torch.int16),
            "original": sound,
            "codes": codes,
        }


class Convolution(nn.Module):
    """A causal convolution: output t sees inputs up to ``t · stride``."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.past = kernel - stride
        self.layer = _normalised(nn.Conv1d(before, after, kernel, stride))

    def forward(self, x: Tensor, state: State | None) -> Tensor:
        """``(N, before, T)`` -> ``(N, after, T / stride)``."""
        if self.past:
            x = _continued(self, x, self.past, state)
        y: Tensor = self.layer(x)
        return y


class Upsampling(nn.Module):
    """A causal transposed convolution with twice the stride as kernel."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.layer = _normalised(nn.ConvTranspose1d(before, after, 2 * stride, stride))

    def forward(self, x: Tensor, state: State | None) -> Tensor:
        """``(N, before, T)`` -> ``(N, after, T · stride)``."""
        y: Tensor = self.layer(_continued(self, x, 1, state))
        return y[..., self.stride : -self.stride]


def _continued(layer: nn.Module, x: Tensor, past: int, state: State | None) -> Tensor:
    """`x` after the `past` inputs before it, zeros at the start; `state` keeps its last ones."""
    before = None if state is None else state.get(layer)
    x = pad(x, (past, 0)) if before is None else torch.cat([before, x], 2)
    if state is not None:
        state[layer] = x[..., x.shape[2] - past :]
    return x


def _normalised(layer: nn.Conv1d | nn.ConvTranspose1d) -> nn.Module:
    """A layer with weight normalisation, whose weights have three times the variance that PyTorch gives them.

    With PyTorch's a dozen layers have an output that hardly depends on the input, and a small network stays there.
    """
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    normed: nn.Module = weight_norm(layer)
    return normed


class Residual(nn.Module):
    """A convolution of 3 to half the channels and one of 1 back, beside one of 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.narrow = Convolution(width, width // 2, RESIDUAL)
        self.wide = Convolution(width // 2, width, 1)
        self.beside = Convolution(width, width, 1)

    def forward(self, x: Tensor, state: State | None) -> Tensor:
        """``(N, width, T)``, the same shape."""
        y = self.wide(elu(self.narrow(elu(x), state)), state)
        found: Tensor = y + self.beside(x, state)
        return found


class Memory(nn.Module):
    """An LSTM with a residual connection around it."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, layers)

    def forward(self, x: Tensor, state: State | None) -> Tensor:
        """``(N, width, T)``, the same shape."""
        y, after = self.lstm(x.permute(2, 0, 1), None if state is None else state.get(self))
        if state is not None:
            state[self] = after
        found: Tensor = x + y.permute(1, 2, 0)
        return found


class Encoder(nn.Module):
    """Waveforms ``(N, channels, samples)`` -> vectors ``(N, size, samples / hop)`` (figure 1)."""

    def __init__(self, config: CodecConfig, channels: int) -> None:
        super().__init__()
        width = config.width
        self.first = Convolution(channels, width, KERNEL)
        self.residuals, self.downsampling = nn.ModuleList(), nn.ModuleList()
        for ratio in config.ratios:
            self.residuals.append(Residual(width))
            self.downsampling.append(Convolution(width, 2 * width, 2 * ratio, ratio))
            width *= 2
        self.memory = Memory(width, config.lstm) if config.lstm else None
        self.last = Convolution(width, config.size, KERNEL)

    def forward(self, waves: Tensor, state: State | None = None) -> Tensor:
        """The vectors; `state`, empty at first, continues a recording part by part."""
        x = self.first(waves, state)
        for residual, downsampling in zip(self.residuals, self.downsampling, strict=True):
            x = downsampling(elu(residual(x, state)), state)
        if self.memory is not None:
            x = self.memory(x, state)
        vectors: Tensor = self.last(elu(x), state)
        return vectors


class Decoder(nn.Module):
    """Vectors ``(N, size, frames)`` -> waveforms ``(N, channels, frames · hop)``; the encoder mirrored."""

    def __init__(self, config: CodecConfig, channels: int) -> None:
        super().__init__()
        width = config.width * 2 ** len(config.ratios)
        self.first = Convolution(config.size, width, KERNEL)
        self.memory = Memory(width, config.lstm) if config.lstm else None
        self.upsampling, self.residuals = nn.ModuleList(), nn.ModuleList()
        for ratio in reversed(config.ratios):
            self.upsampling.append(Upsampling(width, width // 2, ratio))
            width //= 2
            self.residuals.append(Residual(width))
        self.last = Convolution(width, channels, KERNEL)

    def forward(self, vectors: Tensor, state: State | None = None) -> Tensor:
        """The waveforms; `state`, empty at first, continues a recording part by part."""
        x = self.first(vectors, state)
        if self.memory is not None:
            x = self.memory(x, state)
        for upsampling, residual in zip(self.upsampling, self.residuals, strict=True):
            x = residual(upsampling(elu(x), state), state)
        waves: Tensor = self.last(elu(x), state)
        return waves


class Discriminators(nn.Module):
    """A head for each transform: waveforms ``(N, channels, samples)`` -> scores, and features of all inner layers."""

    def __init__(self, transforms: Sequence[int], width: int, channels: int = 1) -> None:
        super().__init__()
        self.heads = nn.ModuleList(TransformDiscriminator(size, width, channels) for size in transforms)

    def forward(self, waves: Tensor) -> CriticOutput:
        """The heads in their order."""
        scores: list[Tensor] = []
        features: list[Tensor] = []
        for head in self.heads:
            *inner, score = head(waves)
            features += inner
            scores.append(score.flatten(1))
        return CriticOutput(scores, features)


class TransformDiscriminator(nn.Module):
    """Section 3.4, figure 2: convolutions on real and imaginary parts of a normalised transform, time by frequency."""

    taper: Tensor

    def __init__(self, window: int, width: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("taper", torch.hann_window(window), persistent=False)
        layers = [nn.Conv2d(2 * channels, width, (3, 9), padding=(1, 4))]
        for dilation in (1, 2, 4):
            layers.append(nn.Conv2d(width, width, (3, 9), (1, 2), (dilation, 4), (dilation, 1)))
        layers.append(nn.Conv2d(width, width, 3, padding=1))
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.last = weight_norm(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, waves: Tensor) -> list[Tensor]:
        """Activations of all layers; the scores are the last."""
        x = self.spectrum(waves)
        found = []
        for layer in self.layers:
            x = leaky_relu(layer(x), SLOPE)
            found.append(x)
        return [*found, self.last(x)]

    def spectrum(self, waves: Tensor) -> Tensor:
        """``(N, channels, samples)`` -> ``(N, 2 · channels, frames, bins)``, in float32."""
        with torch.autocast(waves.device.type, enabled=False):
            count, channels, samples = waves.shape
            size = len(self.taper)
            found = torch.stft(
                waves.float().reshape(-1, samples), size, size // 4, window=self.taper, center=False, normalized=True,
                return_complex=True,
            )  # fmt: skip
            parts = torch.view_as_real(found).view(count, channels, *found.shape[1:], 2)
            return parts.permute(0, 4, 1, 3, 2).flatten(1, 2)
