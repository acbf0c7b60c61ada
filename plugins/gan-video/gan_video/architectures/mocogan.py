"""MoCoGAN: clips whose content stays and whose motion follows a path.

Tulyakov, Liu, Yang, Kautz 2018, arXiv:1707.04993. A clip has one content code z_C. A recurrent network turns noise of
each frame into a path of motion codes z_M. The image generator G_I draws each frame from [z_C, class, z_M,t]. One
critic D_I judges single frames, another one D_V whole clips; both learn in one player, which equals two optimizers
because Adam treats each weight by itself.

The published form has batch normalization in all networks. The default here normalizes the critics spectrally (Miyato
et al. 2018), which batch statistics of generated and real clips would unbalance. Three settings depart from the paper,
and make classes, content and motion come apart within minutes on a CPU:

- ``condition=projection``: the critic of clips judges a clip together with its class (Miyato and Koyama 2018,
  arXiv:1802.05637). A classifier beside it rewards what is easily told apart: one clip for each class.
- ``clip_critic=stack``: the critic of clips sees the frames as channels of one picture.
- ``generator=apart``: the recurrent network knows the class, at its start and in each frame; noise of the whole clip
  chooses the motion; the content scales and shifts features behind the first layer (Huang and Belongie 2017,
  arXiv:1703.06868), so that where things are follows from the motion and what they look like from the content.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

from gan_video.architectures.clips import (
    clip_critic,
    clip_shape,
    drawn_frames,
    frame_generator,
    frame_styles,
    pixels_of,
    projected,
    real_clips,
)

PART = 32
"""Frames of a part when a clip is streamed."""


class MoCoGANConfig(BaseModel):
    """Sizes of the networks; the defaults are those of the paper. Settings that the first version did not have are left
    out of records at their defaults, so that its runs can be resumed."""

    model_config = ConfigDict(extra="forbid")

    content: int = Field(50, ge=1, le=4096, description="size of the content code z_C")
    motion: int = Field(
        10, ge=1, le=4096, description="size of the noise of a frame, and of the motion code z_M of the published form"
    )
    width: int = Field(64, ge=1, le=1024, description="channels before the image generator's last layer")
    critic_width: int = Field(64, ge=1, le=1024, description="channels after the first layer of both critics")
    critic_norm: Literal["batch", "spectral"] = Field(
        "spectral", description="normalization of the critics: batch as published, or spectral without batch statistics"
    )
    clip_critic: Literal["volume", "stack"] = Field(
        "volume",
        exclude_if=lambda value: value == "volume",
        description="how the critic of clips sees time. volume: convolutions over time and picture, as published; "
        "stack: the frames are the channels of one picture, with twice the critic_width, several times faster on a CPU",
    )
    condition: Literal["classifier", "projection"] = Field(
        "classifier",
        exclude_if=lambda value: value == "classifier",
        description="how the critic of clips knows classes. classifier: it names the class beside its score, as "
        "published; projection: its score depends on the class that was asked for",
    )
    generator: Literal["published", "apart"] = Field(
        "published",
        exclude_if=lambda value: value == "published",
        description="published: each frame is drawn from content, class and motion code; apart: from class and motion "
        "code, with features scaled and shifted by the content",
    )
    state: int = Field(
        16,
        ge=1,
        le=4096,
        exclude_if=lambda value: value == 16,
        description="size of the motion code (for generator=apart)",
    )
    jitter: float = Field(
        0.3,
        ge=0,
        le=10,
        exclude_if=lambda value: value == 0.3,
        description="standard deviation of the noise of a frame (for generator=apart)",
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
        self.apart = config.generator == "apart"
        if self.apart:
            self.motion_start = nn.Linear(config.motion + self.classes, config.state)
            self.motion_cell = nn.GRUCell(config.motion + self.classes, config.state)
            code = self.classes + config.motion + config.state
        else:
            self.motion_cell = nn.GRUCell(config.motion, config.motion)
            code = config.content + self.classes + config.motion
        self.image_generator = frame_generator(code, config.width, channels, stages)
        if self.apart:
            self.styles = frame_styles(self.image_generator, config.content)
        spectral = config.critic_norm == "spectral"
        self.image_critic = clip_critic(2, channels, config.critic_width, stages, 1, spectral, config.patch)
        axes, seen, width = 3, channels, config.critic_width
        if config.clip_critic == "stack":
            axes, seen, width = 2, channels * self.frames, 2 * config.critic_width
        self.video_critic = clip_critic(axes, seen, width, stages, 1 + self.classes, spectral, config.patch)
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
        if self.apart:
            generator.extend([self.motion_start, self.styles])
        critics = nn.ModuleList([self.image_critic, self.video_critic])
        return {"generator": Player(generator, adam, average=True), "discriminator": Player(critics, adam)}

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase. The loss is summed over the scores of a random frame of each clip and those of the clips."""
        terms: dict[str, dict[str, Term]] = {}
        if self.classes and self.config.class_weight and self.config.condition == "classifier":
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

        The feature is the class logits of the clips, ``(N, classes)``. With a projection the score of a clip is
        ``s(x) + ⟨y, V h(x)⟩``, whose second term these logits are, at each place of a map of scores.
        """
        chosen = batch.rng.randint(clips.shape[1])
        image_scores = self.image_critic(clips[torch.arange(len(clips), device=clips.device), chosen])
        output = self.video_critic(self._seen(clips))
        score = output[:, :1]
        if self.classes and self.config.condition == "projection":
            score = projected(output, class_shares(batch["label"], self.classes))
        return CriticOutput([image_scores, score], [output[:, 1:].flatten(2).mean(2)])

    def _seen(self, clips: Tensor) -> Tensor:
        """``(N, frames, channels, R, R)`` as the critic of clips receives them."""
        return clips.flatten(1, 2) if self.config.clip_critic == "stack" else clips.transpose(1, 2)

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
        drawn, *noise = motion.chunk(motion.shape[1] // self.config.motion, 1)
        shares, lasting, state = self._start(content, label, drawn)
        return self._frames(content, shares, lasting, state, noise)[0]

    def _start(self, content: Tensor, label: Tensor | None, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shares of the classes, what is the same in the codes of all frames, and the motion state before the first,
        of the noise `drawn` for the whole clip."""
        shares = content[:, :0]
        if self.classes:
            assert label is not None
            shares = class_shares(label, self.classes).to(content)
        if self.apart:
            both = torch.cat([drawn, shares], 1)
            return shares, torch.cat([shares, drawn], 1), torch.tanh(self.motion_start(both))
        return shares, torch.cat([content, shares], 1), drawn

    def _frames(
        self, content: Tensor, shares: Tensor, lasting: Tensor, state: Tensor, noise: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The frames of the noises that follow a motion state, and the state after them."""
        codes = []
        for drawn in noise:
            known = torch.cat([self.config.jitter * drawn, shares], 1) if self.apart else drawn
            state = self.motion_cell(known, state)
            codes.append(torch.cat([lasting, state], 1))
        stacked = torch.stack(codes, 1)  # (N, frames, code)
        return drawn_frames(self.image_generator, stacked, self.styles if self.apart else (), content), state

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
        """The layers that the content enters in every frame, ``(features, latent)``; motion passes a recurrent one."""
        if self.apart:
            first = torch.cat([layer.get_parameter("weight").detach() for layer in self.styles])
        else:
            first = self.image_generator[0].get_parameter("weight").detach().flatten(1).T[:, : self.config.content]
        motion = first.new_zeros(len(first), self.config.motion * (1 + self.frames))
        return [torch.cat([first, motion], 1)]

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """The activations of the critic of clips."""
        x, seen = self._seen(samples["video"].float() / 127.5 - 1), []
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
        shares, lasting, state = self._start(content, label, moving.randn(self.config.motion))
        frames = options.frames or self.frames
        for begin in range(0, frames, PART):
            noise = [moving.randn(self.config.motion) for _ in range(min(PART, frames - begin))]
            made, state = self._frames(content, shares, lasting, state, noise)
            yield {"video": pixels_of(made)}

    def _latents_of(self, seed: int, frames: int, like: Tensor) -> Tensor:
        """The latents of the first sample of a seed, ``(1, …)``."""
        return self.latents(1, SeededDraws.of(seed, 0, 1, like.device), frames)
