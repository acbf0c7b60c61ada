"""R3GAN: a generator and a discriminator of plain residual blocks, without normalization or tricks.

Huang, Gokaslan, Kuleshov, Tompkin: The GAN is dead; long live the GAN! A modern baseline GAN, 2024, arXiv:2501.05441.
The relativistic pairing loss with R1 on real and R2 on generated images, both in every step, converges locally, so the
networks need no batch statistics, no mini-batch deviation and no path-length regularization. Its numbers follow cosine
schedules over a burn-in: γ falls, the learning rate falls, β₂, the EMA's half-life and the augmentation rise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from gan.adversarial import augmented, loss_at, observe_scores, penalized, probe_scores
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player, Turn
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu

from gan_image.architectures.classes import classes_of, labels_of
from gan_image.architectures.pixels import picture_shape, stages, to_network, to_pixels

GAIN = math.sqrt(2 / (1 + 0.2**2))
"""Keeps the variance through a leaky ReLU of slope 0.2 (He et al. 2015)."""


def auto_gamma(side: int) -> float:
    """γ to start with for one kind of image (faces, flowers) of `side` pixels: 2·(side/64)^3.1, at least 0.1.

    This is the line through the published settings for faces, 2 at 64 and 150 at 256 pixels. Varied data need far less:
    0.05 for CIFAR-10 and 0.5 for ImageNet at 32 pixels, 1 for ImageNet at 64.
    """
    return max(0.1, 2.0 * math.pow(side / 64, 3.1))


class R3GANConfig(BaseModel):
    """Sizes of both networks, and γ."""

    model_config = ConfigDict(extra="forbid")

    latent: int = Field(64, ge=1, description="size of a latent vector, and of the embedding of a class beside it")
    width: int = Field(768, ge=1, description="channels of the stages with the fewest pixels, from 4x4 on")
    full: int = Field(4, ge=1, description="stages of full width; each further one has half of the width before it")
    group: int = Field(
        8, ge=1, description="width of a stage divided by the groups of its 3x3 convolutions (their cardinality)"
    )
    blocks: int = Field(2, ge=1, description="residual blocks of a stage")
    gamma: float | Literal["auto"] = Field(
        "auto",
        description="γ of R1 and R2 at the start. auto: by resolution, for one kind of image (0.23 at 32, 2 at 64, 17 "
        "at 128, 147 at 256 pixels); varied data (many classes) need less. Raise it fourfold where the discriminator's "
        "loss falls under 0.25",
    )
    gamma_final: float | None = Field(None, ge=0, description="γ after the burn-in; none: a tenth of the first")
    burn_in: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the training over which γ falls, along a cosine; afterwards it is constant",
    )

    def widths(self, stages: int) -> list[int]:
        """Channels of the stages, from 4x4 pixels on. Raises `UsageError` where groups do not divide a width."""
        found = [self.width >> max(0, index - self.full + 1) for index in range(stages)]
        for width in found:
            if width < 1 or width % self.group:
                raise UsageError(
                    f"model.width: a stage of 'r3gan' would have {width} channels, no multiple of model.group="
                    f"{self.group}; raise model.width or model.full"
                )
        return found


# ---------------------------------------------------------------------- the networks (section 4 of the paper)


def _convolution(before: int, after: int, side: int, groups: int = 1, gain: float = 1.0) -> nn.Conv2d:
    """A convolution without bias, whose weights have the deviation ``gain / sqrt(fan_in)``."""
    layer = nn.Conv2d(before, after, side, padding=side // 2, groups=groups, bias=False)
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(before // groups * side * side))
    return layer


class BiasedActivation(nn.Module):
    """A bias for each channel, then a leaky ReLU of slope 0.2. The only biases of the networks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, channels, H, W)``, unchanged in shape."""
        return leaky_relu(x + self.bias.to(x.dtype)[:, None, None], 0.2)


class ResidualBlock(nn.Module):
    """1x1 to twice the width, a grouped 3x3, and 1x1 back, added to the input: an inverted bottleneck.

    The last convolution starts at zero, so that every block starts as the identity. `blocks` is the number of blocks of
    the whole network, by which the first two are scaled (Zhang et al. 2019, arXiv:1901.09321).
    """

    def __init__(self, width: int, groups: int, blocks: int) -> None:
        super().__init__()
        gain = GAIN * blocks**-0.25
        self.expand = _convolution(width, 2 * width, 1, gain=gain)
        self.first = BiasedActivation(2 * width)
        self.mix = _convolution(2 * width, 2 * width, 3, groups, gain)
        self.second = BiasedActivation(2 * width)
        self.reduce = _convolution(2 * width, width, 1, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width, H, W)``, unchanged in shape."""
        y = self.second(self.mix(self.first(self.expand(x))))
        out: Tensor = x + self.reduce(y)
        return out


