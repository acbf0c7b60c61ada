"""EG3D: shapes learned from pictures alone, by tri-planes and volume rendering.

Chan, Lin, Chan, Nagano, Pan, De Mello, Gallo, Guibas, Tremblay, Khamis, Karras, Wetzstein, "Efficient geometry-aware 3D
generative adversarial networks", 2022, arXiv:2112.07945; section numbers are of that paper. From top to bottom:

* the camera as a vector, and its rays;
* tri-planes (section 4.1): the generator of StyleGAN2 (`gan.parts.style`) draws three planes of features, xy, xz and
  yz, over the cube; a point's features are the mean of its three bilinear samples, and a perceptron makes of them a
  density and a feature vector, whose first three numbers are the colour;
* volume rendering (4.2): points on each ray, first evenly, then where the first ones were opaque, are composited on
  white;
* superresolution (4.2): two blocks of modulated convolutions make the picture of the small one;
* the game (4.3): the discriminator of StyleGAN2 sees the picture together with the small one, enlarged, so that both
  show the same (dual discrimination), and the camera as its condition. Cameras of generated pictures are drawn in
  training. The mapping network is told a camera too, which is often another one than that of the picture
  (`EG3DConfig.swap`).

Differences: cameras of the data are evenly distributed and known by their azimuth and elevation, so that they are drawn
from that distribution; a ray is sampled within the cube; both players see the same generated pictures of an
iteration; R1 is taken with respect to the enlarged small picture; classes, where the data have them, are appended to
the camera. It is one long file because it reads like the paper, whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from gan.adversarial import adversarial_turns, plus
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player, Turn
from gan.latents import class_shares, slerp, straight
from gan.parts.style import (
    W_AVERAGE_DECAY,
    Linear,
    ModulatedConvolution,
    StyleDiscriminator,
    StyledLayer,
    StyleGenerator,
    low_pass_filter,
    upsample,
)
from gan.recipe import Number, Schedule
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from gan_3d.architectures.voxelgan import class_count
from gan_3d.views import ANGLE, DISTANCE, HALF

POSE = 25
"""Numbers that describe a camera: its placement (4 x 4) and its optics (3 x 3)."""
PLANES = ((0, 1), (0, 2), (1, 2))
"""The axes of a point that each plane has."""
POINTS, SHIFT = 1000, 0.004
"""Points at which the density is regularized, and the deviation of their neighbours in half sides of the cube."""
AT_ONCE = 1 << 18
"""Points of a grid that are decoded at once."""


class EG3DConfig(BaseModel):
    """Sizes and regularization. The defaults are those of the paper; pictures have 128 to 512 pixels there."""

    model_config = ConfigDict(extra="forbid")

    latent: int = Field(512, ge=1, description="size of z")
    style: int = Field(512, ge=1, description="size of w")
    mapping_layers: int = Field(2, ge=1, description="layers of the mapping network")
    capacity: int = Field(32768, ge=1, description="channels times resolution of a layer, up to max_channels")
    max_channels: int = Field(512, ge=1, description="most channels of a layer")
    plane_resolution: int = Field(256, ge=4, description="pixels along each side of a plane: 4·2^n")
    features: int = Field(32, ge=3, description="channels of each plane, and numbers of a feature vector")
    hidden: int = Field(64, ge=1, description="width of the perceptron that decodes features")
    raw_resolution: int = Field(64, ge=4, description="pixels along each side of a picture by volume rendering")
    coarse: int = Field(48, ge=2, description="points on a ray that are distributed evenly")
    fine: int = Field(48, ge=0, description="further points on a ray, where the first are opaque")
    superresolution: tuple[int, int] = Field((128, 64), description="channels of the two blocks of superresolution")
    swap: Number = Field(
        Schedule(first=1.0, last=0.5, until=1_000_000),
        description="probability with which the mapping network is told another camera than that of the picture",
    )
    density: float = Field(0.25, ge=0, description="weight of the regularization of the density; 0: off")
    density_every: int = Field(4, ge=1, description="updates of the generator from one such regularization to the next")
    blur: float = Field(10.0, ge=0, description="deviation of the blur of pictures at the beginning, in pixels")
    blur_samples: int = Field(200_000, ge=1, description="real samples over which the blur fades")
    group: int = Field(4, ge=1, description="pictures per group of the minibatch standard deviation")
    modulation: Literal["auto", "grouped", "scaled"] = Field(
        "auto", description="how modulated convolutions are computed, with the same result"
    )

    def channels(self, resolution: int) -> int:
        """Channels of the feature maps at a resolution."""
        return max(1, min(self.capacity // resolution, self.max_channels))


class EG3DOptions(BaseModel):
    """What a user may choose in one call."""

    model_config = ConfigDict(extra="forbid")

    views: int = Field(0, ge=0, le=360, description="further pictures of each shape, from all sides")
    mesh: bool = Field(True, description="make the mesh of each shape")
    resolution: int = Field(64, ge=8, le=256, description="voxels along each side of the grid that the mesh is made of")
    truncation: float = Field(
        1.0, ge=0, le=2, description="ψ: styles are moved towards their average, 0: all the average, 1: not at all"
    )


# ---------------------------------------------------------------------------------------------------------- the camera


def camera_axes(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Degrees ``(N,)`` twice -> ``(N, 3, 3)``: the axes of the camera as rows, right, up and towards it."""
    a, e = torch.deg2rad(azimuth), torch.deg2rad(elevation)
    zero = torch.zeros_like(a)
    towards = torch.stack([e.cos() * a.cos(), e.cos() * a.sin(), e.sin()], 1)
    right = torch.stack([-a.sin(), a.cos(), zero], 1)
    return torch.stack([right, torch.linalg.cross(towards, right), towards], 1)


