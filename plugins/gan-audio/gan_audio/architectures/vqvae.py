"""Jukebox's VQ-VAE: waveforms become codes at one or several rates, and codes waveforms.

van den Oord, Vinyals, Kavukcuoglu: Neural discrete representation learning, 2017, arXiv:1711.00937; Dhariwal et al.:
Jukebox: a generative model for music, 2020, arXiv:2005.00341, section 3 and appendix B.1. Every level has an encoder, a
codebook and a decoder of its own. A level is trained on squared errors, on spectrograms of three resolutions and on the
distance of its vectors from their codes.

Different from the authors' code: variance and spectral norm, by which the losses are divided, are means over the
training so far instead of a pass over the data before it; in small batches a code is replaced below a quarter of even
use instead of below one use an update; layers outside the residual branches' ends begin with three times the variance
that PyTorch gives them, which shrinks sounds so much that the codes say nothing of them for the first hundred updates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player, Turn
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from gan_audio.networks.codebooks import Codebooks
from gan_audio.networks.spectral import MultiSpectral

PART = 1 << 12
"""Codes of a recording that are encoded or decoded at a time, about."""


class VQVAEConfig(BaseModel):
    """Sizes of the networks and weights of the losses; the defaults are Jukebox's small profile."""

    model_config = ConfigDict(extra="forbid")

    downs: list[PositiveInt] = Field(
        [5, 3], description="halvings of each level after the one below it: [5, 3] are 32 and 256 samples a code"
    )
    width: int = Field(32, ge=2, description="channels of the residual blocks")
    depth: int = Field(4, ge=1, le=16, description="residual layers between two halvings; dilations 1, 3, 9 …")
    multipliers: list[PositiveInt] = Field([], description="factors on width and depth of each level; []: 1")
    size: int = Field(64, ge=1, description="length of a code vector")
    codes: int = Field(1024, ge=2, le=1 << 16, description="vectors of the codebook of a level")
    decay: float = Field(0.99, gt=0, lt=1, description="decay of the averages that are the codes, for each update")
    commitment: float = Field(0.02, ge=0, description="weight of the commitment to codes")
    spectrum_weight: float = Field(1.0, ge=0, description="weight of the distance of spectrograms")
    worst_weight: float = Field(0.0, ge=0, description="weight of the mean of the largest squared errors")
    worst: int = Field(2048, ge=1, description="how many squared errors are the largest, of each sample")
    transforms: list[tuple[PositiveInt, PositiveInt, PositiveInt]] = Field(
        [(2048, 240, 1200), (1024, 120, 600), (512, 50, 240)],
        description="spectrograms of the loss: transform, hop and window in samples",
    )


class VQVAEOptions(BaseModel):
    """Options of one call of `generate`."""

    model_config = ConfigDict(extra="forbid")

    level: int = Field(0, ge=0, description="Level whose codes are decoded: 0 is the finest.")


