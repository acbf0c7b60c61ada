"""ESRGAN and Real-ESRGAN: images two or four times as large, learned from photographs that were made smaller.

Wang, Yu, Wu, Gu, Liu, Dong, Qiao, Loy: ESRGAN: Enhanced super-resolution generative adversarial networks, 2018,
arXiv:1809.00219, and Wang, Xie, Dong, Shan: Real-ESRGAN: Training real-world blind super-resolution with pure synthetic
data, 2021, arXiv:2107.10833. Training has two phases: the generator alone with a pixel loss, which gives the highest
PSNR, then the game with pixel, perceptual and adversarial loss, which gives texture. ESRGAN learns from images that
were only made smaller (`rounds` 0, discriminator ``vgg``, a relativistic loss), Real-ESRGAN from degraded ones
(`rounds` 2, discriminator ``unet``, sharpened targets).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from gan.adversarial import Scored, adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request, Tiles
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player, Turn
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, l1_loss, leaky_relu, pad, pixel_unshuffle
from torch.nn.utils.parametrizations import spectral_norm

from gan_image.architectures.degradations import degraded
from gan_image.architectures.perceptual import Network, PerceptualLoss
from gan_image.architectures.pixels import to_network, to_pixels

MARGIN = 24
"""Most pixels of the trunk beyond a tile that are computed with it. A trunk of many blocks reaches further, but
residues of residues, each scaled by 0.2, carry little that far."""
TILE_BYTES = 1 << 26
"""Memory of one activation at the resolution of the output, which sets the size of a tile."""


class ESRGANConfig(BaseModel):
    """Sizes of the networks, degradations and weights of the losses. The sizes are the published ones."""

    model_config = ConfigDict(extra="forbid")

    width: int = Field(64, ge=1, description="channels of the generator")
    blocks: int = Field(23, ge=1, description="residual-in-residual dense blocks")
    growth: int = Field(32, ge=1, description="channels that each convolution of a dense block adds")
    skip: bool = Field(
        False,
        description="whether the generator adds to the bicubically enlarged image, which short trainings need; the "
        "published networks make the whole image",
    )
    discriminator: Literal["unet", "vgg"] = Field(
        "unet", description="unet: a score for each pixel, spectrally normalized; vgg: one score of the whole image"
    )
    discriminator_width: int = Field(64, ge=1, description="channels of the discriminator's first layer")
    rounds: Literal[0, 1, 2] = Field(
        2,
        description="rounds of degradations from which the generator learns; 0: the small images are the data's "
        "(`source`), which are only made smaller",
    )
    sharpen: bool = Field(True, description="whether pixel and perceptual loss compare with a sharpened target")
    perceptual: Network = Field(
        "vgg19",
        description="perceptual loss: features of a network from a file (vgg19 as Real-ESRGAN, vgg19-last as ESRGAN, "
        "squeezenet), or edges: the differences of neighbouring pixels, which need no file",
    )
    pixel_weight: float = Field(1.0, ge=0, description="weight of the mean absolute difference in the second phase")
    perceptual_weight: float = Field(1.0, ge=0, description="weight of the perceptual loss")
    adversarial_weight: float = Field(0.1, ge=0, description="weight of the generator's adversarial loss")


class ESRGANOptions(BaseModel):
    """Options of one call."""

    model_config = ConfigDict(extra="forbid")

    tile: int | None = Field(
        None, ge=8, le=4096, description="side of the tiles of an image, in its pixels; none: by the network's size"
    )


# ---------------------------------------------------------------------- the generator (figures 3 and 4 of ESRGAN)


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees all features before it; the result is scaled by 0.2 and added."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _small(_convolution(width + index * growth, growth if index < 4 else width)) for index in range(5)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width, H, W)``, unchanged in shape."""
        seen = x
        for layer in self.layers[:-1]:
            seen = torch.cat([seen, leaky_relu(layer(seen), 0.2)], 1)
        out: Tensor = x + 0.2 * self.layers[-1](seen)
        return out


class RRDB(nn.Module):
    """Three dense blocks, scaled by 0.2 and added."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(DenseBlock(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width, H, W)``, unchanged in shape."""
        out: Tensor = x + 0.2 * self.blocks(x)
        return out


def _convolution(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)


