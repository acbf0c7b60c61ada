"""MoCoGAN: clips whose content stays and whose motion follows a path.

Tulyakov, Liu, Yang, Kautz 2018, arXiv:1707.04993. A clip has one content code z_C. A recurrent network turns noise of
each frame into a path of motion codes z_M. The image generator G_I draws each frame from [z_C, class, z_M,t]. One
critic D_I judges single frames, another one D_V whole clips; both learn in one player, which equals two optimizers
because Adam treats each weight by itself.

The published form has batch normalization in all networks. The default here normalizes the critics spectrally (Miyato
et al. 2018), which batch statistics of generated and real clips would unbalance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from gan.adversarial import CriticOutput, Scored, Term, adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws, SeededDraws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player
from gan.latents import class_shares
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from gan_video.architectures.clips import clip_shape, pixels_of, real_clips

PART = 32
"""Frames of a part when a clip is streamed."""


class MoCoGANConfig(BaseModel):
    """Sizes of the networks; the defaults are those of the paper."""

    model_config = ConfigDict(extra="forbid")

    content: int = Field(50, ge=1, le=4096, description="size of the content code z_C")
    motion: int = Field(10, ge=1, le=4096, description="size of the noise of a frame and of the motion code z_M")
    width: int = Field(64, ge=1, le=1024, description="channels before the image generator's last layer")
    critic_width: int = Field(64, ge=1, le=1024, description="channels after the first layer of both critics")
    critic_norm: Literal["batch", "spectral"] = Field(
        "spectral", description="normalization of the critics: batch as published, or spectral without batch statistics"
    )
    patch: bool = Field(True, description="whether the critics give a map of scores of patches, as in the default code")
    class_weight: float = Field(1.0, ge=0, le=1000, description="weight of the cross-entropy of the class of a clip")


class MoCoGANOptions(BaseModel):
    """What one call of `generate` may choose."""

    model_config = ConfigDict(extra="forbid")

    frames: int = Field(0, ge=0, le=10_000, description="frames of a clip; 0: as many as in training")
    content_seed: int | None = Field(None, ge=0, description="give all clips the content that this seed draws")
    motion_seed: int | None = Field(None, ge=0, description="give all clips the motion that this seed draws")


class MoCoGAN(nn.Module):
    """The image generator with its motion network, and the critics of frames and of clips."""

    Config = MoCoGANConfig
    Options = MoCoGANOptions
    generation_batch = 16
    mixes_classes = True

    def __init__(self, config: MoCoGANConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.config = config
        self.frames, channels, side = clip_shape(fields, "mocogan")
        stages = side.bit_length() - 3  # 4·2^n pixels
        self.classes = int(fields["label"].high) + 1 if "label" in fields else 0
        code = config.content + self.classes + config.motion
        self.motion_cell = nn.GRUCell(config.motion, config.motion)
        self.image_generator = _image_generator(code, config.width, channels, stages)
        spectral = config.critic_norm == "spectral"
        self.image_critic = _critic(2, channels, config.critic_width, stages, 1, spectral, config.patch)
        self.video_critic = _critic(3, channels, config.critic_width, stages, 1 + self.classes, spectral, config.patch)
        layers = sum(isinstance(module, nn.Conv3d) for module in self.video_critic)
        if self.frames < 3 * layers + 1:
            raise UsageError(
                f"mocogan's critic of clips of {side} pixels needs {3 * layers + 1} frames, not {self.frames}; "
                "set modality.frames"
            )

    # ------------------------------------------------------------------ the game

    def players(self) -> dict[str, Player]:
        """Adam(2e-4; 0.5, 0.999). The authors add a weight decay of 1e-5: ``optimizers.PLAYER.name=adamw``."""
        adam = Optimizer(lr=2e-4, betas=(0.5, 0.999))
        generator = nn.ModuleList([self.motion_cell, self.image_generator])
        critics = nn.ModuleList([self.image_critic, self.video_critic])
        return {"generator": Player(generator, adam, average=True), "discriminator": Player(critics, adam)}

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase. The loss is summed over the scores of a random frame of each clip and those of the clips."""
        terms: dict[str, dict[str, Term]] = {}
        if self.classes and self.config.class_weight:
            terms = {"discriminator": {"class": self._class_of_real}, "generator": {"class": self._class_of_fake}}
        turns = adversarial_turns(
            loss, penalties, real=real_clips, fake=self._fake, critic=self.critic, with_batch=True, terms=terms
        )
        return [Phase("adversarial", turns)]

    def _fake(self, batch: Batch) -> Tensor:
        label = batch["label"] if self.classes else None
        return self.clips(self.latents(batch.count, batch.rng), label)

    def critic(self, clips: Tensor, batch: Batch) -> CriticOutput:
        """``(N, frames, channels, R, R)`` -> scores of one random frame of each clip and of the clip, ``(N, …)`` each.

        The feature is the class logits of the clips, ``(N, classes)``.
        """
        chosen = batch.rng.randint(clips.shape[1])
        image_scores = self.image_critic(clips[torch.arange(len(clips), device=clips.device), chosen])
        output = self.video_critic(clips.transpose(1, 2))
        return CriticOutput([image_scores, output[:, :1]], [output[:, 1:].flatten(2).mean(2)])

    def _class_of_real(self, scored: Scored) -> Tensor:
        (logits,) = scored.real_features
        return self.config.class_weight * functional.cross_entropy(logits, scored.batch["label"])

    def _class_of_fake(self, scored: Scored) -> Tensor:
        (logits,) = scored.fake_features
        return self.config.class_weight * functional.cross_entropy(logits, scored.batch["label"])

    # ------------------------------------------------------------------ samples

    def given_fields(self, options: Any = None) -> tuple[str, ...]:
        """The class of the clip, if the data have classes."""
        return ("label",) if self.classes else ()

    def latents(self, count: int, rng: Draws, frames: int = 0) -> Tensor:
        """``(count, content + motion · (1 + frames))`` from N(0, 1): z_C, h_0, and the noise of each frame."""
        parts = [rng.randn(self.config.content)]
        parts += [rng.randn(self.config.motion) for _ in range(1 + (frames or self.frames))]
        return torch.cat(parts, 1)

    def clips(self, latents: Tensor, label: Tensor | None) -> Tensor:
        """Latents -> ``(N, frames, channels, R, R)`` in -1 … 1."""
        content, motion = latents[:, : self.config.content], latents[:, self.config.content :]
        state, *noise = motion.chunk(motion.shape[1] // self.config.motion, 1)
        return self._frames(content, label, state, noise)[0]

    def _frames(
        self, content: Tensor, label: Tensor | None, state: Tensor, noise: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The frames of the noises that follow a motion state, and the state after them."""
        constant = [content]
        if self.classes:
            assert label is not None
            constant.append(class_shares(label, self.classes).to(content))
        codes = []
        for frame_noise in noise:
            state = self.motion_cell(frame_noise, state)
            codes.append(torch.cat([*constant, state], 1))
        stacked = torch.stack(codes, 1)  # (N, frames, code)
        made: Tensor = self.image_generator(stacked.flatten(0, 1)[..., None, None])
        return made.view(*stacked.shape[:2], *made.shape[1:]), state

    def settle(self, rng: Draws) -> None:
        """Run the generator for standing statistics, with all classes alike."""
        label = rng.randint(self.classes) if self.classes else None
        self.clips(self.latents(rng.count, rng), label)

    def latent_parts(self) -> dict[str, Tensor]:
        """The content of a clip, and its motion."""
        size = self.config.content + self.config.motion * (1 + self.frames)
        content = torch.arange(size) < self.config.content
        return {"content": content, "motion": ~content}

    def linear_maps(self) -> list[Tensor]:
        """The layer that the content enters in every frame, ``(features, latent)``; motion passes a recurrent layer."""
        first = self.image_generator[0].get_parameter("weight").detach().flatten(1).T[:, : self.config.content]
        motion = first.new_zeros(len(first), self.config.motion * (1 + self.frames))
        return [torch.cat([first, motion], 1)]

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """The activations of the critic of clips."""
        x, seen = (samples["video"].float() / 127.5 - 1).transpose(1, 2), []
        for layer in list(self.video_critic)[:-1]:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                seen.append(x)
        return seen

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Clips of the given latents."""
        made = self.clips(latents, request.given["label"] if request.given and self.classes else None)
        return {"video": pixels_of(made)}

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Clips of the given latents as floats 0 … 255, without rounding."""
        made = self.clips(latents, request.given["label"] if request.given and self.classes else None)
        return {"video": made.float() * 127.5 + 127.5}

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` clips; see `MoCoGANOptions` for longer ones and for content and motion of given seeds."""
        options = request.options if isinstance(request.options, MoCoGANOptions) else MoCoGANOptions()
        latents = self.latents(count, rng, options.frames)
        if options.content_seed is not None:
            chosen = self._latents_of(options.content_seed, options.frames, latents)
            latents[:, : self.config.content] = chosen[:, : self.config.content]
        if options.motion_seed is not None:
            chosen = self._latents_of(options.motion_seed, options.frames, latents)
            latents[:, self.config.content :] = chosen[:, self.config.content :]
        return self.decode(latents, request)

    def stream(self, rng: Draws, request: Request) -> Iterator[dict[str, Tensor]]:
        """The clip that `generate` makes, some frames at a time: the motion state goes on, the content stays."""
        options = request.options if isinstance(request.options, MoCoGANOptions) else MoCoGANOptions()
        label = request.given["label"] if request.given and self.classes else None
        content, moving = rng.randn(self.config.content), rng
        if options.content_seed is not None:
            content = self._latents_of(options.content_seed, options.frames, content)[:, : self.config.content]
        if options.motion_seed is not None:
            moving = SeededDraws.of(options.motion_seed, 0, 1, rng.device)
            moving.randn(self.config.content)
        state, frames = moving.randn(self.config.motion), options.frames or self.frames
        for begin in range(0, frames, PART):
            noise = [moving.randn(self.config.motion) for _ in range(min(PART, frames - begin))]
            made, state = self._frames(content, label, state, noise)
            yield {"video": pixels_of(made)}

    def _latents_of(self, seed: int, frames: int, like: Tensor) -> Tensor:
        """The latents of the first sample of a seed, ``(1, …)``."""
        return self.latents(1, SeededDraws.of(seed, 0, 1, like.device), frames)


def _image_generator(code: int, width: int, channels: int, stages: int) -> nn.Sequential:
    """The image generator of the authors' code: transposed convolutions from 1 to 4·2^n pixels."""
    widths = [width * 2 ** (stages - 1 - stage) for stage in range(stages)]
    layers: list[nn.Module] = [nn.ConvTranspose2d(code, widths[0], 4, 1, 0, bias=False)]
    layers += [nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
    for before, after in pairwise(widths):
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    layers += [nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.Sequential(*layers)


def _critic(
    axes: int, channels: int, width: int, stages: int, outputs: int, spectral: bool, patch: bool
) -> nn.Sequential:
    """The critic of frames (two axes) or of clips (three axes, of which time is neither padded nor strided).

    A patch critic has one stage less and ends with a strided convolution that gives a map of scores.
    """

    def conv(before: int, after: int, stride: int, padding: int) -> nn.Module:
        layer: nn.Module
        if axes == 2:
            layer = nn.Conv2d(before, after, 4, stride, padding, bias=False)
        else:
            layer = nn.Conv3d(before, after, 4, (1, stride, stride), (0, padding, padding), bias=False)
        return parametrizations.spectral_norm(layer) if spectral else layer

    widths = [width * 2**stage for stage in range(stages - 1 if patch else stages)]
    layers: list[nn.Module] = [conv(channels, widths[0], 2, 1), nn.LeakyReLU(0.2)]
    for before, after in pairwise(widths):
        layers.append(conv(before, after, 2, 1))
        if not spectral:
            layers.append(nn.BatchNorm2d(after) if axes == 2 else nn.BatchNorm3d(after))
        layers.append(nn.LeakyReLU(0.2))
    layers.append(conv(widths[-1], outputs, 2, 1) if patch else conv(widths[-1], outputs, 1, 0))
    return nn.Sequential(*layers)
