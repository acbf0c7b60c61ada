"""WGAN-GP: a generator and a critic of residual blocks, in which the critic has no normalization, and the MNIST nets.

Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville: Improved training of Wasserstein GANs, 2017, arXiv:1704.00028. The
penalty of the gradient's norm needs a critic that does not mix samples. The critic takes five updates for one of the
generator. `WGANGP` has the networks of the paper's CIFAR-10 experiment, for any 4·2^n pixels, `WGANGPDigits` those of
the MNIST experiment, for 28 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from gan.adversarial import CriticOutput, Scored, Term, adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, interpolate, relu

from gan_image.architectures.classes import class_indices, classes_of
from gan_image.architectures.pixels import image_shape, picture_shape, stages, to_network, to_pixels


class WGANGPConfig(BaseModel):
    """Sizes of the two networks."""

    model_config = ConfigDict(extra="forbid")

    latent: int = Field(128, ge=1, description="size of a latent vector")
    generator_width: int = Field(128, ge=1, description="channels of the generator's blocks")
    discriminator_width: int = Field(128, ge=1, description="channels of the critic's blocks")
    critic_repeats: int = Field(5, ge=1, description="updates of the critic for one of the generator")


# ---------------------------------------------------------------------- residual networks (appendix F, table 3)


class Norm(nn.Module):
    """Batch normalization; with classes, a gain and a bias for each (Dumoulin et al. 2017, arXiv:1610.07629)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=not classes)
        self.gain = nn.Parameter(torch.ones(classes, channels)) if classes else None
        self.bias = nn.Parameter(torch.zeros(classes, channels)) if classes else None

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """``(N, channels, H, W)`` and ``(N,)`` classes or ``(N, classes)`` shares -> ``(N, channels, H, W)``."""
        y: Tensor = self.norm(x)
        if self.gain is None or self.bias is None or labels is None:
            return y
        if labels.ndim == 2:  # shares of the classes
            return y * (labels @ self.gain)[:, :, None, None] + (labels @ self.bias)[:, :, None, None]
        return y * self.gain[labels][:, :, None, None] + self.bias[labels][:, :, None, None]


class UpBlock(nn.Module):
    """BN ReLU up conv3 BN ReLU conv3, with the upsampled input (conv1) added: twice the pixels."""

    def __init__(self, before: int, after: int, classes: int) -> None:
        super().__init__()
        self.norm = Norm(before, classes)
        self.first = _convolution(before, after, 3)
        self.second_norm = Norm(after, classes)
        self.second = _convolution(after, after, 3)
        self.shortcut = _convolution(before, after, 1, gain=1.0)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """``(N, before, H, W)`` -> ``(N, after, 2H, 2W)``."""
        y = self.first(interpolate(relu(self.norm(x, labels)), scale_factor=2.0))
        y = self.second(relu(self.second_norm(y, labels)))
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


class ResidualGenerator(nn.Module):
    """A linear layer to 4x4 pixels, blocks, and a convolution to the image."""

    def __init__(self, config: WGANGPConfig, channels: int, n: int, classes: int) -> None:
        super().__init__()
        width = self.width = config.generator_width
        self.linear: nn.Linear = _linear(config.latent, width * 16)
        self.blocks = nn.ModuleList(UpBlock(width, width, classes) for _ in range(n))
        self.norm = nn.BatchNorm2d(width)
        self.out = _convolution(width, channels, 3, gain=1.0)

    def forward(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """``(N, latent)`` and ``(N,)`` classes -> ``(N, channels, R, R)`` in -1 … 1."""
        x = self.linear(latents).unflatten(1, (self.width, 4, 4))
        for block in self.blocks:
            x = block(x, labels)
        out: Tensor = self.out(relu(self.norm(x))).tanh()
        return out


class ResidualCritic(nn.Module):
    """Blocks down to 8x8 pixels, two more, the mean over all places and a linear layer; with classes, another that
    names the class (an auxiliary classifier; Odena et al. 2017, arXiv:1610.09585)."""

    def __init__(self, config: WGANGPConfig, channels: int, n: int, classes: int) -> None:
        super().__init__()
        width = config.discriminator_width
        self.blocks = nn.Sequential(
            CriticBlock(channels, width, down=True, first=True),
            *(CriticBlock(width, width, down=True) for _ in range(n - 2)),
            *(CriticBlock(width, width, down=False) for _ in range(2)),
            nn.ReLU(),
        )
        self.score = _linear(width, 1)
        self.classify = _linear(width, classes) if classes else None

    def features(self, images: Tensor) -> list[Tensor]:
        """The activations after each block, and their mean over all places, for images ``(N, channels, R, R)``."""
        seen = []
        for block in self.blocks:
            images = block(images)
            seen.append(images)
        return [*seen[:-1], seen[-1].mean((2, 3))]

    def forward(self, images: Tensor) -> CriticOutput:
        """``(N, channels, R, R)`` -> ``(N,)`` raw scores, with the logits ``(N, classes)`` as features."""
        features = self.features(images)[-1]
        scores = self.score(features).squeeze(1)
        return CriticOutput(scores, () if self.classify is None else (self.classify(features),))


# ---------------------------------------------------------------------- the game (algorithm 1)


class _WassersteinGame(nn.Module):
    """What both forms share: the players, the game and generation; a `gan.contracts.LatentSpace`."""

    generation_batch = 64
    classes = 0
    generator: nn.Module
    discriminator: nn.Module
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
            fake=lambda batch: self.images(self.latents(batch.count, batch.rng), batch.fields),
            critic=self.critic,
            critic_repeats=self.critic_repeats,
            terms=self.terms(),
        )
        return [Phase("adversarial", turns)]

    def terms(self) -> dict[str, dict[str, Term]]:
        """Further terms of both players."""
        return {}

    def images(self, latents: Tensor, given: Mapping[str, Tensor] | None) -> Tensor:
        """The generator's output for latent vectors and, with classes, the given labels."""
        images: Tensor = self.generator(latents)
        return images

    def real(self, batch: Batch) -> Tensor:
        """The batch's images as the critic sees them, in -1 … 1: uniform noise fills the gaps between 256 grey levels,
        so that the critic cannot tell real images by their rounding."""
        images = batch["image"]
        return images.float() / 128 - 1 + batch.rng.rand(*images.shape[1:]) / 128

    def critic(self, samples: Tensor) -> Tensor | CriticOutput:
        """``(N, channels, R, R)`` -> ``(N,)`` raw scores."""
        scores: Tensor = self.discriminator(samples)
        return scores.flatten()

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent)`` from N(0, 1)."""
        return rng.randn(self.latent)

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Images of the given latent vectors."""
        return {"image": to_pixels(self.images(latents, request.given))}

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Images of the given latent vectors as floats 0 … 255, without rounding."""
        return {"image": (self.images(latents, request.given).float() + 1) * 127.5}

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` images."""
        return self.decode(self.latents(count, rng), request)