def _small(layer: nn.Conv2d) -> nn.Conv2d:
    """Weights at a tenth of those of He et al. 2015, biases at zero: residues start small (ESRGAN, section 3.1)."""
    nn.init.kaiming_normal_(layer.weight)
    with torch.no_grad():
        layer.weight.mul_(0.1)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class RRDBNet(nn.Module):
    """The trunk at the resolution of the input, then twice the pixels, twice.

    For a factor of 2 the input's blocks of 2x2 pixels become channels, so that the trunk works on a quarter of them.
    """

    def __init__(self, channels: int, factor: int, width: int, blocks: int, growth: int, *, skip: bool = False) -> None:
        super().__init__()
        self.factor, self.skip = factor, skip
        self.unshuffle = 4 // factor
        self.first = _convolution(channels * self.unshuffle**2, width)
        self.body = nn.Sequential(*(RRDB(width, growth) for _ in range(blocks)))
        self.after_body = _convolution(width, width)
        self.up = nn.ModuleList(_convolution(width, width) for _ in range(2))
        self.fine = _convolution(width, width)
        self.out = _convolution(width, channels)

    def forward(self, images: Tensor) -> Tensor:
        """``(N, channels, H, W)`` -> ``(N, channels, factor · H, factor · W)``, about -1 … 1; sides are multiples of
        `unshuffle`."""
        x = self.first(pixel_unshuffle(images, self.unshuffle) if self.unshuffle > 1 else images)
        x = x + self.after_body(self.body(x))
        for layer in self.up:
            x = leaky_relu(layer(interpolate(x, scale_factor=2.0)), 0.2, inplace=not self.training)
        out: Tensor = self.out(leaky_relu(self.fine(x), 0.2, inplace=not self.training))
        if self.skip:
            out = out + interpolate(images, scale_factor=float(self.factor), mode="bicubic")
        return out


# ---------------------------------------------------------------------- the discriminators


