"""DVD-GAN: class-conditional clips from convolutional recurrence, with critics of full frames and of small clips.

Clark, Donahue, Simonyan 2019, arXiv:1907.06571. One latent and the embedding of the class become 4x4 features, the same
at every time. At each resolution a convolutional GRU passes over time, then two residual blocks of BigGAN (Brock et al.
2019, arXiv:1809.11096) draw every frame by itself. The spatial critic D_S judges a few frames at full resolution, the
temporal critic D_T whole clips of half the resolution, whose first two blocks are three-dimensional. Both learn in one
player, which equals two optimizers because Adam treats each weight by itself.

Not of the paper: a training for a CPU has few classes and frames, so that the sizes are settings; attention, which the
authors use from 128 pixels on, is left out. Clips have any number of frames at generation, since nothing in the
generator knows the length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
from gan.adversarial import CriticOutput, adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player
from gan.latents import class_shares
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, avg_pool3d, interpolate, relu
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import cached

from gan_video.architectures.clips import clip_shape, pixels_of, real_clips

PART = 32
"""Frames of a part when a clip is streamed."""


class DVDGANConfig(BaseModel):
    """Sizes of the networks; the defaults are those of the paper for 64 pixels."""

    model_config = ConfigDict(extra="forbid")

    latent: int = Field(120, ge=1, le=4096, description="size of the latent vector")
    embedding: int = Field(120, ge=1, le=4096, description="size of the embedding of a class")
    width: int = Field(128, ge=1, le=1024, description="channels of the generator at full resolution; 8 times at 4x4")
    critic_width: int = Field(128, ge=1, le=1024, description="channels of both critics after their first block")
    frames_seen: int = Field(8, ge=1, le=64, description="random frames of a clip that the spatial critic judges")


class DVDGANOptions(BaseModel):
    """What one call of `generate` may choose."""

    model_config = ConfigDict(extra="forbid")

    frames: int = Field(0, ge=0, le=10_000, description="frames of a clip; 0: as many as in training")
    truncation: float = Field(1.0, gt=0, le=1, description="scale of the latent vectors; below 1 less varied")


# ---------------------------------------------------------------------- layers


def _orthogonal(layer: nn.Module) -> nn.Module:
    """A layer with orthogonal weights, divided by their largest singular value (Miyato et al. 2018)."""
    nn.init.orthogonal_(layer.weight)  # type: ignore[arg-type]
    if isinstance(getattr(layer, "bias", None), Tensor):
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return spectral_norm(layer, eps=1e-6)


class ConvGRU(nn.Module):
    """A gated recurrent unit whose products are 3x3 convolutions (Ballas et al. 2016, arXiv:1511.06432), with ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = _orthogonal(nn.Conv2d(2 * channels, 2 * channels, 3, padding=1))
        self.candidate = _orthogonal(nn.Conv2d(2 * channels, channels, 3, padding=1))

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """``(N, channels, H, W)`` and the state of that shape -> the next state.

        ``r, u = σ(conv[x, h])``, ``c = ReLU(conv[x, r ⊙ h])``, ``h' = u ⊙ h + (1 - u) ⊙ c``.
        """
        reset, update = self.gates(torch.cat([x, state], 1)).sigmoid().chunk(2, 1)
        candidate = relu(self.candidate(torch.cat([x, reset * state], 1)))
        out: Tensor = update * state + (1 - update) * candidate
        return out


