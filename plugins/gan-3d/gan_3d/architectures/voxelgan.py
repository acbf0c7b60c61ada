"""3D-GAN: a convolutional GAN for grids of voxels.

Wu, Zhang, Xue, Freeman, Tenenbaum: Learning a probabilistic latent space of object shapes via 3D
generative-adversarial modeling, 2016, arXiv:1610.07584. The layers, the initialisation and the absence of biases follow
section 3 and the authors' release; the first normalisation of the discriminator is left out, as in DCGAN. A grid of
4·2^n voxels has n stages. Two forms differ in the game:

* as published (the recipe ``3dgan-paper``): batch normalisation in both networks, cross-entropy, and a discriminator
  that is updated only if it classified less than 80 % of the last batch rightly (`VoxelGANConfig.gate`);
* stable (the default): no normalisation in the discriminator, so that gradient penalties are defined per sample, and as
  many updates of it as `VoxelGANConfig.critic_repeats` says (five with WGAN-GP, Gulrajani et al. 2017).

With classes, an embedding of the class is concatenated with the latent vector, and the discriminator adds the inner
product of a class's vector and its last features, at all of their 4³ places (Miyato and Koyama 2018, arXiv:1802.05637).
With features averaged over the places, the class weighed so little that classes were exchanged early in a training.

With colours (``modality.colours=true``), a voxel has four numbers: its probability to be occupied, and red, green and
blue, which the discriminator sees times that probability, so that colours of empty voxels mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import torch
from gan.adversarial import Scored, adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player
from gan.latents import embedded, slerp, straight
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn


class VoxelGANConfig(BaseModel):
    """Sizes of the two networks and the form of the game."""

    model_config = ConfigDict(extra="forbid")

    latent: int = Field(200, ge=1, description="size of a latent vector")
    prior: Literal["normal", "uniform"] = Field("normal", description="latents from N(0, 1) or, as published, U[0, 1)")
    generator_width: int = Field(64, ge=1, description="channels before the generator's last layer")
    discriminator_width: int = Field(64, ge=1, description="channels after the discriminator's first layer")
    discriminator_norm: Literal["none", "batch"] = Field(
        "none", description="batch: batch normalisation from the second layer on, as published; none for penalties"
    )
    embedding: int = Field(16, ge=1, description="size of a class's embedding, for data with labels")
    critic_repeats: int = Field(5, ge=1, description="updates of the discriminator per update of the generator")
    gate: float = Field(
        1.0,
        gt=0,
        le=1,
        description="accuracy from which the discriminator is not updated (0.8 as published); 1: always is",
    )


class VoxelGANOptions(BaseModel):
    """Options of how shapes are generated."""

    model_config = ConfigDict(extra="forbid")

    threshold: float = Field(0.5, gt=0, lt=1, description="probability from which a voxel is occupied")
    symmetric: bool = Field(False, description="average each shape with its mirror image in x")


class VoxelGAN(nn.Module):
    """3D-GAN; see the module. A `gan.contracts.SmoothLatentSpace`, conditional on ``label`` where the data have it."""

    accuracy: Tensor
    """Share of the real and generated samples of the last batch that the discriminator classified rightly."""

    Config = VoxelGANConfig
    Options = VoxelGANOptions
    generation_batch = 32
    mixes_classes = True

    def __init__(self, config: VoxelGANConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        side = grid_side(fields, "3dgan")
        stages = (side // 4).bit_length() - 1
        if side != 4 * 2**stages or not 8 <= side <= 128:
            raise UsageError(f"3dgan needs a resolution of 8, 16, 32, 64 or 128 (modality.resolution), not {side}")
        self.config = config
        self.register_buffer("accuracy", torch.zeros(()))
        self.classes = class_count(fields)
        self.channels = 4 if "colours" in fields else 1
        extra = config.embedding if self.classes else 0
        self.embedding = nn.Embedding(self.classes, extra) if self.classes else None
        self.generator = _generator(config.latent + extra, config.generator_width, stages, self.channels)
        normalised = config.discriminator_norm == "batch"
        self.features = _features(config.discriminator_width, stages, normalised, self.channels)
        width = config.discriminator_width * 2 ** (stages - 1)
        self.score = nn.Conv3d(width, 1, 4, 1, 0, bias=False)  # 4 -> 1 voxel
        self.projection = nn.Embedding(self.classes, width * 64) if self.classes else None
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.xavier_uniform_(module.weight)
        if self.projection is not None:
            nn.init.normal_(self.projection.weight, std=float(self.score.weight.detach().std()))

    # ------------------------------------------------------------------ the game

    def players(self) -> dict[str, Player]:
        """The generator and the discriminator; both use Adam(1e-4; 0.5, 0.9)."""
        adam = Optimizer(lr=1e-4, betas=(0.5, 0.9))
        generator = [m for m in (self.generator, self.embedding) if m is not None]
        discriminator = [m for m in (self.features, self.score, self.projection) if m is not None]
        return {
            "generator": Player(generator, adam, average=True),
            "discriminator": Player(discriminator, adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase of adversarial training."""
        turns = adversarial_turns(
            loss,
            penalties,
            real=lambda batch: self.volumes(batch.fields),
            fake=self._fakes,
            critic=self.critic,
            conditions=(lambda batch: batch["label"]) if self.classes else None,
            critic_repeats=self.config.critic_repeats,
            terms={"discriminator": {"_accuracy": self._count_right}} if self.config.gate < 1 else None,
        )
        if self.config.gate < 1:
            turns[0] = replace(turns[0], learn=self._remember, when=lambda batch: self.accuracy < self.config.gate)
        return [Phase("adversarial", turns)]

    def _count_right(self, scored: Scored) -> Tensor:
        real, fake = scored.real_scores[0].detach(), scored.fake_scores[0].detach()
        right, seen = (real > 0).sum().float() + (fake < 0).sum(), torch.full((), 2.0 * len(real), device=real.device)
        scored.batch.observe("right", right)
        scored.batch.observe("seen", seen)
        return right / seen

    def _remember(self, observed: Mapping[str, Tensor], rng: Draws) -> None:
        self.accuracy.copy_(observed["right"] / observed["seen"])

    def _fakes(self, batch: Batch) -> Tensor:
        made = self.probabilities(self.latents(batch.count, batch.rng), batch["label"] if self.classes else None)
        return made if self.channels == 1 else torch.cat([made[:, :1], made[:, :1] * made[:, 1:]], 1)

    def volumes(self, samples: Mapping[str, Tensor]) -> Tensor:
        """Samples, also before rounding, as the critic sees them: ``(N, 1 or 4, R, R, R)`` in 0 … 1."""
        voxels = samples["voxels"].float()[:, None]
        if self.channels == 1:
            return voxels
        return torch.cat([voxels, voxels * samples["colours"].permute(0, 4, 1, 2, 3) / 255], 1)

    def critic(self, samples: Tensor, labels: Tensor | None = None) -> Tensor:
        """Volumes ``(N, 1 or 4, R, R, R)`` in 0 … 1 and classes ``(N,)`` -> raw scores ``(N,)``."""
        features = self.features(samples)
        scores: Tensor = self.score(features).flatten()
        if self.projection is not None and labels is not None:
            scores = scores + (self.projection(labels) * features.flatten(1)).sum(1)
        return scores

    def probabilities(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Latents ``(N, latent)``, classes ``(N,)`` -> ``(N, 1 or 4, R, R, R)`` in 0 … 1: the probability that a voxel
        is occupied and, with colours, the colour that it then has."""
        if self.embedding is not None:
            if labels is None:
                raise UsageError("the model needs the label of each shape")
            latents = torch.cat([latents, embedded(self.embedding, labels)], 1)
        grids: Tensor = self.generator(latents[:, :, None, None, None])
        return grids

    # ------------------------------------------------------------------ generation

    def given_fields(self, options: VoxelGANOptions | None = None) -> tuple[str, ...]:
        """The class, where the data have classes."""
        return ("label",) if self.classes else ()

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent)`` from N(0, 1), or from U[0, 1) as published."""
        return rng.rand(self.config.latent) if self.config.prior == "uniform" else rng.randn(self.config.latent)

    def settle(self, rng: Draws) -> None:
        """Generate shapes of all classes, whose batch statistics the averaged weights then use."""
        self.probabilities(self.latents(rng.count, rng), rng.randint(self.classes) if self.classes else None)

    def between(self, first: Tensor, second: Tensor, at: Tensor) -> Tensor:
        """Normal latents on a great circle, uniform ones on a line."""
        return (straight if self.config.prior == "uniform" else slerp)(first, second, at)

    def linear_maps(self) -> list[Tensor]:
        """The first layer, ``(features, latent)``, without the class."""
        return [self.generator[0].get_parameter("weight").detach()[: self.config.latent].flatten(1).T]

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """The discriminator's activations."""
        x, seen = self.volumes(samples), []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                seen.append(x)
        return seen

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The probability that each voxel is occupied, and the colours, 0 … 255."""
        labels = request.given["label"] if self.classes and request.given is not None else None
        grids = self.probabilities(latents, labels).float()
        if isinstance(request.options, VoxelGANOptions) and request.options.symmetric:
            grids = (grids + grids.flip(2)) / 2
        made = {"voxels": grids[:, 0]}
        return made if self.channels == 1 else {**made, "colours": grids[:, 1:].permute(0, 2, 3, 4, 1) * 255}

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Shapes of the given latent vectors, with the components that they have."""
        threshold = request.options.threshold if isinstance(request.options, VoxelGANOptions) else 0.5
        made = self.decode_smooth(latents, request)
        voxels = made["voxels"] >= threshold
        if "colours" not in made:
            return {"voxels": voxels}
        return {"voxels": voxels, "colours": (made["colours"] * voxels[..., None]).round().to(torch.uint8)}

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` shapes."""
        return self.decode(self.latents(count, rng), request)


def grid_side(fields: Mapping[str, FieldSpec], name: str) -> int:
    """The resolution of the field ``voxels``. Raises `UsageError` if there is none."""
    if "voxels" not in fields:
        raise UsageError(f"{name} needs occupied voxels, and the data hold {', '.join(fields)}")
    return fields["voxels"].shape[0]


def class_count(fields: Mapping[str, FieldSpec]) -> int:
    """The number of classes of the data; 0 if they have none."""
    return int(fields["label"].high) + 1 if "label" in fields else 0


def _generator(latent: int, width: int, stages: int, channels: int) -> nn.Sequential:
    widths = [width * 2 ** (stages - 1 - stage) for stage in range(stages)]
    layers: list[nn.Module] = [nn.ConvTranspose3d(latent, widths[0], 4, 1, 0, bias=False)]  # 1 -> 4 voxels
    layers += [nn.BatchNorm3d(widths[0]), nn.ReLU(inplace=True)]
    for before, after in pairwise(widths):
        layers += [nn.ConvTranspose3d(before, after, 4, 2, 1, bias=False), nn.BatchNorm3d(after), nn.ReLU(inplace=True)]
    layers += [nn.ConvTranspose3d(widths[-1], channels, 4, 2, 1, bias=False), nn.Sigmoid()]
    return nn.Sequential(*layers)


def _features(width: int, stages: int, normalised: bool, channels: int) -> nn.Sequential:
    widths = [width * 2**stage for stage in range(stages)]
    layers: list[nn.Module] = [nn.Conv3d(channels, widths[0], 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    for before, after in pairwise(widths):
        layers.append(nn.Conv3d(before, after, 4, 2, 1, bias=False))
        layers += [nn.BatchNorm3d(after)] if normalised else []
        layers.append(nn.LeakyReLU(0.2, inplace=True))
    return nn.Sequential(*layers)
