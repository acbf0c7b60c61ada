"""Animate: clips that begin with a given picture.

The game is that of MoCoGAN's image-to-video translation (Tulyakov et al. 2018, arXiv:1707.04993): an encoder takes the
content of a clip from its first frame, a recurrent network makes a path of motion codes, and a generator draws each
frame; drawn from the state before the motion begins, it has to be the given picture. What does not move stays as it is:
masks compose a frame of the given picture, of the picture moved as a whole by an affine map, and of drawn pixels (after
Vondrick, Pirsiavash and Torralba 2016, arXiv:1609.02612, equation 1; Jaderberg et al. 2015, arXiv:1506.02025)::

    x_t = m_0 · x_0 + m_1 · moved(x_0, A h_t) + m_2 · c_t    (m, c) = G(class, noise, h_t; E(x_0)), Σ m = 1

The critics see the first frame beside another one and the clip with its frames as channels, so that they judge how a
clip follows from its first frame. Both are conditional on the class by projection (Miyato and Koyama 2018,
arXiv:1802.05637).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from gan.adversarial import Scored, Term, adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player
from gan.latents import class_shares
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

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

GROUPS = 4
"""Groups of channels that are normalized together; statistics of batches would depend on the pictures beside one."""

SHARP = 5.0
"""Largest logit of a mask, beside 0 for what stays."""


class AnimateConfig(BaseModel):
    """Sizes of the networks."""

    model_config = ConfigDict(extra="forbid")

    content: int = Field(64, ge=1, le=4096, description="size of the content code, which the encoder gives")
    motion: int = Field(4, ge=1, le=4096, description="size of the noise that chooses the motion, and of a frame's")
    state: int = Field(64, ge=1, le=4096, description="size of the motion code, the recurrent state")
    jitter: float = Field(0.3, ge=0, le=10, description="standard deviation of the noise of a frame")
    width: int = Field(
        64, ge=GROUPS, le=1024, multiple_of=GROUPS, description="channels before the generator's last layer"
    )
    encoder_width: int = Field(32, ge=1, le=1024, description="channels after the encoder's first layer")
    critic_width: int = Field(64, ge=1, le=1024, description="channels after the first layer of the critic of frames")
    reconstruction: float = Field(
        10.0, ge=0, le=1000, description="weight of the mean absolute difference of the drawn first frame"
    )


class AnimateOptions(BaseModel):
    """What one call of `generate` may choose."""

    model_config = ConfigDict(extra="forbid")

    frames: int = Field(0, ge=0, le=10_000, description="frames of a clip; 0: as many as in training")


class Generator(nn.Module):
    """Encoder of the first frame, recurrent motion, generator of pixels and masks."""

    def __init__(self, config: AnimateConfig, side: int, channels: int, classes: int) -> None:
        super().__init__()
        stages = side.bit_length() - 3  # 4·2^n pixels
        widths = [config.encoder_width << stage for stage in range(stages)]
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
        self.encoder = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * 16, config.content))
        self.start = nn.Linear(config.content + config.motion + classes, config.state)
        self.cell = nn.GRUCell(config.motion + classes, config.state)
        code = classes + config.motion + config.state
        self.images = frame_generator(code, config.width, channels + 2, stages, groups=GROUPS)
        self.affine = nn.Linear(config.state + config.content, 6)
        nn.init.normal_(self.affine.weight, 0, 0.01)
        nn.init.zeros_(self.affine.bias)
        self.styles = frame_styles(self.images, config.content)
        self.jitter = config.jitter

    def forward(self, first: Tensor, shares: Tensor, noise: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """First frames ``(N, channels, R, R)``, classes ``(N, classes)``, noise ``(N, motion)`` of the clip and of each
        frame after the first -> clips ``(N, F, channels, R, R)`` that begin with the given frames, and these drawn."""
        content = self.encoder(first)
        drawn, *others = noise
        state = torch.tanh(self.start(torch.cat([content, drawn, shares], 1)))
        states = [state]
        for other in others:
            state = self.cell(torch.cat([self.jitter * other, shares], 1), state)
            states.append(state)
        codes = [torch.cat([shares, drawn, state], 1) for state in states]
        made = drawn_frames(self.images, torch.stack(codes, 1), self.styles, content)
        moved = [self._moved(first, torch.cat([state, content], 1)) for state in states]
        frames = composed(first, torch.stack(moved, 1), made)
        return torch.cat([first[:, None], frames[:, 1:]], 1), made[:, 0, :-2]

    def _moved(self, first: Tensor, known: Tensor) -> Tensor:
        """The whole picture, moved by an affine map that is the identity where the layer gives zeros."""
        still = torch.eye(2, 3, device=first.device, dtype=first.dtype)
        grid = affine_grid(still + self.affine(known).view(-1, 2, 3), list(first.shape), align_corners=False)
        return grid_sample(first, grid, padding_mode="border", align_corners=False)


def composed(first: Tensor, moved: Tensor, made: Tensor) -> Tensor:
    """Given pictures ``(N, C, R, R)``, the same moved for each frame ``(N, F, C, R, R)``, and what the generator makes,
    ``(N, F, C + 2, R, R)``: pixels and, in -1 … 1, the logits of what is moved and of what is drawn -> frames."""
    logits = torch.cat([torch.zeros_like(made[:, :, :1]), SHARP * made[:, :, -2:]], 2)
    still, along, drawn = logits.softmax(2).chunk(3, 2)
    frames: Tensor = still * first[:, None] + along * moved + drawn * made[:, :, :-2]
    return frames


class Animate(nn.Module):
    """The generator and its critics of frames and of clips; a `gan.contracts.GivenInPart` of the first frame."""

    Config = AnimateConfig
    Options = AnimateOptions
    generation_batch = 16
    mixes_classes = True

    def __init__(self, config: AnimateConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.config = config
        self.frames, channels, side = clip_shape(fields, "animate")
        self.classes = int(fields["label"].high) + 1 if "label" in fields else 0
        self.generator = Generator(config, side, channels, self.classes)
        stages, outputs = side.bit_length() - 3, 1 + self.classes
        self.image_critic = clip_critic(
            2, 2 * channels, config.critic_width, stages, outputs, spectral=True, patch=False
        )
        self.video_critic = clip_critic(
            2, self.frames * channels, 2 * config.critic_width, stages, outputs, spectral=True, patch=False
        )

    def given_fields(self, options: Any = None) -> tuple[str, ...]:
        """The clip, of which the first frame is used, and its class if the data have classes."""
        return ("video", "label") if self.classes else ("video",)

    def given_places(self, options: Any = None) -> dict[str, list[int]]:
        """The first frame."""
        return {"video": [0]}

    # ------------------------------------------------------------------ the game

    def players(self) -> dict[str, Player]:
        """Both with Adam, the critics at twice the rate; the generator is averaged."""
        critics = nn.ModuleList([self.image_critic, self.video_critic])
        return {
            "generator": Player(self.generator, Optimizer(lr=5e-4, betas=(0.0, 0.99)), average=True),
            "discriminator": Player(critics, Optimizer(lr=1e-3, betas=(0.0, 0.99))),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase: generated clips begin as the real ones of the batch do."""
        terms: dict[str, dict[str, Term]] = {}
        if self.config.reconstruction:
            terms = {"generator": {"reconstruction": self._reconstruction}}
        turns = adversarial_turns(
            loss, penalties, real=real_clips, fake=self._fake, critic=self.critic, with_batch=True, terms=terms
        )
        return [Phase("adversarial", turns)]

    def _fake(self, batch: Batch) -> Tensor:
        first = real_clips(batch)[:, 0]
        clips, drawn = self.generator(first, self._shares(batch.fields), self.noise(batch.rng, self.frames))
        batch.shared["difference"] = (drawn - first).abs().mean()
        made: Tensor = clips
        return made

    def _reconstruction(self, scored: Scored) -> Tensor:
        difference: Tensor = scored.batch.shared.pop("difference")
        return self.config.reconstruction * difference

    def critic(self, clips: Tensor, batch: Batch) -> list[Tensor]:
        """``(N, frames, channels, R, R)`` -> scores of a random later frame beside the first one, and of the clip."""
        chosen = batch.rng.randint(clips.shape[1] - 1) + 1
        later = clips[torch.arange(len(clips), device=clips.device), chosen]
        shares = self._shares(batch.fields)
        pairs = torch.cat([clips[:, 0], later], 1)
        return [
            projected(self.image_critic(pairs), shares),
            projected(self.video_critic(clips.flatten(1, 2)), shares),
        ]

    def _shares(self, fields: Mapping[str, Tensor]) -> Tensor:
        """Shares of classes ``(N, classes)``; of no columns where the data have no classes."""
        if not self.classes:
            return next(iter(fields.values())).new_zeros(len(fields["video"]), 0, dtype=torch.float32)
        return class_shares(fields["label"], self.classes)

    # ------------------------------------------------------------------ samples

    def noise(self, rng: Draws, frames: int) -> list[Tensor]:
        """``(N, motion)`` from N(0, 1): for the clip, and for each frame after the first."""
        return [rng.randn(self.config.motion) for _ in range(frames)]

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """The activations of the critic of clips."""
        x, seen = (samples["video"].float() / 127.5 - 1).flatten(1, 2), []
        for layer in list(self.video_critic)[:-1]:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                seen.append(x)
        return seen

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` clips that begin with the first frames of the given ones."""
        options = request.options if isinstance(request.options, AnimateOptions) else AnimateOptions()
        if request.given is None or "video" not in request.given:
            raise UsageError("animate makes clips of pictures: --input FILE must be given")
        first = request.given["video"][:, 0]
        frames = options.frames or self.frames
        made, _ = self.generator(first.float() / 127.5 - 1, self._shares(request.given), self.noise(rng, frames))
        video = pixels_of(made)
        video[:, 0] = first
        return {"video": video}
