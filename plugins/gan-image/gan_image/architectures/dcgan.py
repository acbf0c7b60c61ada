"""DCGAN: an unconditional convolutional GAN for square images, in two forms.

Radford, Metz, Chintala, 2016, arXiv:1511.06434. `DCGAN` is the form of PyTorch's example: 4x4 kernels without biases, a
normal latent vector that enters as an image of one pixel, and widths that double at each stage away from the image, up
to eight times the first. `DCGANOriginal` is the form of figure 1 of the paper: 5x5 kernels, linear layers at both ends,
uniform latents and widths without an upper bound. Both have n stages for a resolution of 4·2^n pixels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from itertools import pairwise

from gan.adversarial import adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.game import Batch, Optimizer, Phase, Player
from gan.latents import straight, truncated_normal
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from gan_image.architectures.pixels import image_shape, initialise, stages, to_network, to_pixels


class _AdversarialGame(nn.Module):
    """What both forms share: the players, the adversarial phase and generation; a
    `gan.contracts.SmoothLatentSpace`."""

    generation_batch = 64
    generator: nn.Sequential
    discriminator: nn.Sequential

    @abstractmethod
    def latents(self, count: int, rng: Draws) -> Tensor:
        """Sample `count` latent vectors."""

    def players(self) -> dict[str, Player]:
        """The generator and the discriminator; both use Adam(2e-4; 0.5, 0.999)."""
        adam = Optimizer(lr=2e-4, betas=(0.5, 0.999))
        return {
            "generator": Player(self.generator, adam, average=True),
            "discriminator": Player(self.discriminator, adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase: the discriminator is updated on a real batch and a generated one, each with its own batch
        statistics, then the generator on the same generated batch."""
        turns = adversarial_turns(
            loss,
            penalties,
            real=lambda batch: to_network(batch["image"]),
            fake=self._fakes,
            critic=self.critic,
        )
        return [Phase("adversarial", turns)]

    def _fakes(self, batch: Batch) -> Tensor:
        fakes: Tensor = self.generator(self.latents(batch.count, batch.rng))
        return fakes

    def critic(self, samples: Tensor) -> Tensor:
        """``(N, channels, R, R)`` in -1 … 1 -> ``(N,)`` raw scores."""
        scores: Tensor = self.discriminator(samples)
        return scores.flatten()

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """The activations of the discriminator."""
        x, seen = to_network(samples["image"]), []
        for layer in list(self.discriminator)[:-1]:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                seen.append(x)
        return seen

    def truncated(self, latents: Tensor, request: Request) -> Tensor:
        """The latents with the truncation of the request; without one here."""
        return latents

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Images of the given latent vectors."""
        return {"image": to_pixels(self.generator(self.truncated(latents, request)))}

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Images of the given latent vectors as floats 0 … 255, without rounding."""
        return {"image": (self.generator(self.truncated(latents, request)).float() + 1) * 127.5}

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` images."""
        return self.decode(self.latents(count, rng), request)


class DCGANConfig(BaseModel):
    """Sizes of the two networks."""

    model_config = ConfigDict(extra="forbid")

    latent: int = Field(100, ge=1, description="size of a latent vector")
    generator_width: int = Field(64, ge=1, description="channels before the generator's last layer")
    discriminator_width: int = Field(64, ge=1, description="channels after the discriminator's first layer")


class DCGANOptions(BaseModel):
    """What a user may choose in one call."""

    model_config = ConfigDict(extra="forbid")

    truncation: float | None = Field(
        None,
        gt=0,
        description="largest absolute value of a latent's components, 0.02 … 2; smaller: better and more alike",
    )


class DCGAN(_AdversarialGame):
    """DCGAN in the form of PyTorch's example."""

    Config = DCGANConfig
    Options = DCGANOptions

    def __init__(self, config: DCGANConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        channels, side = image_shape(fields, "dcgan")
        n = stages(side, "dcgan")
        self.config = config
        self.generator = _generator(config.latent, config.generator_width, channels, n)
        self.discriminator = _discriminator(config.discriminator_width, channels, n)
        initialise(self)

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent, 1, 1)`` from N(0, 1)."""
        return rng.randn(self.config.latent, 1, 1)

    def truncated(self, latents: Tensor, request: Request) -> Tensor:
        """The latents, truncated if the request asks for it."""
        limit = None if request.options is None else request.options.truncation
        return latents if limit is None else truncated_normal(latents, limit)

    def linear_maps(self) -> list[Tensor]:
        """The first layer, ``(channels · 16, latent)``."""
        return [self.generator[0].get_parameter("weight").detach().flatten(1).T]


def _generator(latent: int, width: int, channels: int, n: int) -> nn.Sequential:
    widths = [width * min(8, 2 ** (n - 1 - stage)) for stage in range(n)]
    layers: list[nn.Module] = [nn.ConvTranspose2d(latent, widths[0], 4, 1, 0, bias=False)]  # 1 -> 4 pixels
    layers += [nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
    for before, after in pairwise(widths):
        layers += [
            nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
    layers += [nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.Sequential(*layers)


def _discriminator(width: int, channels: int, n: int) -> nn.Sequential:
    widths = [width * min(8, 2**stage) for stage in range(n)]
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    for before, after in pairwise(widths):
        layers += [
            nn.Conv2d(before, after, 4, 2, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.LeakyReLU(0.2, inplace=True),
        ]
    layers += [nn.Conv2d(widths[-1], 1, 4, 1, 0, bias=False)]  # 4 -> 1 pixel
    return nn.Sequential(*layers)


class DCGANOriginalConfig(BaseModel):
    """Sizes of the two networks."""

    model_config = ConfigDict(extra="forbid")

    latent: int = Field(100, ge=1, description="size of a latent vector")
    width: int = Field(128, ge=1, description="channels next to the image; doubled at each stage away from it")


class DCGANOriginal(_AdversarialGame):
    """DCGAN as published in 2015, with the authors' settings; 64x64 images in the paper."""

    Config = DCGANOriginalConfig

    def __init__(self, config: DCGANOriginalConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        channels, side = image_shape(fields, "dcgan-original")
        n = stages(side, "dcgan-original")
        self.config = config
        self.generator = _original_generator(config.latent, config.width, channels, n)
        self.discriminator = _original_discriminator(config.width, channels, n)
        initialise(self)

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent)`` from U(-1, 1)."""
        return 2.0 * rng.rand(self.config.latent) - 1.0

    def between(self, first: Tensor, second: Tensor, at: Tensor) -> Tensor:
        """Latents on a line: those on a great circle are not uniform."""
        return straight(first, second, at)

    def linear_maps(self) -> list[Tensor]:
        """The first layer, ``(features, latent)``."""
        return [self.generator[0].get_parameter("weight").detach()]


def _original_generator(latent: int, width: int, channels: int, n: int) -> nn.Sequential:
    widths = [width * 2 ** (n - 1 - stage) for stage in range(n)]
    layers: list[nn.Module] = [
        nn.Linear(latent, widths[0] * 16, bias=False),
        nn.BatchNorm1d(widths[0] * 16),
        nn.ReLU(inplace=True),
        nn.Unflatten(1, (widths[0], 4, 4)),
    ]
    for before, after in pairwise(widths):
        layers += [
            nn.ConvTranspose2d(before, after, 5, 2, 2, output_padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
    layers += [nn.ConvTranspose2d(widths[-1], channels, 5, 2, 2, output_padding=1, bias=False), nn.Tanh()]
    return nn.Sequential(*layers)


def _original_discriminator(width: int, channels: int, n: int) -> nn.Sequential:
    widths = [width * 2**stage for stage in range(n)]
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 5, 2, 2, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    for before, after in pairwise(widths):
        layers += [
            nn.Conv2d(before, after, 5, 2, 2, bias=False),
            nn.BatchNorm2d(after),
            nn.LeakyReLU(0.2, inplace=True),
        ]
    layers += [nn.Flatten(), nn.Linear(widths[-1] * 16, 1, bias=False)]
    return nn.Sequential(*layers)
