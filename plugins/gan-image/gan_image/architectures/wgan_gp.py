"""WGAN-GP: a generator and a critic of residual blocks, in which the critic has no normalization, and the MNIST nets.

Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville: Improved training of Wasserstein GANs, 2017, arXiv:1704.00028. The
penalty of the gradient's norm needs a critic that does not mix samples. The critic takes five updates for one of the
generator. `WGANGP` has the networks of the paper's CIFAR-10 experiment, for any 4·2^n pixels, `WGANGPDigits` those of
the MNIST experiment, for 28 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from gan.adversarial import adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from gan_image.architectures.pixels import image_shape, stages, to_pixels


class WGANGPConfig(BaseModel):
    """Sizes of the two networks."""

    model_config = ConfigDict(extra="forbid")

    latent: int = Field(128, ge=1, description="size of a latent vector")
    generator_width: int = Field(128, ge=1, description="channels of the generator's blocks")
    discriminator_width: int = Field(128, ge=1, description="channels of the critic's blocks")
    critic_repeats: int = Field(5, ge=1, description="updates of the critic for one of the generator")


# ---------------------------------------------------------------------- residual networks (appendix F, table 3)


class UpBlock(nn.Module):
    """BN ReLU up conv3 BN ReLU conv3, with the upsampled input (conv1) added: twice the pixels."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(before)
        self.first = _convolution(before, after, 3)
        self.second_norm = nn.BatchNorm2d(after)
        self.second = _convolution(after, after, 3)
        self.shortcut = _convolution(before, after, 1, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, before, H, W)`` -> ``(N, after, 2H, 2W)``."""
        y = self.first(interpolate(relu(self.norm(x)), scale_factor=2.0))
        y = self.second(relu(self.second_norm(y)))
        out: Tensor = y + self.shortcut(interpolate(x, scale_factor=2.0))
        return out


class CriticBlock(nn.Module):
    """ReLU conv3 ReLU conv3, then half the pixels (`down`), with the input added; the `first` one lacks its first ReLU
    and pools before the convolution of its shortcut."""

    def __init__(self, before: int, after: int, *, down: bool, first: bool = False) -> None:
        super().__init__()
        self.is_first, self.down = first, down
        self.first = _convolution(before, after, 3)
        self.second = _convolution(after, after, 3)
        self.shortcut = _convolution(before, after, 1, gain=1.0) if down else None

    def forward(self, x: Tensor) -> Tensor:
        """``(N, before, H, W)`` -> ``(N, after, H, W)``, or half of both sides."""
        y: Tensor = self.second(relu(self.first(x if self.is_first else relu(x))))
        if self.shortcut is None:
            return x + y
        if self.is_first:
            out: Tensor = avg_pool2d(y, 2) + self.shortcut(avg_pool2d(x, 2))
        else:
            out = avg_pool2d(y + self.shortcut(x), 2)
        return out


def _initialise(layer: nn.Module, before: int, after: int, area: int, gain: float) -> None:
    """Weights from a uniform distribution of deviation ``gain · sqrt(2 / (fan_in + fan_out))``, and zero biases."""
    assert isinstance(layer.weight, Tensor)
    assert isinstance(layer.bias, Tensor)
    limit = gain * math.sqrt(3 * 2 / ((before + after) * area))
    nn.init.uniform_(layer.weight, -limit, limit)
    nn.init.zeros_(layer.bias)


def _convolution(before: int, after: int, side: int, gain: float = math.sqrt(2.0)) -> nn.Conv2d:
    layer = nn.Conv2d(before, after, side, padding=side // 2)
    _initialise(layer, before, after, side * side, gain)
    return layer


def _linear(before: int, after: int) -> nn.Linear:
    layer = nn.Linear(before, after)
    _initialise(layer, before, after, 1, 1.0)
    return layer


def _generator(config: WGANGPConfig, channels: int, n: int) -> nn.Sequential:
    width = config.generator_width
    return nn.Sequential(
        _linear(config.latent, width * 16),
        nn.Unflatten(1, (width, 4, 4)),
        *(UpBlock(width, width) for _ in range(n)),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        _convolution(width, channels, 3, gain=1.0),
        nn.Tanh(),
    )


def _critic(config: WGANGPConfig, channels: int, n: int) -> nn.Sequential:
    width = config.discriminator_width
    downs = max(1, n - 1)  # to 8x8 pixels
    return nn.Sequential(
        CriticBlock(channels, width, down=True, first=True),
        *(CriticBlock(width, width, down=True) for _ in range(downs - 1)),
        *(CriticBlock(width, width, down=False) for _ in range(2)),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        _linear(width, 1),
    )


# ---------------------------------------------------------------------- the game (algorithm 1)


class _WassersteinGame(nn.Module):
    """What both forms share: the players, the game and generation; a `gan.contracts.LatentSpace`."""

    generation_batch = 64
    generator: nn.Sequential
    discriminator: nn.Sequential
    latent: int
    critic_repeats: int
    adam: Optimizer

    def players(self) -> dict[str, Player]:
        """The generator and the critic, both with Adam as published."""
        return {
            "generator": Player(self.generator, self.adam, average=True),
            "discriminator": Player(self.discriminator, self.adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase: the critic's updates, each on new real and generated images, and the generator's update."""
        turns = adversarial_turns(
            loss,
            penalties,
            real=self.real,
            fake=lambda batch: self.generator(self.latents(batch.count, batch.rng)),
            critic=self.critic,
            critic_repeats=self.critic_repeats,
        )
        return [Phase("adversarial", turns)]

    def real(self, batch: Batch) -> Tensor:
        """The batch's images as the critic sees them, in -1 … 1: uniform noise fills the gaps between 256 grey levels,
        so that the critic cannot tell real images by their rounding."""
        images = batch["image"]
        return images.float() / 128 - 1 + batch.rng.rand(*images.shape[1:]) / 128

    def critic(self, samples: Tensor) -> Tensor:
        """``(N, channels, R, R)`` -> ``(N,)`` raw scores."""
        scores: Tensor = self.discriminator(samples)
        return scores.flatten()

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent)`` from N(0, 1)."""
        return rng.randn(self.latent)

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Images of the given latent vectors."""
        return {"image": to_pixels(self.generator(latents))}

    def settle(self, rng: Draws) -> None:
        """Run the generator for the statistics of its averaged weights."""
        self.generator(self.latents(rng.count, rng))

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Images of the given latent vectors as floats 0 … 255, without rounding."""
        return {"image": (self.generator(latents).float() + 1) * 127.5}

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` images."""
        return self.decode(self.latents(count, rng), request)