def around(axes: Tensor, degrees: Tensor) -> Tensor:
    """Cameras ``(N, 3, 3)`` that have gone so many degrees further around z."""
    turned = camera_axes(degrees[None], torch.zeros_like(degrees)[None])  # right (-sin, cos, 0), towards (cos, sin, 0)
    z = torch.stack([turned[0, 2], turned[0, 0], turned.new_tensor([0.0, 0.0, 1.0])])
    return axes @ z


def pose(axes: Tensor) -> Tensor:
    """Axes of cameras ``(N, 3, 3)`` -> ``(N, 25)``: camera to world ``(4, 4)`` and normalised optics ``(3, 3)``."""
    placement = torch.zeros(len(axes), 4, 4, device=axes.device)
    placement[:, :3, 0], placement[:, :3, 1] = axes[:, 0], -axes[:, 1]  # right, down, forward
    placement[:, :3, 2], placement[:, :3, 3] = -axes[:, 2], DISTANCE * axes[:, 2]
    placement[:, 3, 3] = 1
    focal = 0.5 / math.tan(ANGLE / 2)
    optics = torch.zeros(3, 3, device=axes.device)
    optics[0, 0], optics[1, 1], optics[2, 2] = focal, focal, 1.0
    optics[:2, 2] = 0.5
    return torch.cat([placement.flatten(1), optics.flatten().expand(len(axes), -1)], 1)