class UNetDiscriminator(nn.Module):
    """Down to an eighth of the side and up again with skips that are added; a score for each pixel (Real-ESRGAN, figure
    6). All layers but the first and the last are spectrally normalized."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()

        def layer(before: int, after: int, side: int = 3, stride: int = 1) -> nn.Module:
            return spectral_norm(nn.Conv2d(before, after, side, stride, 1, bias=False))

        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList(layer(width << index, width << index + 1, 4, 2) for index in range(3))
        self.up = nn.ModuleList(layer(width << index + 1, width << index) for index in (2, 1, 0))
        self.fine = nn.Sequential(layer(width, width), nn.LeakyReLU(0.2), layer(width, width), nn.LeakyReLU(0.2))
        self.out = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """``(N, channels, H, W)`` -> ``(N, 1, H, W)`` raw scores; sides are multiples of 8."""
        x = leaky_relu(self.first(images), 0.2)
        passed = [x]
        for down in self.down:
            x = leaky_relu(down(x), 0.2)
            passed.append(x)
        for up, skip in zip(self.up, passed[-2::-1], strict=True):
            x = leaky_relu(up(interpolate(x, scale_factor=2.0, mode="bilinear")), 0.2) + skip
        out: Tensor = self.out(self.fine(x))
        return out


class VGGDiscriminator(nn.Sequential):
    """Pairs of convolutions, the second of which halves the pixels, down to 4x4; batch normalization; one score."""

    def __init__(self, channels: int, width: int, side: int) -> None:
        layers: list[nn.Module] = []
        before = channels
        stages = side.bit_length() - 3
        for index in range(stages):
            after = width * min(8, 1 << index)
            first = nn.Conv2d(before, after, 3, padding=1, bias=index == 0)
            layers += [first, *([nn.BatchNorm2d(after)] if index else []), nn.LeakyReLU(0.2)]
            layers += [nn.Conv2d(after, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
            before = after
        super().__init__(*layers, nn.Flatten(), nn.Linear(before * 16, 100), nn.LeakyReLU(0.2), nn.Linear(100, 1))


# ---------------------------------------------------------------------- what a step shows


def turned(images: list[Tensor], rng: Draws) -> list[Tensor]:
    """Square images ``(N, C, S, S)`` of all tensors mirrored and turned by quarter turns alike, all eight ways."""
    flips = rng.rand(3, 1, 1, 1) < 0.5
    found = []
    for image in images:
        image = torch.where(flips[:, 0], image.flip(3), image)
        image = torch.where(flips[:, 1], image.flip(2), image)
        found.append(torch.where(flips[:, 2], image.transpose(2, 3), image))
    return found


def sharpened(images: Tensor) -> Tensor:
    """Unsharp masking of images in -1 … 1: half of the difference from a blurred copy (51 pixels, deviation 8) is added
    where it is over 10 grey values, with soft edges (the targets of Real-ESRGAN)."""
    line = torch.arange(-25, 26, device=images.device, dtype=images.dtype)
    line = (-0.5 * (line / 8).square()).exp()
    line = line / line.sum()
    channels = images.shape[1]

    def blurred(x: Tensor) -> Tensor:
        x = pad(x, (25,) * 4, mode="replicate")
        x = conv2d(x, line.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
        return conv2d(x, line.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)

    residue = images - blurred(images)
    share = blurred((residue.abs() > 10 / 127.5).to(images.dtype))
    return torch.lerp(images, (images + 0.5 * residue).clamp(-1, 1), share)


class _Weighted:
    """An adversarial loss whose generator's part has a weight."""

    def __init__(self, loss: Loss, weight: float) -> None:
        self.discriminator, self.needs_real = loss.discriminator, loss.needs_real
        self._loss, self._weight = loss, weight

    def at(self, position: int) -> Loss:
        """With the loss at a position of the training, where it changes."""
        return _Weighted(self._loss.at(position), self._weight) if hasattr(self._loss, "at") else self

    def generator(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """The generator's loss times the weight."""
        return self._weight * self._loss.generator(real_scores, fake_scores)


# ---------------------------------------------------------------------- the game


class ESRGAN(nn.Module):
    """The networks and both phases; a `gan.contracts.InTiles`, which enlarges images of any size."""

    Config = ESRGANConfig
    Options = ESRGANOptions
    generation_batch = 4

    def __init__(self, config: ESRGANConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        if "source" not in fields or fields["source"].shape == fields["target"].shape or fields["target"].group:
            raise UsageError(
                "'esrgan' learns to enlarge; set modality.layout to enlarge, and modality.factor to 2 or 4"
            )
        channels, side = fields["target"].shape[:2]
        self.factor = side // fields["source"].shape[1]
        if side % 8 or (config.discriminator == "vgg" and (side < 32 or side & (side - 1))):
            sides = "multiples of 8" if side % 8 else "32, 64, 128 … pixels (for model.discriminator=vgg)"
            raise UsageError(f"'esrgan' trains on squares of {sides}, not {side}; set modality.resolution")
        self.config = config
        self.generator = RRDBNet(channels, self.factor, config.width, config.blocks, config.growth, skip=config.skip)
        width = config.discriminator_width
        self.discriminator: nn.Module = (
            UNetDiscriminator(channels, width)
            if config.discriminator == "unet"
            else VGGDiscriminator(channels, width, side)
        )
        self._perceptual = PerceptualLoss(config.perceptual if config.perceptual_weight else "edges")

    def players(self) -> dict[str, Player]:
        """Adam(1e-4; 0.9, 0.99) for both; the first phase doubles the step size."""
        adam = Optimizer(lr=1e-4, betas=(0.9, 0.99))
        return {
            "generator": Player(self.generator, adam, average=True),
            "discriminator": Player(self.discriminator, adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """``pixels``, of 64,000 samples unless the recipe says otherwise, and ``adversarial``."""
        turns = adversarial_turns(
            _Weighted(loss, self.config.adversarial_weight),
            penalties,
            real=lambda batch: self._pair(batch)[1],
            fake=lambda batch: self.generator(self._pair(batch)[0]),
            critic=self.discriminator,
            terms={"generator": {"pixel": self._pixel, "perceptual": self._look}},
        )
        pixels = Turn("generator", self._update_pixels, lr_scale=2.0)
        return [Phase("pixels", [pixels], samples=64_000, is_baseline=True), Phase("adversarial", turns)]

    def _pair(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Small images, large ones, and what pixel and perceptual loss compare with; the same in a whole iteration."""
        if "pair" not in batch.shared:
            large = to_network(batch["target"])
            if self.config.rounds:
                (large,) = turned([large], batch.rng)
                small = degraded(large, batch.rng, self.factor, self.config.rounds)
            else:
                small, large = turned([to_network(batch["source"]), large], batch.rng)
            batch.shared["pair"] = small, large, sharpened(large) if self.config.sharpen else large
        pair: tuple[Tensor, Tensor, Tensor] = batch.shared["pair"]
        return pair

    def _update_pixels(self, batch: Batch) -> dict[str, Tensor]:
        small, _, wanted = self._pair(batch)
        return {"pixel": l1_loss(self.generator(small).float(), wanted)}

    def _pixel(self, scored: Scored) -> Tensor:
        return self.config.pixel_weight * l1_loss(scored.fake.float(), self._pair(scored.batch)[2])

    def _look(self, scored: Scored) -> Tensor:
        return self.config.perceptual_weight * self._perceptual(scored.fake.float(), self._pair(scored.batch)[2])

    def given_fields(self, options: ESRGANOptions | None = None) -> tuple[str, ...]:
        """The small image."""
        return ("source",)

    def tiles(self, options: ESRGANOptions | None = None) -> Tiles:
        """Tiles whose activations at the output's resolution take `TILE_BYTES`."""
        step = self.generator.unshuffle
        reach = step * min(MARGIN, 15 * self.config.blocks + 4)
        side = math.isqrt(TILE_BYTES // (4 * self.config.width)) // self.factor - 2 * reach
        wanted = max(32, side) if options is None or options.tile is None else options.tile
        return Tiles(side=max(1, wanted // step) * step, reach=reach, factor=self.factor, multiple=step)

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Enlarge the given images, of any size."""
        assert request.given is not None
        source = request.given["source"]
        return {"source": source, "target": to_pixels(self.generator(to_network(source)))}
