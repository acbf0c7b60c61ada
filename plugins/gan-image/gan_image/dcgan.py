"""DCGAN: Radford, Metz, Chintala, 2016, arXiv:1511.06434, in the form of PyTorch's own example.

4x4 kernels without biases; the generator's latent is a picture of one pixel. For R = 4·2^n pixels both networks have n
stages; widths double per stage away from the picture and stay at eight times the first.
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


class DCGANConfig(BaseModel):
    """Sizes of the two networks."""

    model_config = ConfigDict(extra="forbid")

    latent: int = Field(100, ge=1, description="numbers in a latent vector")
    generator_width: int = Field(64, ge=1, description="channels before the generator's last layer")
    discriminator_width: int = Field(64, ge=1, description="channels after the discriminator's first layer")


class DCGAN(nn.Module):
    """The networks and their game; keeps `gan.contracts.LatentSpace`."""

    Config = DCGANConfig
    generation_batch = 64

    def __init__(self, config: DCGANConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        channels, side = image_shape(fields, "dcgan")
        n = stages(side, "dcgan")
        self.config = config
        self.generator = _generator(config.latent, config.generator_width, channels, n)
        self.discriminator = _discriminator(config.discriminator_width, channels, n)
        initialise(self)

    def players(self) -> dict[str, Player]:
        """Both learn with Adam(2e-4; 0.5, 0.999)."""
        adam = Optimizer(lr=2e-4, betas=(0.5, 0.999))
        return {
            "generator": Player(self.generator, adam, average=True),
            "discriminator": Player(self.discriminator, adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase: the critic sees a real batch, then a fake one (each with its own batch statistics), and the
        generator is judged on the same fakes."""
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
        """``(count, latent, 1, 1)`` from N(0, 1)."""
        return rng.randn(self.config.latent, 1, 1)

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