class VQVAE(nn.Module):
    """Jukebox's autoencoder as an architecture of its own; a `gan.contracts.GivenInPart` that makes sounds anew."""

    Config = VQVAEConfig
    Options = VQVAEOptions
    generation_batch = 8

    def __init__(self, config: VQVAEConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.autoencoder = Autoencoder(config, fields["sound"])

    def players(self) -> dict[str, Player]:
        """One player; see `Autoencoder.player`."""
        return {"autoencoder": self.autoencoder.player()}

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase of reconstruction; the adversarial loss is not used."""
        return [Phase("autoencoder", [self.autoencoder.turn()])]

    def given_fields(self, options: object = None) -> tuple[str, ...]:
        """``("sound",)``."""
        return ("sound",)

    def given_places(self, options: object = None) -> Mapping[str, Sequence[int]]:
        """No channel is returned unchanged: the sound is made anew."""
        return {"sound": ()}

    @property
    def codebooks(self) -> Codebooks:
        """Those of the finest level, for metrics."""
        codebook = self.autoencoder.levels[0].codebook
        assert isinstance(codebook, Codebooks)
        return codebook

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """The given sounds by way of their codes, of any length, with these as ``original`` and the codes as ``codes``,
        ``(N, 1, frames)``."""
        options = request.options if isinstance(request.options, VQVAEOptions) else VQVAEOptions()
        if request.given is None or "sound" not in request.given:
            raise UsageError("vqvae encodes sounds and decodes them: a file must be given")
        levels = self.autoencoder.levels
        if options.level >= len(levels):
            raise UsageError(f"--level {options.level}: this run has the levels 0 to {len(levels) - 1}")
        sound = request.given["sound"]
        codes = self.autoencoder.encode(sound.float() / 32_768, options.level)
        waves = self.autoencoder.decode(codes, options.level)[..., : sound.shape[2]]
        return {"sound": to_int16(waves), "original": sound, "codes": codes[:, None]}


class Autoencoder(nn.Module):
    """The levels, and the statistics of the data by which their losses are divided."""

    statistics: Tensor

    def __init__(self, config: VQVAEConfig, sound: FieldSpec) -> None:
        super().__init__()
        channels, samples = sound.shape
        multipliers = config.multipliers or [1] * len(config.downs)
        if not config.downs or len(multipliers) != len(config.downs):
            raise UsageError("model.downs needs a number for each level, and model.multipliers too where it has any")
        self.config = config
        self.hops = [2 ** sum(config.downs[: level + 1]) for level in range(len(config.downs))]
        """Samples of a code, by level."""
        if samples % self.hops[-1]:
            raise UsageError(
                f"the samples must have a multiple of {self.hops[-1]:,} samples (a code of the last of model.downs), "
                f"not {samples:,} (modality.seconds times modality.rate)"
            )
        self.levels = nn.ModuleList(
            Level(config, channels, config.downs[: level + 1], factor) for level, factor in enumerate(multipliers)
        )
        self.spectrum = MultiSpectral(config.transforms)
        self.register_buffer("statistics", torch.zeros(4, dtype=torch.float64))
        """Samples, their sum of squares, sounds, and the sum of the norms of their spectrograms."""

    def player(self) -> Player:
        """Adam(3e-4; 0.9, 0.999) with gradients clipped to a norm of 1; its weights are averaged."""
        return Player(
            [self.levels],
            Optimizer(lr=3e-4, betas=(0.9, 0.999), clip_norm=1.0),
            average=True,
        )

    def turn(self, crop: int = 0) -> Turn:
        """The update of all levels, on the first `crop` samples of each sound; 0: all."""

        def objective(batch: Batch) -> dict[str, Tensor]:
            sounds = batch["sound"].float() / 32_768
            return self._reconstruct(batch, sounds[..., :crop] if crop else sounds)

        return Turn("autoencoder", objective, learn=self._learn, when=self._ready)

    def _ready(self, batch: Batch) -> Tensor:
        """The first iteration only learns codebooks and statistics."""
        return self.statistics[0] > 0

    def _reconstruct(self, batch: Batch, sounds: Tensor) -> dict[str, Tensor]:
        """Section 3.1 and equation 4, summed over the levels."""
        with torch.no_grad():
            counts = sounds.new_tensor([float(sounds.numel()), float(len(sounds))])
            sums = torch.stack([sounds.square().sum(), self.spectrum.norm(sounds).sum()])
            here = torch.stack([counts[0], sums[0], counts[1], sums[1]]).double()
            batch.observe("statistics", here)
            known = torch.where(self.statistics[0] > 0, self.statistics, here)  # in the first iteration those of a part
            variance = (known[1] / known[0]).float().clamp_min(1e-8)
            norm = (known[3] / known[2]).float().clamp_min(1e-8)
        terms: dict[str, Tensor] = {}
        for number, level in enumerate(self.levels):
            assert isinstance(level, Level)
            vectors = level.encode(sounds)
            level.codebook.observe(batch, vectors, name=f"level{number}")
            quantised = level.codebook(vectors)
            made = level.decode(quantised.vectors)
            errors = (sounds - made.float()).square()
            terms[f"squares{number}"] = errors.mean() / variance
            if self.config.worst_weight:
                worst = errors.flatten(1).topk(min(self.config.worst, errors[0].numel()), 1).values.mean()
                terms[f"worst{number}"] = self.config.worst_weight * worst / variance
            spectral = self.spectrum(sounds, made).mean() / norm
            terms[f"spectrum{number}"] = self.config.spectrum_weight * spectral
            terms[f"commitment{number}"] = self.config.commitment * quantised.commitment
            with torch.no_grad():
                shares = torch.zeros(self.config.codes, device=sounds.device)
                flat = quantised.codes.flatten()
                shares = shares.index_add_(0, flat, torch.ones_like(flat, dtype=shares.dtype)) / flat.numel()
                terms[f"_entropy{number}"] = torch.special.entr(shares).sum() / math.log(2)
        return terms

    @torch.no_grad()
    def _learn(self, observed: Mapping[str, Tensor], rng: Draws) -> None:
        self.statistics.add_(observed["statistics"])
        for number, level in enumerate(self.levels):
            assert isinstance(level, Level)
            level.codebook.learn(observed, rng, f"level{number}")

    def encode(self, waves: Tensor, level: int) -> Tensor:
        """``(N, channels, samples)`` in -1 … 1 -> codes ``(N, ⌈samples / hop⌉)`` of a level, part by part."""
        hop, net = self.hops[level], self.levels[level]
        assert isinstance(net, Level)
        waves = pad(waves, (0, -waves.shape[2] % hop))
        count, reach = waves.shape[2] // hop, net.reach
        found = []
        for start in range(0, count, PART):
            first, end = max(0, start - reach), min(count, start + PART + reach)
            vectors = net.encode(waves[..., first * hop : end * hop])
            found.append(net.codebook(vectors).codes[:, 0, start - first : start - first + PART])
        return torch.cat(found, 1)

    def decode(self, codes: Tensor, level: int) -> Tensor:
        """Codes ``(N, T)`` of a level -> waveforms ``(N, channels, T · hop)``, part by part."""
        parts = [self.decode_part(codes, level, at, at + PART) for at in range(0, codes.shape[1], PART)]
        return torch.cat(parts, 2)

    def decode_part(self, codes: Tensor, level: int, start: int, end: int) -> Tensor:
        """The waveform of the codes `start` to `end`, which depends on the `Level.reach` codes beside them."""
        hop, net = self.hops[level], self.levels[level]
        assert isinstance(net, Level)
        end = min(end, codes.shape[1])
        first, last = max(0, start - net.reach), min(codes.shape[1], end + net.reach)
        waves: Tensor = net.decode(net.codebook.decode(codes[:, None, first:last]))
        return waves[..., (start - first) * hop : (end - first) * hop]


class Level(nn.Module):
    """The encoder, the codebook and the decoder of a level (figure 7)."""

    def __init__(self, config: VQVAEConfig, channels: int, downs: Sequence[int], factor: int) -> None:
        super().__init__()
        width, depth, size = factor * config.width, factor * config.depth, config.size
        inputs = [channels] + [size] * (len(downs) - 1)
        self.encoders = nn.Sequential(
            *(Downsampling(before, size, width, depth, down) for before, down in zip(inputs, downs, strict=True))
        )
        self.decoders = nn.Sequential(*(Upsampling(size, size, width, depth, down) for down in reversed(downs)))
        self.last = nn.Conv1d(size, channels, 3, padding=1)
        self.codebook = Codebooks(1, config.codes, size, least=1.0, rarest=4.0, decay=config.decay)
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d) and ".narrow" not in name:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        dilations = sum(3**layer for layer in range(depth))
        self.reach = 2 * (dilations + 2) + 2 * len(downs)
        """Codes on each side on which the waveform of a code depends, at most: halving rates double the reach of the
        layers below, so that all of them reach less than twice as far as those at the rate of the codes."""

    def encode(self, waves: Tensor) -> Tensor:
        """``(N, channels, samples)`` -> ``(N, size, samples / hop)``."""
        vectors: Tensor = self.encoders(waves)
        return vectors

    def decode(self, vectors: Tensor) -> Tensor:
        """``(N, size, T)`` -> ``(N, channels, T · hop)``."""
        waves: Tensor = self.last(self.decoders(vectors))
        return waves


class Residual(nn.Module):
    """Residual layers with dilations 1, 3, 9 …, or in the opposite order; `cycle` > 0: they begin again."""

    def __init__(self, width: int, depth: int, *, reverse: bool = False, cycle: int = 0) -> None:
        super().__init__()
        dilations = [3 ** (layer % cycle if cycle else layer) for layer in range(depth)]
        self.wide = nn.ModuleList(
            nn.Conv1d(width, width, 3, dilation=dilation, padding=dilation)
            for dilation in (reversed(dilations) if reverse else dilations)
        )
        self.narrow = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width, T)``, the same shape."""
        for wide, narrow in zip(self.wide, self.narrow, strict=True):
            x = x + narrow(relu(wide(relu(x))))
        return x


class Downsampling(nn.Sequential):
    """Halvings, each followed by residual layers, then a convolution to `after` channels."""

    def __init__(self, before: int, after: int, width: int, depth: int, halvings: int) -> None:
        layers: list[nn.Module] = []
        for number in range(halvings):
            layers += [nn.Conv1d(width if number else before, width, 4, 2, 1), Residual(width, depth)]
        super().__init__(*layers, nn.Conv1d(width, after, 3, padding=1))


class Upsampling(nn.Sequential):
    """The mirror of `Downsampling`: a convolution, then residual layers before each doubling."""

    def __init__(
        self, before: int, after: int, width: int, depth: int, doublings: int, *, cycle: int = 0, reverse: bool = True
    ) -> None:
        layers: list[nn.Module] = [nn.Conv1d(before, width, 3, padding=1)]
        for number in range(doublings):
            out = width if number < doublings - 1 else after
            layers += [
                Residual(width, depth, reverse=reverse, cycle=cycle),
                nn.ConvTranspose1d(width, out, 4, 2, 1),
            ]
        super().__init__(*layers)


def to_int16(waves: Tensor) -> Tensor:
    """Waveforms in -1 … 1 as 16 bits."""
    return (waves.float().clamp(-1, 1) * 32_767).round().to(torch.int16)