class Resample(nn.Module):
    """Twice (`up`) or half the pixels, filtered with [1, 3, 3, 1], which prevents aliases."""

    kernel: Tensor

    def __init__(self, channels: int, *, up: bool) -> None:
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0])
        kernel = torch.outer(line, line) / (16 if up else 64)
        self.register_buffer("kernel", kernel.expand(channels, 1, 4, 4).contiguous(), persistent=False)
        self.up = up

    def forward(self, x: Tensor) -> Tensor:
        """``(N, channels, H, W)`` -> ``(N, channels, 2H, 2W)`` or ``(N, channels, H/2, W/2)``."""
        kernel = self.kernel.to(x.dtype)
        resample = conv_transpose2d if self.up else conv2d
        out: Tensor = resample(x, kernel, stride=2, padding=1, groups=len(kernel))
        return out


class Basis(nn.Module):
    """The generator's first transition: a learned 4x4 image for each channel, scaled by a linear map of the latent."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(channels, 4, 4))
        self.linear = nn.Linear(size, channels, bias=False)
        nn.init.normal_(self.linear.weight, 0.0, 1 / math.sqrt(size))

    def forward(self, latents: Tensor) -> Tensor:
        """``(N, size)`` -> ``(N, channels, 4, 4)``."""
        out: Tensor = self.basis * self.linear(latents)[:, :, None, None]
        return out


def _transition(before: int, after: int, *, up: bool) -> list[nn.Module]:
    """Up: a 1x1 convolution where widths differ, then more pixels. Down: fewer pixels, then the convolution."""
    change: list[nn.Module] = [_convolution(before, after, 1)] if before != after else []
    return [*change, Resample(after, up=True)] if up else [Resample(before, up=False), *change]


class Generator(nn.Module):
    """Stages from 4x4 pixels to the image; a stage is a transition and its blocks. The output is linear."""

    def __init__(self, config: R3GANConfig, widths: list[int], channels: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(classes, config.latent, bias=False) if classes else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, 0.0, 1.0)
        size = config.latent * (2 if classes else 1)
        layers: list[nn.Module] = [Basis(size, widths[0])]
        for index, width in enumerate(widths):
            if index:
                layers += _transition(widths[index - 1], width, up=True)
            layers += _blocks(config, width, len(widths))
        self.layers = nn.Sequential(*layers, _convolution(widths[-1], channels, 1))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(N, latent)`` and one-hot ``(N, classes)`` -> ``(N, channels, R, R)``, about -1 … 1."""
        if self.embedding is not None:
            latents = torch.cat([latents, self.embedding(labels)], 1)
        out: Tensor = self.layers(latents)
        return out