class WGANGP(_WassersteinGame):
    """The residual networks of the CIFAR-10 experiment, for square images of 4·2^n pixels, n >= 2.

    With classes, the generator has a gain and a bias per class, and the critic also learns to name the class of real
    images; the cross-entropy has the weight 1 for the critic and 0.1 for the generator.
    """

    Config = WGANGPConfig
    mixes_classes = True
    adam = Optimizer(lr=2e-4, betas=(0.0, 0.9), schedule="linear")

    def __init__(self, config: WGANGPConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        channels, side = picture_shape(fields, "wgan-gp")
        n = stages(side, "wgan-gp")
        if n < 2:
            raise UsageError(f"'wgan-gp' generates 16, 32, 64 … pixels, not {side}; set modality.resolution")
        self.classes = classes_of(fields)
        self.config = config
        self.latent, self.critic_repeats = config.latent, config.critic_repeats
        self.generator = ResidualGenerator(config, channels, n, self.classes)
        self.discriminator = ResidualCritic(config, channels, n, self.classes)

    def given_fields(self, options: Any = None) -> tuple[str, ...]:
        """``label`` where the data have classes."""
        return ("label",) if self.classes else ()

    def images(self, latents: Tensor, given: Mapping[str, Tensor] | None) -> Tensor:
        """The generator's output for latent vectors and, with classes, the given labels."""
        images: Tensor = self.generator(latents, class_indices(given, self.classes))
        return images

    def linear_maps(self) -> list[Tensor]:
        """The first layer, ``(features, latent)``."""
        assert isinstance(self.generator, ResidualGenerator)
        return [self.generator.linear.weight.detach()]

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """The critic's activations after each block, and their mean over all places."""
        assert isinstance(self.discriminator, ResidualCritic)
        return self.discriminator.features(to_network(samples["image"]))

    def settle(self, rng: Draws) -> None:
        """Run the generator for the statistics of its averaged weights, with all classes alike."""
        given = {"label": rng.randint(self.classes)} if self.classes else None
        self.images(self.latents(rng.count, rng), given)

    def critic(self, samples: Tensor) -> CriticOutput:
        """``(N, channels, R, R)`` -> ``(N,)`` raw scores, and logits of the classes."""
        output: CriticOutput = self.discriminator(samples)
        return output

    def terms(self) -> dict[str, dict[str, Term]]:
        """The cross-entropy of the class: of real images for the critic, of generated ones for the generator."""
        if not self.classes:
            return {}

        def of(logits: Tensor, scored: Scored) -> Tensor:
            return cross_entropy(logits, scored.batch["label"].long())

        return {
            "discriminator": {"class": lambda scored: of(scored.real_features[0], scored)},
            "generator": {"class": lambda scored: 0.1 * of(scored.fake_features[0], scored)},
        }


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
        return {"image": to_pixels(2 * self.images(latents, None) - 1)}

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Images of the given latent vectors as floats 0 … 255, without rounding."""
        return {"image": self.images(latents, None).float() * 255}
