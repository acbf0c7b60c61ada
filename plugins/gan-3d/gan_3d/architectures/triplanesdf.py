"""Triplane-SDF: signed distances from three feature planes, at any resolution.

A small form, without pictures, of the tri-planes of EG3D (Chan et al. 2022, arXiv:2112.07945, section 4): a
convolutional network turns a latent vector into three planes of features, xy, xz and yz, over the cube -1 … 1. A
point's features are the mean of its three bilinear samples, and a perceptron adds to the distance of a sphere what the
features say: s(p). The discriminator sees soft occupancies σ(-s / τ) on a grid, those of real shapes by their own
distances, so that it judges surfaces and neither numbers far from them nor steps of voxels. Where |s| < 0.1, the
eikonal term asks for gradients of length one, as a distance has (Gropp et al. 2020, arXiv:2002.10099).

On a regular grid the samples of a plane do not depend on the third axis: the planes are resized once, the first layer
is applied to them, and sums are taken over pairs of axes. The gradient of s is that of central differences of the grid.

With classes, an embedding of the class is concatenated with the latent vector, and the discriminator adds the inner
product of a class's vector and its last features (Miyato and Koyama 2018, arXiv:1802.05637).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from gan.adversarial import Scored, adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player
from gan.latents import embedded
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate, softplus

from gan_3d.architectures.voxelgan import class_count

HIDDEN = 64
"""Width of the perceptron."""
NEAR = 0.1
"""Distance from the surface within which the eikonal term acts, in half sides of the cube."""
AT_ONCE = 1 << 20
"""Points of a grid that are decoded at once: 270 MB for each layer of the perceptron."""
PLANES = ((0, 1), (0, 2), (1, 2))
"""The axes of a point that each plane has."""


class TriplaneSDFConfig(BaseModel):
    """Sizes of the networks and the form of the game."""

    model_config = ConfigDict(extra="forbid")

    latent: int = Field(128, ge=1, description="size of a latent vector")
    width: int = Field(256, ge=8, multiple_of=8, description="channels of the first two resolutions of the planes")
    features: int = Field(16, ge=1, description="channels of each plane")
    discriminator_width: int = Field(32, ge=1, description="channels after the discriminator's first layer")
    embedding: int = Field(16, ge=1, description="size of a class's embedding, for data with labels")
    sharpness: float = Field(0.04, gt=0, description="τ of the soft occupancy, in half sides of the cube")
    eikonal: float = Field(0.1, ge=0, description="weight of the eikonal term; 0: none")
    critic_repeats: int = Field(2, ge=1, description="updates of the discriminator per update of the generator")


class TriplaneSDFOptions(BaseModel):
    """Options of how shapes are generated."""

    model_config = ConfigDict(extra="forbid")

    resolution: int = Field(0, ge=0, le=256, description="voxels along each side of the result; 0: as in training")
    symmetric: bool = Field(False, description="average each shape with its mirror image in x")


class Generator(nn.Module):
    """Latent vectors to planes, and planes to signed distances."""

    def __init__(self, latent: int, width: int, features: int) -> None:
        super().__init__()
        self.width, self.features = width, features
        self.first = nn.Linear(latent, width * 16)
        widths = [width, width, width // 2, width // 4, width // 8]  # at 4, 8, 16, 32 and 64 pixels
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 3 * features, 3, padding=1))
        self.hidden1 = nn.Linear(features, HIDDEN)
        self.hidden2 = nn.Linear(HIDDEN, HIDDEN)
        self.out = nn.Linear(HIDDEN, 1)

    def planes(self, latents: Tensor) -> Tensor:
        """``(N, latent)`` -> ``(N, 3, features, 64, 64)``; the axes of a plane are those of `PLANES`."""
        x = self.first(latents).view(-1, self.width, 4, 4)
        planes: Tensor = self.layers(x)
        return planes.view(len(planes), 3, self.features, *planes.shape[2:])

    def distances(self, planes: Tensor, side: int) -> Tensor:
        """Planes -> s at the centres of the voxels of a grid, ``(N, side, side, side)``."""
        count = len(planes)
        resized = interpolate(planes.flatten(0, 1), (side, side), mode="bilinear", align_corners=False)
        channels_last = resized.view(count, 3, self.features, side, side).permute(0, 1, 3, 4, 2)
        xy, xz, yz = (channels_last / 3 @ self.hidden1.weight.T).unbind(1)  # the first layer is linear
        centres = (torch.arange(side, device=planes.device) + 0.5) * (2 / side) - 1
        radius = torch.stack(torch.meshgrid(centres, centres, centres, indexing="ij")).norm(dim=0)
        slab = max(1, AT_ONCE // (count * side * side))  # of the first axis, which limits the memory
        parts = [
            self._decoded(x_y[:, :, :, None] + x_z[:, :, None, :] + yz[:, None, :, :] + self.hidden1.bias)
            for x_y, x_z in zip(torch.split(xy, slab, 1), torch.split(xz, slab, 1))
        ]
        made: Tensor = torch.cat(parts, 1) + (radius - 0.5).to(planes.dtype)
        return made

    def at(self, planes: Tensor, points: Tensor) -> Tensor:
        """Planes and points ``(N, P, 3)`` in -1 … 1 -> s, ``(N, P)``."""
        total = torch.zeros(())
        for plane, (first, second) in zip(planes.unbind(1), PLANES):
            places = points[:, None, :, [second, first]]  # grid_sample takes the last axis first
            total = total + grid_sample(plane, places, padding_mode="border", align_corners=False)[:, :, 0]
        before = self.hidden1(total.transpose(1, 2) / 3)
        found: Tensor = self._decoded(before) + points.norm(dim=2) - 0.5
        return found

    def _decoded(self, before: Tensor) -> Tensor:
        """What the perceptron adds, from its first layer before the activation, ``(…, HIDDEN)`` -> ``(…)``."""
        added: Tensor = self.out(softplus(self.hidden2(softplus(before)))).squeeze(-1)
        return added


class TriplaneSDF(nn.Module):
    """Triplane-SDF; see the module. A `gan.contracts.SmoothLatentSpace`, conditional on ``label`` where the data have
    it."""

    Config = TriplaneSDFConfig
    Options = TriplaneSDFOptions
    generation_batch = 8
    mixes_classes = True

    def __init__(self, config: TriplaneSDFConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        if "distance" not in fields:
            raise UsageError("triplane-sdf learns signed distances; set modality.form=distance")
        self.side = fields["distance"].shape[0]
        if self.side < 16 or self.side % 8:
            raise UsageError(
                "triplane-sdf needs a resolution of 16 or more and a multiple of 8 (modality.resolution), "
                f"not {self.side}"
            )
        self.config = config
        self.classes = class_count(fields)
        extra = config.embedding if self.classes else 0
        self.embedding = nn.Embedding(self.classes, extra) if self.classes else None
        self.generator = Generator(config.latent + extra, config.width, config.features)
        widths = [1, *(config.discriminator_width * factor for factor in (1, 2, 4))]
        stages: list[nn.Module] = []
        for before, after in pairwise(widths):
            stages += [nn.Conv3d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
        self.features = nn.Sequential(*stages)
        self.score = nn.Conv3d(widths[-1], 1, 4 if self.side >= 32 else 2)
        self.projection = nn.Embedding(self.classes, widths[-1]) if self.classes else None
        if self.projection is not None:
            nn.init.normal_(self.projection.weight, std=float(self.score.weight.detach().std()))

    # ------------------------------------------------------------------ the game

    def players(self) -> dict[str, Player]:
        """The generator and the discriminator; both use Adam(2e-4; 0.5, 0.9)."""
        adam = Optimizer(lr=2e-4, betas=(0.5, 0.9))
        generator = [m for m in (self.generator, self.embedding) if m is not None]
        discriminator = [m for m in (self.features, self.score, self.projection) if m is not None]
        return {"generator": Player(generator, adam, average=True), "discriminator": Player(discriminator, adam)}

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase of adversarial training."""
        terms = {"generator": {"eikonal": self._eikonal}} if self.config.eikonal else None
        turns = adversarial_turns(
            loss,
            penalties,
            real=lambda batch: self.occupancy(batch["distance"]),
            fake=self._fakes,
            critic=self.critic,
            conditions=(lambda batch: batch["label"]) if self.classes else None,
            critic_repeats=self.config.critic_repeats,
            terms=terms,
        )
        return [Phase("adversarial", turns)]

    def occupancy(self, distance: Tensor) -> Tensor:
        """σ(-s / τ): 0 … 1, one half on the surface."""
        return torch.sigmoid(-distance / self.config.sharpness)

    def _fakes(self, batch: Batch) -> Tensor:
        labels = batch["label"] if self.classes else None
        return self.occupancy(self.shapes(self.latents(batch.count, batch.rng), labels, self.side))

    def _eikonal(self, scored: Scored) -> Tensor:
        """The weighted mean of (|∇s| - 1)² near the surface; s comes back from the occupancy."""
        occupancy = scored.fake.clamp(1e-6, 1 - 1e-6)
        distance = -self.config.sharpness * torch.logit(occupancy)
        inner = slice(1, -1)
        steps = [
            distance[:, 2:, inner, inner] - distance[:, :-2, inner, inner],
            distance[:, inner, 2:, inner] - distance[:, inner, :-2, inner],
            distance[:, inner, inner, 2:] - distance[:, inner, inner, :-2],
        ]
        slope = (torch.stack(steps) * (self.side / 4)).square().sum(0).add(1e-12).sqrt()  # 2 voxels are 4 / side
        near = (distance[:, inner, inner, inner].abs() < NEAR).to(slope.dtype)
        return self.config.eikonal * ((slope - 1).square() * near).sum() / near.sum().clamp(min=1)

    def critic(self, occupancies: Tensor, labels: Tensor | None = None) -> Tensor:
        """Occupancies ``(N, R, R, R)`` in 0 … 1 and classes ``(N,)`` -> raw scores ``(N,)``: the mean over places."""
        features = self.features(occupancies[:, None])
        scores: Tensor = self.score(features).flatten(1).mean(1)
        if self.projection is not None and labels is not None:
            scores = scores + (self.projection(labels) * features.mean((2, 3, 4))).sum(1)
        return scores

    def shapes(self, latents: Tensor, labels: Tensor | None, side: int) -> Tensor:
        """Latents ``(N, latent)`` and classes ``(N,)`` -> signed distances ``(N, side, side, side)``."""
        return self.generator.distances(self.generator.planes(self._told(latents, labels)), side)

    def _told(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        if self.embedding is None:
            return latents
        if labels is None:
            raise UsageError("the model needs the label of each shape")
        return torch.cat([latents, embedded(self.embedding, labels)], 1)

    # ------------------------------------------------------------------ generation

    def given_fields(self, options: TriplaneSDFOptions | None = None) -> tuple[str, ...]:
        """The class, where the data have classes."""
        return ("label",) if self.classes else ()

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent)`` from N(0, 1)."""
        return rng.randn(self.config.latent)

    def settle(self, rng: Draws) -> None:
        """Generate planes of all classes, whose batch statistics the averaged weights then use."""
        labels = rng.randint(self.classes) if self.classes else None
        self.generator.planes(self._told(self.latents(rng.count, rng), labels))

    def linear_maps(self) -> list[Tensor]:
        """The first layer, ``(features, latent)``, without the class."""
        return [self.generator.first.weight.detach()[:, : self.config.latent]]

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """The discriminator's activations."""
        x, seen = self.occupancy(samples["distance"].float())[:, None], []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                seen.append(x)
        return seen

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The signed distances of latent vectors."""
        options = request.options if isinstance(request.options, TriplaneSDFOptions) else TriplaneSDFOptions()
        if 0 < options.resolution < self.side:
            raise UsageError(f"--resolution is at least that of the training, {self.side}, not {options.resolution}")
        labels = request.given["label"] if self.classes and request.given is not None else None
        made = self.shapes(latents, labels, options.resolution or self.side).float()
        return {"distance": (made + made.flip(1)) / 2 if options.symmetric else made}

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The shapes of latent vectors, at the resolution that is asked for."""
        return self.decode_smooth(latents, request)

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` shapes."""
        return self.decode(self.latents(count, rng), request)