class Discriminator(nn.Module):
    """The generator's mirror: a stage is its blocks and a transition; the last one is a depthwise 4x4 convolution.

    With classes, the score is the product of the features and the embedding of the class.
    """

    def __init__(self, config: R3GANConfig, widths: list[int], channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(channels, widths[-1], 1)]
        for index in reversed(range(len(widths))):
            layers += _blocks(config, widths[index], len(widths))
            if index:
                layers += _transition(widths[index], widths[index - 1], up=False)
        whole = nn.Conv2d(widths[0], widths[0], 4, groups=widths[0], bias=False)
        nn.init.normal_(whole.weight, 0.0, 1 / 4)
        self.layers = nn.Sequential(*layers, whole, nn.Flatten())
        features = widths[0] if classes else 1
        self.linear = nn.Linear(widths[0], features, bias=False)
        nn.init.normal_(self.linear.weight, 0.0, 1 / math.sqrt(widths[0]))
        self.embedding = nn.Linear(classes, features, bias=False) if classes else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, 0.0, 1 / math.sqrt(features))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(N, channels, R, R)`` and one-hot ``(N, classes)`` -> ``(N,)`` raw scores."""
        features: Tensor = self.linear(self.layers(images))
        if self.embedding is not None:
            features = features * self.embedding(labels)
        return features.sum(1)

    def features(self, images: Tensor) -> list[Tensor]:
        """The activations behind each block, and the ``(N, width)`` before the score."""
        x, seen = images, []
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, ResidualBlock):
                seen.append(x)
        return [*seen, x]


def _blocks(config: R3GANConfig, width: int, stages: int) -> list[nn.Module]:
    return [ResidualBlock(width, width // config.group, stages * config.blocks) for _ in range(config.blocks)]


# ---------------------------------------------------------------------- the game (section 3 of the paper)


class R3GAN(nn.Module):
    """R3GAN for square images of 4·2^n pixels, with classes if the data have them."""

    Config = R3GANConfig
    generation_batch = 32
    mixes_classes = True

    def __init__(self, config: R3GANConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.classes = classes_of(fields)
        channels, side = picture_shape(fields, "r3gan")
        widths = config.widths(stages(side, "r3gan") + 1)
        self.config = config
        self.gamma = auto_gamma(side) if config.gamma == "auto" else float(config.gamma)
        self.gamma_final = self.gamma / 10 if config.gamma_final is None else config.gamma_final
        self.generator = Generator(config, widths, channels, self.classes)
        self.discriminator = Discriminator(config, widths, channels, self.classes)

    def given_fields(self, options: Any = None) -> tuple[str, ...]:
        """``label`` where the data have classes."""
        return ("label",) if self.classes else ()

    def players(self) -> dict[str, Player]:
        """The generator and the discriminator; both use Adam(2e-4; 0, 0.99) with a learning rate that falls to a
        quarter along a cosine."""
        adam = Optimizer(lr=2e-4, betas=(0.0, 0.99), schedule="cosine", final=0.25)
        return {
            "generator": Player(self.generator, adam, average=True),
            "discriminator": Player(self.discriminator, adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase: the discriminator's update with R1 and R2 in every step, the recipe's further penalties, and the
        generator's update on fresh latents."""

        def critic(batch: Batch) -> Any:
            labels = self._labels(batch.fields)
            return lambda images: self.discriminator(augmented(batch, images), labels)

        def update_discriminator(batch: Batch) -> dict[str, Tensor]:
            real = to_network(batch["image"])
            with torch.no_grad():
                fake = self._fakes(batch).float()
            points = torch.cat([real, fake]).requires_grad_()  # one pass for both: samples do not mix
            seen = torch.cat([augmented(batch, images) for images in points.chunk(2)])
            labels = self._labels(batch.fields)
            scores = self.discriminator(seen, None if labels is None else labels.repeat(2, 1)).float()
            (gradient,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
            r1, r2 = gradient.float().square().flatten(1).sum(1).chunk(2)
            real_scores, fake_scores = scores.chunk(2)
            observe_scores(batch, real_scores)
            probe_scores(batch, real_scores, fake_scores, real)
            gamma = batch.number("model.gamma", self.gamma_at(batch.progress))
            terms = {
                "loss": loss.discriminator(real_scores, fake_scores).mean(),
                "r1": gamma / 2 * r1.mean(),
                "r2": gamma / 2 * r2.mean(),
                "_real_score": real_scores.detach().mean(),
                "_fake_score": fake_scores.detach().mean(),
            }
            for name, penalty in penalties.items():
                if penalty.every == 1:
                    terms[f"penalty {name}"] = penalized(batch, name, penalty, critic(batch), real, fake)
            return terms

        def lazy(name: str, penalty: Penalty) -> Turn:
            def regularize(batch: Batch) -> dict[str, Tensor]:
                with torch.no_grad():
                    fake = self._fakes(batch)
                return {name: penalized(batch, name, penalty, critic(batch), to_network(batch["image"]), fake)}

            return Turn("discriminator", regularize, every=penalty.every)

        def update_generator(batch: Batch) -> dict[str, Tensor]:
            score = critic(batch)
            fake_scores = score(self._fakes(batch)).float()
            with torch.no_grad():
                real_scores = score(to_network(batch["image"])).float() if loss.needs_real else fake_scores
            return {"loss": loss_at(loss, batch).generator(real_scores, fake_scores).mean()}

        return [
            Phase(
                "adversarial",
                [
                    Turn("discriminator", update_discriminator),
                    *(lazy(name, penalty) for name, penalty in penalties.items() if penalty.every > 1),
                    Turn("generator", update_generator),
                ],
            )
        ]

    def gamma_at(self, progress: float) -> float:
        """γ after a share of the training, 0 … 1: along a cosine from the first to the final value."""
        done = min(1.0, progress / self.config.burn_in)
        return self.gamma_final + (self.gamma - self.gamma_final) * 0.5 * (1 + math.cos(math.pi * done))

    def _fakes(self, batch: Batch) -> Tensor:
        fakes: Tensor = self.generator(self.latents(batch.count, batch.rng), self._labels(batch.fields))
        return fakes

    def _labels(self, fields: Mapping[str, Tensor] | None) -> Tensor | None:
        return labels_of(fields, self.classes)

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent)`` from N(0, 1)."""
        return rng.randn(self.config.latent)

    def linear_maps(self) -> list[Tensor]:
        """The first layer, ``(channels, latent)``, without the class."""
        basis = self.generator.layers[0]
        assert isinstance(basis, Basis)
        return [basis.linear.weight.detach()[:, : self.config.latent]]

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """The discriminator's activations."""
        return self.discriminator.features(to_network(samples["image"]))

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Images of the given latent vectors, of the given classes."""
        return {"image": to_pixels(self.generator(latents, self._labels(request.given)))}

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Images of the given latent vectors as floats 0 … 255, without rounding."""
        images = self.generator(latents, self._labels(request.given)).float()
        return {"image": ((images + 1) * 127.5).clamp(0, 255)}

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` images."""
        return self.decode(self.latents(count, rng), request)