class ConditionalNorm(nn.Module):
    """Batch normalization over frames and clips, with gain and bias from the latent and the class."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = _orthogonal(nn.Linear(condition, channels, bias=False))
        self.bias = _orthogonal(nn.Linear(condition, channels, bias=False))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """``(N · frames, channels, H, W)`` and ``(N, condition)`` -> the shape of ``x``."""
        frames = len(x) // len(condition)
        gain, bias = (
            layer(condition).repeat_interleave(frames, 0)[:, :, None, None] for layer in (self.gain, self.bias)
        )
        out: Tensor = self.norm(x) * (1 + gain) + bias
        return out


class GeneratorBlock(nn.Module):
    """Norm ReLU up conv3, norm ReLU conv3, with the input added; twice the pixels where it is an `up` block."""

    def __init__(self, before: int, after: int, condition: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.first_norm = ConditionalNorm(before, condition)
        self.first = _orthogonal(nn.Conv2d(before, after, 3, padding=1))
        self.second_norm = ConditionalNorm(after, condition)
        self.second = _orthogonal(nn.Conv2d(after, after, 3, padding=1))
        self.shortcut = _orthogonal(nn.Conv2d(before, after, 1)) if before != after else None

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """``(N · frames, before, H, W)`` -> ``(N · frames, after, H, W)``, twice as high and wide after `up`."""
        y = relu(self.first_norm(x, condition))
        if self.up:
            x, y = interpolate(x, scale_factor=2.0), interpolate(y, scale_factor=2.0)
        y = self.second(relu(self.second_norm(self.first(y), condition)))
        return y + (x if self.shortcut is None else self.shortcut(x))  # type: ignore[no-any-return]


class CriticBlock(nn.Module):
    """ReLU conv3 ReLU conv3, then half the pixels (`down`), with the input added; the `first` one lacks its ReLU.

    With three axes time is convolved too, and halved only as far as it has two frames.
    """

    def __init__(self, before: int, after: int, axes: int, *, down: bool, first: bool) -> None:
        super().__init__()
        conv: type[nn.Conv2d] | type[nn.Conv3d] = nn.Conv2d if axes == 2 else nn.Conv3d
        self.axes, self.is_first, self.down = axes, first, down
        self.first = _orthogonal(conv(before, after, 3, padding=1))
        self.second = _orthogonal(conv(after, after, 3, padding=1))
        self.shortcut = _orthogonal(conv(before, after, 1)) if down or before != after else None

    def forward(self, x: Tensor) -> Tensor:
        """``(N, before, …, H, W)`` -> ``(N, after, …, H, W)``, or half of the sides."""
        y: Tensor = self.second(relu(self.first(x if self.is_first else relu(x))))
        if self.down:
            x, y = self._halved(x), self._halved(y)  # pooling commutes with the 1x1 convolution
        return y + (x if self.shortcut is None else self.shortcut(x))

    def _halved(self, x: Tensor) -> Tensor:
        if self.axes == 2:
            return avg_pool2d(x, 2)
        return avg_pool3d(x, (2 if x.shape[2] > 1 else 1, 2, 2))


# ---------------------------------------------------------------------- the networks


class Generator(nn.Module):
    """Latents and classes to clips of any length."""

    def __init__(self, config: DVDGANConfig, side: int, channels: int, classes: int) -> None:
        super().__init__()
        stages = side.bit_length() - 3  # 4·2^n pixels
        condition = config.latent + (config.embedding if classes else 0)
        widths = [config.width * min(8, 2 ** max(0, stages - 1 - stage)) for stage in range(stages)]
        self.embedding = nn.Linear(classes, config.embedding, bias=False) if classes else None
        self.first_width = widths[0]
        self.linear = _orthogonal(nn.Linear(condition, 16 * widths[0]))
        self.recurrent = nn.ModuleList(ConvGRU(width) for width in widths)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [
                    GeneratorBlock(width, width, condition, up=False),
                    GeneratorBlock(width, after, condition, up=True),
                ]
            )
            for width, after in pairwise([*widths, widths[-1]])
        )
        self.norm = nn.BatchNorm2d(widths[-1])
        self.out = _orthogonal(nn.Conv2d(widths[-1], channels, 3, padding=1))

    def condition(self, latents: Tensor, shares: Tensor | None) -> Tensor:
        """``(N, latent)`` and ``(N, classes)`` shares of classes -> ``(N, condition)``."""
        if self.embedding is None:
            return latents
        assert shares is not None
        return torch.cat([latents, self.embedding(shares)], 1)

    def forward(
        self, condition: Tensor, frames: int, states: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """``(N, condition)`` -> frames ``(N, frames, channels, R, R)`` in -1 … 1, and the states after them, from which
        the clip goes on."""
        with cached():  # weights are normalized once, not for each frame
            return self._frames(condition, frames, states)

    def _frames(self, condition: Tensor, frames: int, states: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        count = len(condition)
        x = self.linear(condition).unflatten(1, (self.first_width, 4, 4))[:, None].expand(-1, frames, -1, -1, -1)
        after = []
        for index, (unit, blocks) in enumerate(zip(self.recurrent, self.blocks)):
            state = torch.zeros_like(x[:, 0]) if states is None else states[index]
            passed = []
            for frame in x.unbind(1):
                state = unit(frame, state)
                passed.append(state)
            after.append(state)
            flat = torch.stack(passed, 1).flatten(0, 1)
            for block in blocks:  # type: ignore[attr-defined]
                flat = block(flat, condition)
            x = flat.view(count, frames, *flat.shape[1:])
        made = self.out(relu(self.norm(x.flatten(0, 1)))).tanh()
        return made.view(count, frames, *made.shape[1:]), after


class Critic(nn.Module):
    """Residual blocks, the sum over all places, and a linear layer, plus the projection on the class's embedding
    (Miyato and Koyama 2018, arXiv:1802.05637). The first `volumes` blocks are three-dimensional."""

    def __init__(self, channels: int, width: int, side: int, classes: int, volumes: int) -> None:
        super().__init__()
        downs = max(1, side.bit_length() - 3)  # down to 4x4
        widths = [channels, *(width * min(8, 2**stage) for stage in range(downs)), width * min(8, 2 ** (downs - 1))]
        self.volumes = nn.ModuleList()
        self.blocks = nn.ModuleList()
        for index, (before, after) in enumerate(pairwise(widths)):
            axes = 3 if index < volumes else 2
            block = CriticBlock(before, after, axes, down=index < downs, first=index == 0)
            (self.volumes if axes == 3 else self.blocks).append(block)
        self.linear = _orthogonal(nn.Linear(widths[-1], 1))
        self.embedding = _orthogonal(nn.Linear(classes, widths[-1], bias=False)) if classes else None

    def features(self, clips: Tensor) -> list[Tensor]:
        """The activations of the blocks for ``(N, frames, channels, R, R)``; the last are summed over all places,
        ``(N, frames, width)``."""
        seen, count = [], len(clips)
        if len(self.volumes):
            clips = clips.transpose(1, 2)
            for block in self.volumes:
                clips = block(clips)
                seen.append(clips)
            clips = clips.transpose(1, 2)
        x = clips.flatten(0, 1)
        for block in self.blocks:
            x = block(x)
            seen.append(x.view(count, -1, *x.shape[1:]))
        return [*seen, relu(x).sum((2, 3)).view(count, -1, x.shape[1])]

    def forward(self, clips: Tensor, shares: Tensor | None) -> Tensor:
        """``(N, frames, channels, R, R)`` and ``(N, classes)`` -> ``(N,)``: the sum of the scores of the frames."""
        with cached():
            features = self.features(clips)[-1]
            scores: Tensor = self.linear(features).squeeze(2)
            if self.embedding is not None:
                scores = scores + (self.embedding(shares)[:, None] * features).sum(2)
        return scores.sum(1)


# ---------------------------------------------------------------------- the game


class DVDGAN(nn.Module):
    """The generator and its two critics; conditional on the class where the data have one."""

    Config = DVDGANConfig
    Options = DVDGANOptions
    generation_batch = 8
    mixes_classes = True

    def __init__(self, config: DVDGANConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.config = config
        self.frames, channels, side = clip_shape(fields, "dvdgan")
        if config.frames_seen > self.frames:
            raise UsageError(
                f"model.frames_seen is {config.frames_seen}, and a clip has {self.frames} frames; set it lower or "
                "modality.frames higher"
            )
        self.classes = int(fields["label"].high) + 1 if "label" in fields else 0
        self.generator = Generator(config, side, channels, self.classes)
        self.spatial_critic = Critic(channels, config.critic_width, side, self.classes, volumes=0)
        self.temporal_critic = Critic(channels, config.critic_width, side // 2, self.classes, volumes=2)

    def given_fields(self, options: Any = None) -> tuple[str, ...]:
        """The class of the clip, if the data have classes."""
        return ("label",) if self.classes else ()

    def players(self) -> dict[str, Player]:
        """Adam(1e-4; 0, 0.999) and Adam(5e-4; 0, 0.999), as published; the generator is averaged."""
        critics = nn.ModuleList([self.spatial_critic, self.temporal_critic])
        return {
            "generator": Player(self.generator, Optimizer(lr=1e-4, betas=(0.0, 0.999)), average=True),
            "discriminator": Player(critics, Optimizer(lr=5e-4, betas=(0.0, 0.999))),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase; the loss is summed over the scores of both critics."""
        turns = adversarial_turns(
            loss, penalties, real=real_clips, fake=self._fake, critic=self.critic, with_batch=True
        )
        return [Phase("adversarial", turns)]

    def _fake(self, batch: Batch) -> Tensor:
        return self.clips(self.latents(batch.count, batch.rng), self._shares(batch.fields))

    def critic(self, clips: Tensor, batch: Batch) -> CriticOutput:
        """``(N, frames, channels, R, R)`` -> scores of some random frames, and of the clip at half the resolution."""
        shares = self._shares(batch.fields)
        chosen = batch.rng.rand(clips.shape[1]).argsort(1)[:, : self.config.frames_seen]
        frames = clips[torch.arange(len(clips), device=clips.device)[:, None], chosen]
        small = avg_pool3d(clips, (1, 2, 2))
        return CriticOutput([self.spatial_critic(frames, shares), self.temporal_critic(small, shares)])

    def _shares(self, fields: Mapping[str, Tensor] | None) -> Tensor | None:
        if not self.classes:
            return None
        assert fields is not None
        return class_shares(fields["label"], self.classes)

    # ------------------------------------------------------------------ samples

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent)`` from N(0, 1)."""
        return rng.randn(self.config.latent)

    def clips(self, latents: Tensor, shares: Tensor | None, frames: int = 0) -> Tensor:
        """Latents -> ``(N, frames, channels, R, R)`` in -1 … 1."""
        made: Tensor = self.generator(self.generator.condition(latents, shares), frames or self.frames)[0]
        return made

    def settle(self, rng: Draws) -> None:
        """Run the generator for standing statistics, with all classes alike."""
        shares = class_shares(rng.randint(self.classes), self.classes) if self.classes else None
        self.clips(self.latents(rng.count, rng), shares)

    def linear_maps(self) -> list[Tensor]:
        """The layer that the latent enters first, ``(features, latent)``."""
        weight = getattr(self.generator.linear, "weight").detach()  # noqa: B009  (of a parametrization)
        return [weight[:, : self.config.latent]]

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """The activations of the temporal critic."""
        small = avg_pool3d(samples["video"].float() / 127.5 - 1, (1, 2, 2))
        return self.temporal_critic.features(small)

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Clips of the given latents."""
        options = request.options if isinstance(request.options, DVDGANOptions) else DVDGANOptions()
        made = self.clips(latents * options.truncation, self._shares(request.given), options.frames)
        return {"video": pixels_of(made)}

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Clips of the given latents as floats 0 … 255, without rounding."""
        return {"video": self.clips(latents, self._shares(request.given)).float() * 127.5 + 127.5}

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` clips; see `DVDGANOptions` for longer ones."""
        return self.decode(self.latents(count, rng), request)

    def stream(self, rng: Draws, request: Request) -> Iterator[dict[str, Tensor]]:
        """The clip that `generate` makes, some frames at a time: the recurrent states go on."""
        options = request.options if isinstance(request.options, DVDGANOptions) else DVDGANOptions()
        latents = self.latents(1, rng) * options.truncation
        condition = self.generator.condition(latents, self._shares(request.given))
        states, frames = None, options.frames or self.frames
        for begin in range(0, frames, PART):
            made, states = self.generator(condition, min(PART, frames - begin), states)
            yield {"video": pixels_of(made)}
