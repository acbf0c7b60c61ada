"""DCGAN as it was published: Radford, Metz, Chintala, 2016, arXiv:1511.06434, figure 1 and the authors' settings.

64x64 pictures in the paper; 5x5 kernels, linear first and last layers, latents uniform in -1 … 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from gan.adversarial import adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.game import Batch, Optimizer, Phase, Player
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from gan_image.pixels import image_shape, initialise, stages, to_network, to_pixels


class DCGANOriginalConfig(BaseModel):
    """Sizes of the two networks."""

    model_config = ConfigDict(extra="forbid")

    latent: int = Field(100, ge=1, description="numbers in a latent vector")
    width: int = Field(128, ge=1, description="channels beside the picture; doubled per stage away from it")


class DCGANOriginal(nn.Module):
    """The networks and their game; keeps `gan.contracts.LatentSpace`."""

    Config = DCGANOriginalConfig
    generation_batch = 64

    def __init__(self, config: DCGANOriginalConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        channels, side = image_shape(fields, "dcgan-original")
        n = stages(side, "dcgan-original")
        self.config = config
        self.generator = _generator(config.latent, config.width, channels, n)
        self.discriminator = _discriminator(config.width, channels, n)
        initialise(self)

    def players(self) -> dict[str, Player]:
        """Both learn with Adam(2e-4; 0.5, 0.999)."""
        adam = Optimizer(lr=2e-4, betas=(0.5, 0.999))
        return {
            "generator": Player(self.generator, adam, average=True),
            "discriminator": Player(self.discriminator, adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One critic update and one generator update on the same fakes."""
        turns = adversarial_turns(
            loss,
            penalties,
            real=lambda batch: to_network(batch["image"]),
            fake=self._draw,
            critic=self.critic,
        )
        return [Phase("adversarial", turns)]

    def _draw(self, batch: Batch) -> Tensor:
        fakes: Tensor = self.generator(self.latents(batch.count, batch.rng))
        return fakes

    def critic(self, samples: Tensor) -> Tensor:
        """``(N, channels, R, R)`` in -1 … 1 -> ``(N,)`` raw scores."""
        scores: Tensor = self.discriminator(samples)
        return scores.flatten()

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent)`` from U(-1, 1)."""
        return 2.0 * rng.rand(self.config.latent) - 1.0

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The pictures of given latents."""
        return {"image": to_pixels(self.generator(latents))}

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The pictures of given latents, not rounded."""
        return {"image": (self.generator(latents).float() + 1) * 127.5}

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """`count` pictures."""
        return self.decode(self.latents(count, rng), request)


def _generator(latent: int, width: int, channels: int, n: int) -> nn.Sequential:
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


def _discriminator(width: int, channels: int, n: int) -> nn.Sequential:
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
