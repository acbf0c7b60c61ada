"""A small GAN for a hundred pictures and some minutes, by the idea of FastGAN.

Liu, Zhu, Song, Elgammal: Towards faster and stabilized GAN training for high-fidelity few-shot image synthesis, 2021,
arXiv:2101.04775. Two ideas are theirs: skip-layer excitation, by which features of few pixels gate the channels of a
stage with eight times as many, and a discriminator that is trained as an encoder, too: small decoders must restore the
real image from its features, so that it cannot just memorise a hundred pictures. The rest is ours: group normalization
in the generator and none in the discriminator in place of batch and spectral normalization, a relativistic loss on two
heads, a gradient penalty by finite differences (Lin et al. 2025, arXiv:2501.08316), and a reconstruction loss on pixels
and edges, which needs no pretrained network.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from gan.adversarial import CriticOutput, Scored, adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.game import Batch, Optimizer, Phase, Player
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, glu, interpolate, l1_loss, leaky_relu

from gan_image.architectures.pixels import edges, image_shape, stages, to_network, to_pixels

MULTIPLES = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 0.5, 512: 0.25, 1024: 0.125}
"""Width of a stage by its pixels, in multiples of the setting (figure 3 of the paper)."""


class FewShotConfig(BaseModel):
    """Sizes of the two networks, and the weights of the discriminator's further terms."""

    model_config = ConfigDict(extra="forbid")

    latent: int = Field(256, ge=1, description="size of a latent vector")
    generator_width: int = Field(
        64, ge=8, description="the generator's multiplier of channels; 16 times as many at 4x4"
    )
    discriminator_width: int = Field(64, ge=8, description="the discriminator's multiplier of channels")
    reconstruction: float = Field(1.0, ge=0, description="weight of the reconstruction of real images")
    gamma: float = Field(1.0, ge=0, description="γ of the gradient penalty on real images")
    sigma: float = Field(0.05, gt=0, description="deviation of the noise that estimates the gradient, of images in ±1")

    def widths(self, width: int, side: int) -> list[int]:
        """Channels from 4x4 to `side` pixels: multiples of 8, for the groups of the normalization."""
        return [max(8, int(width * MULTIPLES[4 << index]) // 8 * 8) for index in range((side // 4).bit_length())]


# ---------------------------------------------------------------------- the generator


class UpBlock(nn.Module):
    """Nearest up, conv3, normalization and a gated linear unit; twice the pixels. A `deep` block has a second
    convolution."""

    def __init__(self, before: int, after: int, *, deep: bool) -> None:
        super().__init__()
        self.first = _conv(before, 2 * after, 3)
        self.first_norm = nn.GroupNorm(8, 2 * after)
        self.second = _conv(after, 2 * after, 3) if deep else None
        self.second_norm = nn.GroupNorm(8, 2 * after) if deep else None

    def forward(self, x: Tensor) -> Tensor:
        """``(N, before, H, W)`` -> ``(N, after, 2H, 2W)``."""
        x = glu(self.first_norm(self.first(interpolate(x, scale_factor=2.0))), 1)
        if self.second is not None and self.second_norm is not None:
            x = glu(self.second_norm(self.second(x)), 1)
        return x


class Excitation(nn.Module):
    """Skip-layer excitation: gates in 0 … 1 for the channels of a stage, from a stage with an eighth of its side."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(4), _conv(before, after, 4, padding=0), nn.SiLU(), _conv(after, after, 1), nn.Sigmoid()
        )

    def forward(self, small: Tensor, large: Tensor) -> Tensor:
        """``(N, before, h, h)`` and ``(N, after, H, H)`` -> ``(N, after, H, H)``."""
        gated: Tensor = large * self.layers(small)
        return gated


class Generator(nn.Module):
    """From a latent vector to 4x4 pixels, blocks, and a convolution to the image."""

    def __init__(self, config: FewShotConfig, side: int, channels: int) -> None:
        super().__init__()
        widths = config.widths(config.generator_width, side)
        self.start = nn.ConvTranspose2d(config.latent, 2 * widths[0], 4, bias=False)
        nn.init.normal_(self.start.weight, 0.0, 0.02)
        self.start_norm = nn.GroupNorm(8, 2 * widths[0])
        self.blocks = nn.ModuleList(
            UpBlock(before, after, deep=index % 2 == 0) for index, (before, after) in enumerate(pairwise(widths))
        )
        self.excitations = nn.ModuleDict(
            {str(index): Excitation(widths[index - 3], widths[index]) for index in range(3, len(widths))}
        )
        self.out = _conv(widths[-1], channels, 3)

    def forward(self, latents: Tensor) -> Tensor:
        """``(N, latent)`` -> ``(N, channels, R, R)`` in -1 … 1."""
        x = glu(self.start_norm(self.start(latents[:, :, None, None])), 1)
        stages = [x]
        for index, block in enumerate(self.blocks, start=1):
            x = block(x)
            if str(index) in self.excitations:
                x = self.excitations[str(index)](stages[index - 3], x)
            stages.append(x)
        out: Tensor = self.out(x).tanh()
        return out


# ---------------------------------------------------------------------- the discriminator


class DownBlock(nn.Module):
    """The sum of two ways to half the pixels, over √2: conv4 and conv3, or average pooling and conv1."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.long = nn.Sequential(
            _conv(before, after, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            _conv(after, after, 3),
            nn.LeakyReLU(0.2),
        )
        self.short = _conv(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, before, H, W)`` -> ``(N, after, H/2, W/2)``."""
        out: Tensor = (self.long(x) + leaky_relu(self.short(avg_pool2d(x, 2)), 0.2)) / 2**0.5
        return out


class Discriminator(nn.Module):
    """Blocks down to 8x8 pixels with a head there, one more with another, and a decoder of the features at 8x8."""

    def __init__(self, config: FewShotConfig, side: int, channels: int) -> None:
        super().__init__()
        widths = config.widths(config.discriminator_width, side)[::-1]
        self.start = _conv(channels, widths[0], 3)
        self.blocks = nn.ModuleList(DownBlock(before, after) for before, after in pairwise(widths))
        self.patch_head = _conv(widths[-2], 1, 4, padding=0)
        self.head = _conv(widths[-1], 1, 4, padding=0)
        ups = min(3, (side // 8).bit_length() - 1)
        inner = [max(8, widths[-2] >> index) for index in range(ups + 1)]
        self.decoder = nn.Sequential(
            *(UpBlock(before // 8 * 8, after // 8 * 8, deep=False) for before, after in pairwise(inner)),
            _conv(inner[-1] // 8 * 8, channels, 3),
            nn.Tanh(),
        )

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """``(N, channels, R, R)`` -> scores of 5x5 overlapping patches and of the whole image, and features at 8x8."""
        x = leaky_relu(self.start(images), 0.2)
        for block in self.blocks[:-1]:
            x = block(x)
        patches: Tensor = self.patch_head(x)
        whole: Tensor = self.head(self.blocks[-1](x))
        return [patches, whole], x


def _conv(before: int, after: int, side: int, stride: int = 1, padding: int | None = None) -> nn.Conv2d:
    """A convolution without bias, whose weights keep the variance through a leaky ReLU (He et al. 2015)."""
    layer = nn.Conv2d(before, after, side, stride, side // 2 if padding is None else padding, bias=False)
    nn.init.kaiming_normal_(layer.weight, 0.2)
    return layer


def reconstruction_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute error of pixels and of edges, at the resolution of `made` and at half of it."""
    wanted = adaptive_avg_pool2d(wanted, made.shape[-1])
    total = torch.zeros((), device=made.device)
    for factor in (1, 2):
        one, other = (avg_pool2d(images, factor) for images in (made, wanted))
        total = total + l1_loss(one, other)
        total = total + sum(l1_loss(mine, theirs) for mine, theirs in zip(edges(one), edges(other), strict=True))
    return total


# ---------------------------------------------------------------------- the game


class FewShot(nn.Module):
    """The few-shot GAN for square images of 16 to 1,024 pixels; a `gan.contracts.LatentSpace`."""

    Config = FewShotConfig
    generation_batch = 32

    def __init__(self, config: FewShotConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        channels, side = image_shape(fields, "fewshot")
        stages(side, "fewshot")
        self.config = config
        self.generator = Generator(config, side, channels)
        self.discriminator = Discriminator(config, side, channels)

    def players(self) -> dict[str, Player]:
        """The generator and the discriminator; both use Adam(2e-4; 0.5, 0.999)."""
        adam = Optimizer(lr=2e-4, betas=(0.5, 0.999))
        return {
            "generator": Player(self.generator, adam, average=True),
            "discriminator": Player(self.discriminator, adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase: the discriminator's update with both further terms, and the generator's on the same fakes."""
        turns = adversarial_turns(
            loss,
            penalties,
            real=lambda batch: to_network(batch["image"]),
            fake=self._fakes,
            critic=self._critic,
            terms={"discriminator": {"reconstruction": self._reconstruction, "gradient": self._gradient}},
        )
        return [Phase("adversarial", turns)]

    def _critic(self, images: Tensor) -> CriticOutput:
        """The scores of both heads; the features are the images as they were seen (augmented) and those at 8x8."""
        scores, features = self.discriminator(images)
        return CriticOutput(scores, (images, features))

    def _reconstruction(self, scored: Scored) -> Tensor:
        seen, features = scored.real_features
        return self.config.reconstruction * reconstruction_loss(self.discriminator.decoder(features), seen)

    def _gradient(self, scored: Scored) -> Tensor:
        """``γ/2 · E (D(x + σε) - D(x))² / σ²``, to first order R1, at the same augmented images."""
        seen, _ = scored.real_features
        moved, _ = self.discriminator(seen + self.config.sigma * scored.batch.rng.randn(*seen.shape[1:]))
        squares = [
            (after - before).float().flatten(1).mean(1).square().mean()
            for after, before in zip(moved, scored.real_scores, strict=True)
        ]
        return self.config.gamma / 2 * torch.stack(squares).sum() / self.config.sigma**2

    def _fakes(self, batch: Batch) -> Tensor:
        fakes: Tensor = self.generator(self.latents(batch.count, batch.rng))
        return fakes

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent)`` from N(0, 1)."""
        return rng.randn(self.config.latent)

    def linear_maps(self) -> list[Tensor]:
        """The first layer, ``(channels · 16, latent)``."""
        return [self.generator.start.weight.detach().flatten(1).T]

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """The discriminator's activations after each block."""
        x, seen = leaky_relu(self.discriminator.start(to_network(samples["image"])), 0.2), []
        for block in self.discriminator.blocks:
            x = block(x)
            seen.append(x)
        return seen

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Images of the given latent vectors."""
        return {"image": to_pixels(self.generator(latents))}

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Images of the given latent vectors as floats 0 … 255, without rounding."""
        return {"image": (self.generator(latents).float() + 1) * 127.5}

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` images."""
        return self.decode(self.latents(count, rng), request)