class WGANGP(_WassersteinGame):
    """The residual networks of the CIFAR-10 experiment, for square images of 4·2^n pixels."""

    Config = WGANGPConfig
    adam = Optimizer(lr=2e-4, betas=(0.0, 0.9), schedule="linear")

    def __init__(self, config: WGANGPConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        channels, side = image_shape(fields, "wgan-gp")
        n = stages(side, "wgan-gp")
        self.config = config
        self.latent, self.critic_repeats = config.latent, config.critic_repeats
        self.generator = _generator(config, channels, n)
        self.discriminator = _critic(config, channels, n)


# ---------------------------------------------------------------------- the networks for MNIST


class WGANGPDigitsConfig(BaseModel):
    """Sizes of the two networks."""

    model_config = ConfigDict(extra="forbid")

    latent: int = Field(128, ge=1, description="size of a latent vector")
    width: int = Field(64, ge=1, description="channels next to the image; doubled at each layer away from it")
    critic_repeats: int = Field(5, ge=1, description="updates of the critic for one of the generator")


class _Crop(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, 8, 8)`` -> ``(N, C, 7, 7)``."""
        return x[:, :, :7, :7]


class WGANGPDigits(_WassersteinGame):
    """The networks of the MNIST experiment, for 28x28 pixels: transposed convolutions, and a critic of three layers."""

    Config = WGANGPDigitsConfig
    adam = Optimizer(lr=1e-4, betas=(0.5, 0.9))

    def __init__(self, config: WGANGPDigitsConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        channels, side = image_shape(fields, "wgan-gp-digits")
        if side != 28:
            raise UsageError(
                f"'wgan-gp-digits' generates 28 pixels, not {side}; set modality.resolution=28, or use 'wgan-gp'"
            )
        self.config = config
        self.latent, self.critic_repeats = config.latent, config.critic_repeats
        width = config.width

        def up(before: int, after: int) -> nn.ConvTranspose2d:
            layer = nn.ConvTranspose2d(before, after, 5, 2, 2, output_padding=1)
            _initialise(layer, before, after, 25, math.sqrt(2.0))
            return layer

        def down(before: int, after: int) -> nn.Conv2d:
            layer = nn.Conv2d(before, after, 5, 2, 2)
            _initialise(layer, before, after, 25, math.sqrt(2.0))
            return layer

        self.generator = nn.Sequential(
            *(_linear(config.latent, 4 * width * 16), nn.ReLU(), nn.Unflatten(1, (4 * width, 4, 4))),
            *(up(4 * width, 2 * width), nn.ReLU(), _Crop()),
            *(up(2 * width, width), nn.ReLU()),
            *(up(width, channels), nn.Sigmoid()),
        )
        self.discriminator = nn.Sequential(
            *(down(channels, width), nn.LeakyReLU(0.2)),
            *(down(width, 2 * width), nn.LeakyReLU(0.2)),
            *(down(2 * width, 4 * width), nn.LeakyReLU(0.2)),
            *(nn.Flatten(), _linear(4 * width * 16, 1)),
        )

    def real(self, batch: Batch) -> Tensor:
        """The batch's images in 0 … 1, the range of the generator's sigmoid."""
        return batch["image"].float() / 255

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Images of the given latent vectors."""
        return {"image": to_pixels(2 * self.generator(latents) - 1)}

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Images of the given latent vectors as floats 0 … 255, without rounding."""
        return {"image": self.generator(latents).float() * 255}
