"""StyleGAN-V: films as functions of continuous time, judged by a few of their frames.

Skorokhodov, Tulyakov, Elhoseiny, "StyleGAN-V: A continuous video generator with the price, image quality and perks of
StyleGAN2", 2022, arXiv:2112.14683. A clip has one style w (its content) and a motion code v(t) for every time t. Noise
at anchors 16 frames apart passes two convolutions over time; from the anchor before t come the periods and phases of an
acyclic positional encoding, which is aligned with the anchors on both sides. The generator of StyleGAN2 (Karras et al.
2020, arXiv:1912.04958) without noise, style mixing and path lengths draws a frame from w and v(t): the motion code is
concatenated with its constant input and with the styles. The discriminator sees a few frames at random times: blocks
above 16 pixels look at each frame, then their features are concatenated, and the first convolutions of the blocks that
follow are modulated by the distances in time.

A clip has any number of frames, at any rate: a time between two frames is as good as any other. It is one long file
because it reads like the paper, whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
from gan.adversarial import adversarial_turns, plus
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws, SeededDraws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player
from gan.latents import class_shares
from gan.parts.style import (
    W_AVERAGE_DECAY,
    Convolution,
    Linear,
    MappingNetwork,
    ModulatedConvolution,
    StyledLayer,
    activate,
    low_pass_filter,
    minibatch_deviation,
    unit_moment,
    upsample,
)
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import conv1d

from gan_video.architectures.clips import clip_shape, pixels_of, real_clips

ANCHORS = 16
"""Frames between two anchors of the motion."""
KERNEL = 11
"""Anchors that a convolution over time sees."""
SURPLUS = 2 * (KERNEL - 1)
"""Anchors of noise that the two convolutions without padding consume."""
SHORTEST, LONGEST = 16.0, 1024.0
"""Periods of the positional encoding, in frames."""
JOINED = 16
"""Resolution at which the discriminator concatenates the features of its frames."""
PART = 32
"""Frames of a part when a clip is streamed."""


class StyleGANVConfig(BaseModel):
    """Sizes of the networks; the defaults are those of the paper for 256 pixels."""

    model_config = ConfigDict(extra="forbid")

    latent: int = Field(512, ge=1, le=4096, description="size of the content's latent vector z")
    style: int = Field(512, ge=1, le=4096, description="size of w")
    mapping_layers: int = Field(8, ge=1, le=16, description="layers of the mapping network")
    capacity: int = Field(
        16384, ge=1, description="channels times resolution of a layer, up to max_channels; 16384 up to 256 pixels"
    )
    max_channels: int = Field(512, ge=2, description="most channels of a layer")
    motion: int = Field(512, ge=1, le=4096, description="size of the noise of an anchor, and of what convolutions give")
    encoding: int = Field(256, ge=1, le=4096, description="size of the motion code v")
    frames_seen: int = Field(3, ge=2, le=16, description="frames of a clip that the discriminator sees")
    distance: int = Field(32, ge=1, le=1024, description="most frames between the first and the last of them")
    horizon: int = Field(
        1024,
        ge=0,
        le=1 << 20,
        description="time up to which clips begin in training, in frames; longer films need more",
    )
    group: int = Field(4, ge=1, description="clips per group of the minibatch standard deviation")

    def channels(self, resolution: int) -> int:
        """Channels of the feature maps at a resolution."""
        return max(2, min(self.capacity // resolution, self.max_channels))


class StyleGANVOptions(BaseModel):
    """What one call of `generate` may choose."""

    model_config = ConfigDict(extra="forbid")

    frames: int = Field(0, ge=0, le=10_000, description="frames of a clip; 0: as many as in training")
    speed: float = Field(
        1.0, gt=0, le=16, description="time between two frames; 0.5 gives twice as many frames of the same motion"
    )
    truncation: float = Field(1.0, gt=0, le=1, description="styles are drawn towards their average; 1: as trained")
    content_seed: int | None = Field(None, ge=0, description="give all clips the content that this seed draws")
    motion_seed: int | None = Field(None, ge=0, description="give all clips the motion that this seed draws")


# ---------------------------------------------------------------------- motion (section 3.1)


class MotionEncoder(nn.Module):
    """Noise at anchors to motion codes at any times."""

    frequencies: Tensor

    def __init__(self, motion: int, encoding: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(motion, motion, KERNEL) / 0.01)
        self.second = nn.Parameter(torch.randn(motion, motion, KERNEL) / 0.01)
        self.biases = nn.Parameter(torch.zeros(2, motion))
        self.scale = 0.01 / math.sqrt(motion * KERNEL)  # equalized, with a hundredth of the learning rate
        self.period = Linear(motion, encoding)
        self.phase = Linear(motion, encoding)
        self.align = Linear(motion, encoding)
        periods = torch.logspace(math.log2(SHORTEST), math.log2(LONGEST), encoding, base=2)
        self.register_buffer("frequencies", 2 * math.pi / periods, persistent=False)

    def anchors(self, noise: Tensor) -> Tensor:
        """``(N, anchors + SURPLUS, motion)`` -> ``(N, anchors, motion)``."""
        x = noise.transpose(1, 2)
        for weight, bias in zip((self.first, self.second), self.biases):
            x = activate(conv1d(x, weight * self.scale, bias * 0.01))
        return x.transpose(1, 2)

    def forward(self, noise: Tensor, times: Tensor, begin: Tensor) -> Tensor:
        """Noise of the anchors, times ``(N, F)`` since the first anchor, whose own time is `begin` ``(N, 1)``, all in
        frames -> motion codes ``(N, F, encoding)``.

        With the anchors before and after t, at tₗ and tᵣ, and ``wave(t) = sin((1 + tanh P uₗ) · ω · t + Φ uₗ)``::

            v(t) = wave(t) - lerp(wave(tₗ), wave(tᵣ)) + lerp(A uₗ, A uᵣ)

        so that v is continuous: at an anchor it is A u.
        """
        u = self.anchors(noise)
        place = (times / ANCHORS).floor().long().clamp(0, u.shape[1] - 2)
        index = place[:, :, None].expand(-1, -1, u.shape[2])
        left, right = u.gather(1, index), u.gather(1, index + 1)
        start = place.to(times.dtype) * ANCHORS
        share = ((times - start) / ANCHORS)[..., None]
        speed = (1 + torch.tanh(self.period(left))) * self.frequencies
        phase = self.phase(left)

        def wave(at: Tensor) -> Tensor:
            return torch.sin(speed * (at + begin)[..., None] + phase)

        before, after = wave(start), wave(start + ANCHORS)
        code: Tensor = (
            wave(times) - torch.lerp(before, after, share) + torch.lerp(self.align(left), self.align(right), share)
        )
        return code


# ---------------------------------------------------------------------- generator (section 3.2)


class Generator(nn.Module):
    """Mapping, motion, and the synthesis of frames."""

    filter: Tensor

    def __init__(self, config: StyleGANVConfig, side: int, channels: int, classes: int) -> None:
        super().__init__()
        self.mapping = MappingNetwork(config.latent, classes, config.style, config.mapping_layers)
        self.motion = MotionEncoder(config.motion, config.encoding)
        style, first = config.style + config.encoding, config.channels(4)
        self.constant = nn.Parameter(torch.randn(first, 4, 4))
        self.first = StyledLayer(first + config.encoding, first, style)
        widths = [config.channels(4 << block) for block in range(side.bit_length() - 2)]  # 4, 8, … side
        self.blocks = nn.ModuleList(
            nn.ModuleList([StyledLayer(a, b, style, up=True), StyledLayer(b, b, style)]) for a, b in pairwise(widths)
        )
        self.images = nn.ModuleList(ModulatedConvolution(w, channels, 1, style, demodulate=False) for w in widths)
        self.biases = nn.Parameter(torch.zeros(len(widths), channels))
        self.register_buffer("filter", low_pass_filter(), persistent=False)

    def forward(self, w: Tensor, codes: Tensor) -> Tensor:
        """Styles ``(N, style)`` and motion codes ``(N, F, encoding)`` -> frames ``(N, F, channels, R, R)``."""
        count, frames = codes.shape[:2]
        v = codes.flatten(0, 1)
        styles = torch.cat([w.repeat_interleave(frames, 0), v], 1)
        x = torch.cat([self.constant.expand(len(v), -1, -1, -1), v[:, :, None, None].expand(-1, -1, 4, 4)], 1)
        x = self.first(x, styles)
        image: Tensor = self.images[0](x, styles) + self.biases[0][:, None, None]
        for layers, to_image, bias in zip(self.blocks, list(self.images)[1:], self.biases[1:]):
            for layer in layers:  # type: ignore[attr-defined]
                x = layer(x, styles)
            image = upsample(image, self.filter) + to_image(x, styles) + bias[:, None, None]
        return image.float().view(count, frames, *image.shape[1:])


# ---------------------------------------------------------------------- discriminator (section 3.3)


class Block(nn.Module):
    """Two convolutions, the second of which halves the resolution, with a shortcut (StyleGAN2, figure 7c); the first is
    modulated where there is a `style`."""

    def __init__(self, inputs: int, outputs: int, style: int) -> None:
        super().__init__()
        self.plain = None if style else Convolution(inputs, inputs, 3)
        self.modulated = StyledLayer(inputs, inputs, style) if style else None
        self.second = Convolution(inputs, outputs, 3, down=True)
        self.shortcut = Convolution(inputs, outputs, 1, bias=False, down=True)

    def forward(self, x: Tensor, style: Tensor | None) -> Tensor:
        """``(N, inputs, R, R)`` -> ``(N, outputs, R/2, R/2)``."""
        if self.modulated is not None:
            y = self.modulated(x, style)
        else:
            assert self.plain is not None
            y = activate(self.plain(x))
        out: Tensor = (activate(self.second(y)) + self.shortcut(x)) * math.sqrt(0.5)
        return out


class Discriminator(nn.Module):
    """Some frames of a clip and the distances between them to one score."""

    frequencies: Tensor

    def __init__(self, config: StyleGANVConfig, side: int, channels: int, classes: int) -> None:
        super().__init__()
        self.group, seen = config.group, config.frames_seen
        sides = [side >> halvings for halvings in range(side.bit_length() - 2)]  # … 16, 8, 4
        widths = [config.channels(resolution) for resolution in sides]
        half = [width // 2 for width in widths]  # of what is known of a frame by itself
        self.alone = sum(resolution > JOINED for resolution in sides)
        style = config.style
        self.from_image = Convolution(channels, half[0], 1)
        periods = torch.logspace(0, math.log2(4 * config.distance), 16, base=2)
        self.register_buffer("frequencies", 2 * math.pi / periods, persistent=False)
        self.time = Linear(32 * (seen - 1), style)
        self.blocks = nn.ModuleList()
        for index, (before, after) in enumerate(pairwise(widths)):
            if index < self.alone:
                self.blocks.append(Block(half[index], half[index + 1], 0))
            else:
                self.blocks.append(Block(seen * half[index] if index == self.alone else before, after, style))
        last = widths[-1]
        self.convolution = Convolution(last + (self.group > 1), last, 3)
        self.hidden = Linear(last * 16, last)
        self.score = Linear(last, last if classes else 1)
        self.labels = MappingNetwork(0, classes, last, 2, embedding=last) if classes else None

    def distances(self, times: Tensor) -> Tensor:
        """Times of the frames ``(N, F)`` -> the style of their distances, ``(N, style)``."""
        angles = (times[:, 1:] - times[:, :-1])[..., None] * self.frequencies
        encoded = torch.cat([angles.sin(), angles.cos()], 2).flatten(1)
        return activate(self.time(encoded))

    def features(self, frames: Tensor, times: Tensor) -> list[Tensor]:
        """The activations for ``(N, F, channels, R, R)`` and times ``(N, F)``; the last are of 4x4 places."""
        count, style, seen = len(frames), self.distances(times), []
        x = activate(self.from_image(frames.flatten(0, 1)))
        for index, block in enumerate(self.blocks):
            if index == self.alone:
                x = x.view(count, -1, *x.shape[2:])
            x = block(x, style)
            seen.append(x.view(count, -1, *x.shape[2:]))
        return seen

    def forward(self, frames: Tensor, times: Tensor, shares: Tensor | None) -> Tensor:
        """``(N, F, channels, R, R)``, times ``(N, F)`` and shares of classes -> ``(N,)`` raw scores."""
        x = self.features(frames, times)[-1].float()
        if self.group > 1:
            x = minibatch_deviation(x, self.group)
        scores: Tensor = self.score(activate(self.hidden(activate(self.convolution(x)).flatten(1))))
        if self.labels is not None:
            target = unit_moment(self.labels(None, shares))
            scores = (scores * target).sum(1, keepdim=True) / math.sqrt(scores.shape[1])
        return scores.squeeze(1)


# ---------------------------------------------------------------------- the game


class StyleGANV(nn.Module):
    """The generator and the discriminator; conditional on the class where the data have one."""

    Config = StyleGANVConfig
    Options = StyleGANVOptions
    generation_batch = 4
    mixes_classes = True

    w_average: Tensor

    def __init__(self, config: StyleGANVConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("w_average", torch.zeros(config.style))
        self.frames, channels, side = clip_shape(fields, "stylegan-v")
        if config.frames_seen > min(self.frames, config.distance + 1):
            raise UsageError(
                f"model.frames_seen is {config.frames_seen}; a clip has {self.frames} frames (modality.frames), and "
                f"model.distance allows {config.distance + 1}"
            )
        self.classes = int(fields["label"].high) + 1 if "label" in fields else 0
        self.generator = Generator(config, side, channels, self.classes)
        self.discriminator = Discriminator(config, side, channels, self.classes)

    def given_fields(self, options: Any = None) -> tuple[str, ...]:
        """The class of the clip, if the data have classes."""
        return ("label",) if self.classes else ()

    def players(self) -> dict[str, Player]:
        """Both with Adam(0.0025, 0.002; 0, 0.99), as StyleGAN2 with lazy regularization; the generator is averaged."""
        return {
            "generator": Player(self.generator, Optimizer(lr=0.0025, betas=(0.0, 0.99)), average=True),
            "discriminator": Player(self.discriminator, Optimizer(lr=0.002, betas=(0.0, 0.99))),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase; real and generated clips are seen at the same times."""
        turns = adversarial_turns(
            loss, penalties, real=self._real, fake=self._fake, critic=self.critic, with_batch=True
        )
        turns[-1] = plus(turns[-1], self._observe_styles, learn=self._learn_average)
        return [Phase("adversarial", turns)]

    def _observe_styles(self, batch: Batch) -> dict[str, Tensor]:
        w = batch.shared.pop("w")
        batch.observe("w", w.sum(0))
        batch.observe("count", w.new_tensor(float(len(w))))
        return {}

    def _learn_average(self, observed: Mapping[str, Tensor], rng: Draws) -> None:
        self.w_average.lerp_(observed["w"] / observed["count"], 1 - W_AVERAGE_DECAY)

    def times(self, batch: Batch) -> Tensor:
        """The frames that this iteration looks at, ``(N, frames_seen)`` int64, increasing; the others are not made."""
        if "times" not in batch.shared:
            span = min(self.frames, self.config.distance + 1)
            chosen = batch.rng.rand(span).argsort(1)[:, : self.config.frames_seen].sort(1).values
            start = (batch.rng.rand(1) * (self.frames - chosen[:, -1:] + chosen[:, :1])).long() - chosen[:, :1]
            batch.shared["times"] = chosen + start
        found: Tensor = batch.shared["times"]
        return found

    def _real(self, batch: Batch) -> Tensor:
        clips, times = real_clips(batch), self.times(batch)
        return clips[torch.arange(len(clips), device=clips.device)[:, None], times]

    def _fake(self, batch: Batch) -> Tensor:
        times = self.times(batch).float()
        latents = self.latents(batch.count, batch.rng)
        begin = (batch.rng.rand(1) * (self.config.horizon / ANCHORS)).floor() * ANCHORS
        w = self.generator.mapping(latents[:, : self.config.latent], self._shares(batch.fields))
        batch.shared["w"] = w.detach()
        frames: Tensor = self.generator(w, self._codes(latents, times, begin))
        return frames

    def critic(self, frames: Tensor, batch: Batch) -> Tensor:
        """``(N, frames_seen, channels, R, R)`` at the times of the batch -> ``(N,)``."""
        scores: Tensor = self.discriminator(frames, self.times(batch).float(), self._shares(batch.fields))
        return scores

    def _shares(self, fields: Mapping[str, Tensor] | None) -> Tensor | None:
        if not self.classes:
            return None
        assert fields is not None
        return class_shares(fields["label"], self.classes)

    # ------------------------------------------------------------------ samples

    def anchors(self, duration: float) -> int:
        """Anchors that a clip of so many frames needs, with those that the convolutions consume."""
        return int(max(0.0, duration - 1) // ANCHORS) + 2 + SURPLUS

    def latents(self, count: int, rng: Draws, duration: float = 0) -> Tensor:
        """``(count, latent + motion · anchors)`` from N(0, 1): z, and the noise of each anchor."""
        anchors = range(self.anchors(duration or self.frames))
        return torch.cat([rng.randn(self.config.latent), *(rng.randn(self.config.motion) for _ in anchors)], 1)

    def latent_parts(self) -> dict[str, Tensor]:
        """The content of a clip, and its motion."""
        size = self.config.latent + self.config.motion * self.anchors(self.frames)
        content = torch.arange(size) < self.config.latent
        return {"content": content, "motion": ~content}

    def frames_at(self, latents: Tensor, shares: Tensor | None, times: Tensor, options: StyleGANVOptions) -> Tensor:
        """Frames of clips at any times ``(F,)`` since their beginning -> ``(N, F, channels, R, R)`` in -1 … 1."""
        w = self.generator.mapping(latents[:, : self.config.latent], shares)
        w = torch.lerp(self.w_average, w, options.truncation)
        begin = torch.zeros(len(latents), 1, device=latents.device)
        frames: Tensor = self.generator(w, self._codes(latents, times.expand(len(latents), -1), begin))
        return frames

    def _codes(self, latents: Tensor, times: Tensor, begin: Tensor) -> Tensor:
        noise = latents[:, self.config.latent :]
        codes: Tensor = self.generator.motion(noise.view(len(noise), -1, self.config.motion), times, begin)
        return codes

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """The discriminator's activations for frames of the middle of each clip."""
        clips = samples["video"].float() / 127.5 - 1
        span = min(clips.shape[1], self.config.distance + 1)
        times = torch.linspace(0, span - 1, self.config.frames_seen, device=clips.device).round().long()
        times = times + (clips.shape[1] - span) // 2
        return self.discriminator.features(clips[:, times], times.float().expand(len(clips), -1))

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Clips of the given latents."""
        return {"video": pixels_of(self._decoded(latents, request))}

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Clips of the given latents as floats 0 … 255, without rounding."""
        return {"video": self._decoded(latents, request) * 127.5 + 127.5}

    def _decoded(self, latents: Tensor, request: Request) -> Tensor:
        options = _options(request)
        times = torch.arange(options.frames or self.frames, device=latents.device) * options.speed
        return self.frames_at(latents, self._shares(request.given), times, options)

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` clips; see `StyleGANVOptions` for longer and slower ones."""
        return self.decode(self._wanted(count, rng, request), request)

    def stream(self, rng: Draws, request: Request) -> Iterator[dict[str, Tensor]]:
        """The clip that `generate` makes, some frames at a time."""
        options, shares = _options(request), self._shares(request.given)
        latents = self._wanted(1, rng, request)
        for part in torch.arange(options.frames or self.frames, device=latents.device).split(PART):  # type: ignore[no-untyped-call]
            yield {"video": pixels_of(self.frames_at(latents, shares, part * options.speed, options))}

    def _wanted(self, count: int, rng: Draws, request: Request) -> Tensor:
        """Latents for a request: long enough, with content and motion of given seeds."""
        options = _options(request)
        duration = (options.frames or self.frames) * options.speed
        latents, size = self.latents(count, rng, duration), self.config.latent
        for seed, part in ((options.content_seed, slice(0, size)), (options.motion_seed, slice(size, None))):
            if seed is not None:
                latents[:, part] = self.latents(1, SeededDraws.of(seed, 0, 1, latents.device), duration)[:, part]
        return latents


def _options(request: Request) -> StyleGANVOptions:
    return request.options if isinstance(request.options, StyleGANVOptions) else StyleGANVOptions()