def rays(axes: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Origins ``(N, 1, 3)`` and unit directions ``(N, side², 3)`` of the rays through the pixels, row by row."""
    line = ((torch.arange(side, device=axes.device) + 0.5) / side * 2 - 1) * HALF
    down, across = torch.meshgrid(line, line, indexing="ij")
    through = torch.stack([across, -down, -torch.ones_like(down)], -1).view(-1, 3)
    return DISTANCE * axes[:, None, 2], functional.normalize(through @ axes, dim=2)


def inside_cube(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the cube -0.5 … 0.5, ``(N, R, 1)`` each; equal where they miss it."""
    away = torch.where(directions.abs() < 1e-6, torch.full_like(directions, 1e-6), directions)
    ends = torch.stack([(-0.5 - origins) / away, (0.5 - origins) / away])
    near, far = ends.amin(0).amax(2, keepdim=True), ends.amax(0).amin(2, keepdim=True)
    return near, torch.maximum(near, far)


# --------------------------------------------------------------------------------------------- tri-planes (section 4.1)


class TriPlanes(nn.Module):
    """Styles to planes, planes to densities and features at points."""

    def __init__(self, config: EG3DConfig, conditions: int) -> None:
        super().__init__()
        self.features = config.features
        self.backbone = StyleGenerator(config, 3 * config.features, config.plane_resolution, conditions)
        self.hidden = Linear(config.features, config.hidden)
        self.out = Linear(config.hidden, 1 + config.features)

    def planes(self, styles: Tensor) -> Tensor:
        """``(N, L, style)`` -> ``(N, 3, features, P, P)``; the axes of a plane are those of `PLANES`."""
        drawn: Tensor = self.backbone(styles[:, : self.backbone.styles])
        return drawn.view(len(drawn), 3, self.features, *drawn.shape[2:])

    def at(self, planes: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points ``(N, P, 3)`` in -0.5 … 0.5 -> densities ``(N, P, 1)`` before softplus, and features ``(N, P, F)``."""
        count, total = len(points), points.shape[1]
        places = torch.stack([points[..., list(axes)] for axes in PLANES], 1) * 2  # (N, 3, P, 2) in -1 … 1
        samples = functional.grid_sample(
            planes.flatten(0, 1), places.view(3 * count, 1, total, 2), padding_mode="zeros", align_corners=False
        )
        features = samples.view(count, 3, self.features, total).mean(1).transpose(1, 2)
        decoded: Tensor = self.out(functional.softplus(self.hidden(features)))
        return decoded[..., :1], torch.sigmoid(decoded[..., 1:]) * 1.002 - 0.001


# --------------------------------------------------------------------------------------- volume rendering (section 4.2)


def composite(depths: Tensor, densities: Tensor, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Depths and densities ``(N, R, S, 1)`` in ascending order, features ``(N, R, S, F)`` -> features of the rays on
    white ``(N, R, F)``, weights of the S - 1 intervals ``(N, R, S - 1, 1)``, depths ``(N, R)``; values of an interval
    are those of its middle."""
    steps = depths[:, :, 1:] - depths[:, :, :-1]

    def middle(values: Tensor) -> Tensor:
        return (values[:, :, 1:] + values[:, :, :-1]) / 2

    opacity = 1 - torch.exp(-functional.softplus(middle(densities) - 1) * steps)
    passed = torch.cumprod(1 - opacity + 1e-10, 2)
    weights = opacity * torch.cat([torch.ones_like(passed[:, :, :1]), passed[:, :, :-1]], 2)
    opaque = weights.sum(2)
    depth = (weights * middle(depths)).sum(2) / opaque.clamp(min=1e-6)
    return (weights * middle(features)).sum(2) + 1 - opaque, weights, depth.squeeze(2)


def important(depths: Tensor, weights: Tensor, places: Tensor) -> Tensor:
    """Depths where the first points were opaque: the inverse of the distribution of their weights, smoothed, at
    `places` ``(N, R, S')`` in 0 … 1; -> ``(N, R, S', 1)``."""
    count, number = depths.shape[:2]
    smooth = functional.max_pool1d(weights.squeeze(3).flatten(0, 1)[:, None], 2, 1, padding=1)
    smooth = functional.avg_pool1d(smooth, 2, 1)[:, 0] + 0.01
    total = functional.pad(torch.cumsum(smooth / smooth.sum(1, keepdim=True), 1), (1, 0))  # (N·R, S), from 0 to 1
    at = places.flatten(0, 1).contiguous()
    above = torch.searchsorted(total, at, right=True).clamp(1, total.shape[1] - 1)
    low, high = total.gather(1, above - 1), total.gather(1, above)
    edges = depths.squeeze(3).flatten(0, 1)
    begin, end = edges.gather(1, above - 1), edges.gather(1, above)
    share = ((at - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    return (begin + share * (end - begin)).view(count, number, -1, 1)


# ---------------------------------------------------------------------------------------- superresolution (section 4.2)


class Enlarged(nn.Module):
    """A block of superresolution: two modulated convolutions without noise, and their contribution to the picture."""

    filter: Tensor

    def __init__(self, inputs: int, outputs: int, style: int, *, up: bool) -> None:
        super().__init__()
        self.first = StyledLayer(inputs, outputs, style, up=up)
        self.second = StyledLayer(outputs, outputs, style)
        self.to_image = ModulatedConvolution(outputs, 3, 1, style, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(3))
        self.up = up
        self.register_buffer("filter", low_pass_filter(), persistent=False)

    def forward(self, x: Tensor, image: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        """Feature maps ``(N, C, R, R)`` and picture ``(N, 3, R, R)`` -> both, of 2R with `up`."""
        x = self.second(self.first(x, w), w)
        image = upsample(image, self.filter) if self.up else image
        return x, image + self.to_image(x, w) + self.bias[:, None, None]


class SuperResolution(nn.Module):
    """Two blocks, of which as many double the resolution as are needed; larger factors begin with a bilinear resize."""

    def __init__(self, features: int, widths: tuple[int, int], style: int, raw: int, side: int) -> None:
        super().__init__()
        doublings = min(2, (side // raw).bit_length() - 1)
        self.begin = side >> doublings
        self.first = Enlarged(features, widths[0], style, up=doublings == 2)
        self.second = Enlarged(widths[0], widths[1], style, up=doublings >= 1)

    def forward(self, features: Tensor, w: Tensor) -> Tensor:
        """``(N, F, raw, raw)``, about -1 … 1 -> the picture ``(N, 3, side, side)``."""
        x = resized(features, self.begin)
        x, image = self.first(x, x[:, :3], w)
        enlarged: Tensor = self.second(x, image, w)[1]
        return enlarged


def resized(pictures: Tensor, side: int) -> Tensor:
    """Bilinear, without aliasing where pictures become smaller."""
    if pictures.shape[2] == side:
        return pictures
    return functional.interpolate(pictures, (side, side), mode="bilinear", align_corners=False, antialias=True)


def blurred(pictures: Tensor, deviation: float) -> Tensor:
    """Pictures after a Gaussian blur that is cut off at three deviations (in pixels); edges are repeated."""
    reach = int(3 * deviation)
    if reach == 0:
        return pictures
    taps = torch.exp2(-(torch.arange(-reach, reach + 1, device=pictures.device) / deviation).square())
    line = (taps / taps.sum()).to(pictures.dtype)
    padded = functional.pad(pictures, (reach,) * 4, mode="replicate")
    channels = pictures.shape[1]
    rows = functional.conv2d(padded, line.view(1, 1, 1, -1).expand(channels, -1, -1, -1), groups=channels)
    return functional.conv2d(rows, line.view(1, 1, -1, 1).expand(channels, -1, -1, -1), groups=channels)


# ------------------------------------------------------------------------------------------------------------ the game


class Generator(nn.Module):
    """Planes, their pictures by volume rendering, and superresolution."""

    def __init__(self, config: EG3DConfig, side: int, conditions: int) -> None:
        super().__init__()
        self.config, self.side = config, side
        self.triplanes = TriPlanes(config, conditions)
        self.superresolution = SuperResolution(
            config.features, config.superresolution, config.style, config.raw_resolution, side
        )

    def rendered(self, planes: Tensor, axes: Tensor, rng: Draws | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Features ``(N, F, raw, raw)`` in 0 … 1, depths along the rays and opacities ``(N, raw, raw)`` of planes seen
        by cameras ``(N, 3, 3)``. Points on rays are jittered by `rng`, and evenly distributed without it."""
        config, count, side = self.config, len(planes), self.config.raw_resolution
        origins, directions = rays(axes, side)
        near, far = inside_cube(origins, directions)
        number, coarse = side * side, config.coarse
        jitter: Tensor | float = 0.5 if rng is None else rng.rand(number, coarse)
        shares = (torch.arange(coarse, device=planes.device) + jitter) / coarse
        depths = (near + (far - near) * shares)[..., None]  # (N, R, S, 1)
        densities, features = self._along(planes, origins, directions, depths)
        if config.fine:
            with torch.no_grad():
                weights = composite(depths, densities, features)[1]
                even = (torch.arange(config.fine, device=planes.device) + 0.5) / config.fine
                places = even.expand(count, number, -1) if rng is None else rng.rand(number, config.fine)
                more = important(depths, weights, places)
            more_densities, more_features = self._along(planes, origins, directions, more)
            depths, order = torch.cat([depths, more], 2).sort(2)
            densities = torch.cat([densities, more_densities], 2).gather(2, order)
            features = torch.cat([features, more_features], 2).gather(2, order.expand(-1, -1, -1, config.features))
        seen, weights, depth = composite(depths, densities, features)
        return (
            seen.transpose(1, 2).reshape(count, -1, side, side),
            torch.minimum(torch.maximum(depth, near[..., 0]), far[..., 0]).view(count, side, side),
            weights.sum((2, 3)).view(count, side, side),
        )

    def _along(self, planes: Tensor, origins: Tensor, directions: Tensor, depths: Tensor) -> tuple[Tensor, Tensor]:
        """Densities ``(N, R, S, 1)`` and features ``(N, R, S, F)`` at depths ``(N, R, S, 1)`` of rays."""
        points = origins[:, :, None] + depths * directions[:, :, None]
        densities, features = self.triplanes.at(planes, points.flatten(1, 2))
        return densities.view(depths.shape), features.view(*depths.shape[:3], -1)

    def pictures(self, styles: Tensor, axes: Tensor, rng: Draws | None = None) -> tuple[Tensor, Tensor]:
        """Styles ``(N, L, style)`` and cameras -> pictures ``(N, 3, side, side)`` and raw ones, about -1 … 1."""
        return self.enlarged(self.rendered(self.triplanes.planes(styles), axes, rng)[0], styles)

    def enlarged(self, features: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
        """Rendered features -> pictures, and the raw ones that they are made of."""
        features = features * 2 - 1
        return self.superresolution(features, styles[:, -1]), features[:, :3]


class EG3D(nn.Module):
    """The game of generator and discriminator; a `gan.contracts.SmoothLatentSpace` and a `gan.contracts.StyleSpace`,
    conditional on the camera and on ``label`` where the data have it.

    A latent is z ``(N, latent)``. `decode` also takes styles w ``(N, layers, style)``, which `styles_of` returns.
    """

    Config = EG3DConfig
    Options = EG3DOptions
    generation_batch = 8
    preview_options = {"resolution": 32}
    mixes_classes = True
    w_average: Tensor

    def __init__(self, config: EG3DConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        if "picture" not in fields:
            raise UsageError("eg3d learns pictures with known cameras; set modality.form=views")
        side, raw, planes = fields["picture"].shape[1], config.raw_resolution, config.plane_resolution
        if side != 4 << (side // 4).bit_length() - 1 or side < 8:
            raise UsageError(f"eg3d needs pictures of 8, 16, 32 … pixels (modality.resolution), not {side}")
        if raw > side or raw != 4 << (raw // 4).bit_length() - 1:
            raise UsageError(f"model.raw_resolution is 4, 8, 16 … up to modality.resolution ({side}), not {raw}")
        if planes != 4 << (planes // 4).bit_length() - 1:
            raise UsageError(f"model.plane_resolution is 4, 8, 16 …, not {planes}")
        self.config, self.side = config, side
        self.elevations = fields["elevation"].low, fields["elevation"].high
        self.classes = class_count(fields)
        self.generator = Generator(config, side, POSE + self.classes)
        self.discriminator = StyleDiscriminator(config, 6, side, POSE + self.classes)
        self.register_buffer("w_average", torch.zeros(config.style))
        """Average of w over latents, cameras and classes, for truncation."""

    def players(self) -> dict[str, Player]:
        """The generator, Adam(0.0025; 0, 0.99), and the discriminator, Adam(0.002; 0, 0.99)."""
        return {
            "generator": Player(self.generator, Optimizer(lr=2.5e-3, betas=(0.0, 0.99)), average=True),
            "discriminator": Player(self.discriminator, Optimizer(lr=2e-3, betas=(0.0, 0.99))),
        }

    # ------------------------------------------------------------------------------------------------------- training

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase. R1 comes lazily from the recipe's penalties."""
        turns = adversarial_turns(
            loss,
            penalties,
            real=self._reals,
            fake=self._fakes,
            critic=self._critic,
            conditions=lambda batch: self._told(camera_axes(batch["azimuth"], batch["elevation"]), self._labels(batch)),
            fake_conditions=lambda batch: batch.shared["seen by"],
            with_batch=True,
        )
        turns[-1] = plus(turns[-1], self._observe_styles, learn=self._learn_average)
        if self.config.density:
            turns.append(Turn("generator", self._rough, every=self.config.density_every))
        return [Phase("adversarial", turns)]

    def _labels(self, batch: Batch) -> Tensor | None:
        return batch["label"] if self.classes else None

    def _told(self, axes: Tensor, labels: Tensor | None) -> Tensor:
        """Cameras ``(N, 3, 3)`` and classes -> the condition of both networks, ``(N, 25 + classes)``."""
        if not self.classes:
            return pose(axes)
        if labels is None:
            raise UsageError("the model needs the label of each shape")
        return torch.cat([pose(axes), class_shares(labels, self.classes)], 1)

    def _cameras(self, rng: Draws) -> Tensor:
        """Axes of cameras as the data have them ``(N, 3, 3)``."""
        low, high = self.elevations
        return camera_axes(rng.rand(1)[:, 0] * 360, low + rng.rand(1)[:, 0] * (high - low))

    def _styles(self, batch: Batch, axes: Tensor) -> Tensor:
        """Styles ``(N, L, style)`` of new latents; the mapping network is told `axes` or another camera."""
        rng = batch.rng
        swap = rng.rand(1, 1) < batch.number("model.swap", self.config.swap)
        told = self._told(torch.where(swap, self._cameras(rng), axes), self._labels(batch))
        w: Tensor = self.generator.triplanes.backbone.mapping(rng.randn(self.config.latent), told)
        batch.shared["w"] = w.detach()
        return self._in_layers(w)

    def _in_layers(self, w: Tensor) -> Tensor:
        return w[:, None].expand(-1, self.generator.triplanes.backbone.styles, -1)

    def _reals(self, batch: Batch) -> Tensor:
        pictures = batch["picture"] / 127.5 - 1
        return self._dual(pictures, resized(pictures, self.config.raw_resolution))

    def _fakes(self, batch: Batch) -> Tensor:
        axes = self._cameras(batch.rng)
        batch.shared["seen by"] = self._told(axes, self._labels(batch))
        return self._dual(*self.generator.pictures(self._styles(batch, axes), axes, batch.rng))

    def _dual(self, pictures: Tensor, raw: Tensor) -> Tensor:
        """Pictures and raw pictures, enlarged: ``(N, 6, side, side)``."""
        return torch.cat([pictures, resized(raw, self.side)], 1)

    def _critic(self, samples: Tensor, told: Tensor, batch: Batch) -> Tensor:
        """``(N, 6, side, side)`` and cameras ``(N, 25 + classes)`` -> raw scores ``(N,)``."""
        deviation = self.config.blur * max(1 - batch.position / self.config.blur_samples, 0.0)
        pictures = torch.cat([blurred(samples[:, :3], deviation), samples[:, 3:]], 1)
        scores: Tensor = self.discriminator(pictures, told)
        return scores

    def _observe_styles(self, batch: Batch) -> dict[str, Tensor]:
        w = batch.shared.pop("w")
        batch.observe("w", w.sum(0))
        batch.observe("count", w.new_tensor(float(len(w))))
        return {}

    def _learn_average(self, observed: Mapping[str, Tensor], rng: Draws) -> None:
        self.w_average.lerp_(observed["w"] / observed["count"], 1 - W_AVERAGE_DECAY)

    def _rough(self, batch: Batch) -> dict[str, Tensor]:
        """How much the density differs between neighbouring points of new shapes (total variation)."""
        rng, triplanes = batch.rng, self.generator.triplanes
        planes = triplanes.planes(self._styles(batch, self._cameras(rng)))
        points = rng.rand(POINTS, 3) - 0.5
        beside = points + rng.randn(POINTS, 3) * (SHIFT / 2)
        densities = triplanes.at(planes, torch.cat([points, beside], 1))[0]
        batch.shared.pop("w")
        return {"density": self.config.density * (densities[:, :POINTS] - densities[:, POINTS:]).abs().mean()}

    # ----------------------------------------------------------------------------------------------------- generation

    def given_fields(self, options: EG3DOptions | None = None) -> tuple[str, ...]:
        """The camera, and the class where the data have classes."""
        return ("azimuth", "elevation", *(("label",) if self.classes else ()))

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent)`` from N(0, 1)."""
        return rng.randn(self.config.latent)

    def styles_of(self, latents: Tensor, request: Request) -> Tensor:
        """Styles ``(N, layers, style)`` of latents ``(N, latent)`` and the request's cameras and classes, before
        truncation."""
        axes, labels = self._given(request)
        w: Tensor = self.generator.triplanes.backbone.mapping(latents, self._told(axes, labels))
        return self._in_layers(w)

    def between(self, first: Tensor, second: Tensor, at: Tensor) -> Tensor:
        """Latents on a great circle, styles on a line."""
        return slerp(first, second, at) if first.ndim == 2 else straight(first, second, at)

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """The discriminator's activations."""
        pictures = samples["picture"].float() / 127.5 - 1
        return self.discriminator.features(self._dual(pictures, resized(pictures, self.config.raw_resolution)))

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Pictures of latents ``(N, latent)`` or of styles ``(N, layers, style)``; by the options also ``views``, uint8
        ``(N, V, 3, side, side)``, and of the mesh ``density`` ``(N, R, R, R)`` and ``colours`` ``(N, R, R, R, 3)``."""
        options = request.options or EG3DOptions()
        styles, planes, axes = self._shapes(latents, request)
        made: dict[str, Any] = {"picture": to_pixels(self._seen(styles, planes, axes))}
        if options.views:
            turns = torch.arange(options.views, device=axes.device) * (360.0 / options.views)
            seen = [self._seen(styles, planes, around(axes, turn)) for turn in turns]
            made["views"] = to_pixels(torch.stack(seen, 1))
        if options.mesh:
            made["density"], made["colours"] = self.volumes(planes, options.resolution)
        return made

    def seen_by(self, latents: Tensor, request: Request, azimuth: Tensor, elevation: Tensor) -> dict[str, Tensor]:
        """Shapes seen by other cameras than those of the request, degrees ``(N,)`` twice: ``picture`` as `decode` gives
        it, ``depth`` along the rays and ``opacity`` ``(N, raw, raw)``, and the ``axes`` of cameras ``(N, 3, 3)``."""
        styles, planes, _ = self._shapes(latents, request)
        axes = camera_axes(azimuth, elevation)
        features, depth, opacity = self.generator.rendered(planes, axes)
        picture = to_pixels(self.generator.enlarged(features, styles)[0])
        return {"picture": picture, "depth": depth, "opacity": opacity, "axes": axes}

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The pictures as floats 0 … 255, without rounding."""
        pictures = self._seen(*self._shapes(latents, request))
        return {"picture": ((pictures + 1) * 127.5).clamp(0, 255)}

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` shapes."""
        return self.decode(self.latents(count, rng), request)

    def _given(self, request: Request) -> tuple[Tensor, Tensor | None]:
        given = request.given or {}
        if "azimuth" not in given:
            raise UsageError("the model needs the camera of each picture: azimuth and elevation")
        return camera_axes(given["azimuth"], given["elevation"]), given.get("label")

    def _shapes(self, latents: Tensor, request: Request) -> tuple[Tensor, Tensor, Tensor]:
        """Styles after truncation, planes and the cameras of the request."""
        options = request.options or EG3DOptions()
        styles = self.styles_of(latents, request) if latents.ndim == 2 else latents
        if options.truncation != 1:
            styles = torch.lerp(self.w_average.expand_as(styles), styles, options.truncation)
        return styles, self.generator.triplanes.planes(styles), self._given(request)[0]

    def _seen(self, styles: Tensor, planes: Tensor, axes: Tensor) -> Tensor:
        return self.generator.enlarged(self.generator.rendered(planes, axes)[0], styles)[0]

    def volumes(self, planes: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Densities ``(N, side, side, side)`` at the centres of voxels, and colours ``(N, side, side, side, 3)``
        uint8."""
        line = (torch.arange(side, device=planes.device) + 0.5) / side - 0.5
        points = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).view(1, -1, 3)
        parts = [
            self.generator.triplanes.at(planes, part.expand(len(planes), -1, -1))
            for part in torch.split(points, AT_ONCE, 1)
        ]
        densities = torch.cat([density for density, _ in parts], 1).view(-1, side, side, side)
        colours = torch.cat([features[..., :3] for _, features in parts], 1).view(-1, side, side, side, 3)
        return densities, (colours * 255).round().clamp(0, 255).to(torch.uint8)


def to_pixels(pictures: Tensor) -> Tensor:
    """-1 … 1 -> 0 … 255, uint8."""
    return ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
