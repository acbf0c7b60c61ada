"""StyleGAN2: a style-based generator for square images of 4·2^n pixels, with or without classes.

Karras, Laine, Aittala, Hellsten, Lehtinen, Aila, "Analyzing and improving the image quality of StyleGAN", 2020,
arXiv:1912.04958, and for small data Karras et al., "Training generative adversarial networks with limited data", 2020,
arXiv:2006.06676. From top to bottom: the settings, the skip generator (figure 7b of the paper), the residual
discriminator (7c), path length regularization, and the game. Its layers (equalized learning rate, filters, the mapping
network z -> w, modulated convolutions) are those of `gan.parts.style`. It is one long file because it reads like the
paper, whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import torch
from gan.adversarial import adversarial_turns, plus
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player, Turn
from gan.latents import slerp, straight
from gan.parts.style import (
    Convolution,
    Linear,
    MappingNetwork,
    ModulatedConvolution,
    activate,
    low_pass_filter,
    unit_moment,
    upsample,
)
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from gan_image.architectures.classes import classes_of, labels_of, training_labels
from gan_image.architectures.pixels import picture_shape, stages, to_network, to_pixels

W_AVERAGE_DECAY = 0.995
"""Decay of the average of w per update of the generator (Karras et al. 2019, section 2.3)."""
PATH_LENGTH_DECAY = 0.99
"""Decay of the mean path length per evaluation of the regularizer (appendix B)."""


class StyleGAN2Config(BaseModel):
    """Sizes and regularization. The defaults are those of the paper for 1024 pixels (configuration F)."""

    model_config = ConfigDict(extra="forbid")

    latent: int = Field(512, ge=1, description="size of z")
    style: int = Field(512, ge=1, description="size of w")
    mapping_layers: int = Field(8, ge=1, description="layers of the mapping network; 2 for small data")
    capacity: int = Field(
        32768, ge=1, description="channels times resolution of a layer, up to max_channels; 16384 up to 256 pixels"
    )
    max_channels: int = Field(512, ge=1, description="most channels of a layer")
    style_mixing: float = Field(0.9, ge=0, le=1, description="share of generated images with two styles; 0: off")
    path_length: float = Field(2.0, ge=0, description="weight of path length regularization; 0: off")
    path_length_every: int = Field(4, ge=1, description="updates of the generator from one path length to the next")
    group: int = Field(4, ge=1, description="images per group of the minibatch standard deviation")
    label_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of images whose label is hidden in training, for --unconditional"
    )
    modulation: Literal["auto", "grouped", "scaled"] = Field(
        "auto",
        description="how modulated convolutions are computed, with the same result: grouped gives each image its own "
        "weights, scaled multiplies the activations before and after; auto: the faster one for batch and device",
    )

    def channels(self, resolution: int) -> int:
        """Channels of the feature maps at a resolution."""
        return max(1, min(self.capacity // resolution, self.max_channels))


# ----------------------------------------------------------------------------------------------------------- synthesis


class StyledLayer(nn.Module):
    """Modulated convolution, noise, bias, activation (figure 2c)."""

    noise: Tensor

    def __init__(self, inputs: int, outputs: int, resolution: int, style: int, *, up: bool = False) -> None:
        super().__init__()
        self.convolution = ModulatedConvolution(inputs, outputs, 3, style, up=up)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("noise", torch.randn(resolution, resolution))
        """The noise of all images when none is drawn."""

    def forward(self, x: Tensor, w: Tensor, noise: Tensor, form: str) -> Tensor:
        """`noise` is ``(N, 1, R, R)`` or ``(R, R)``, N(0, 1) for each pixel."""
        x = self.convolution(x, w, form)
        x = x + (noise * self.noise_strength).to(x.dtype) + self.bias.to(x.dtype)[:, None, None]
        return activate(x)


class SynthesisBlock(nn.Module):
    """The layers of one resolution and its contribution to the image (figure 7b)."""

    def __init__(self, inputs: int, outputs: int, resolution: int, style: int, image_channels: int) -> None:
        super().__init__()
        if inputs:
            first = StyledLayer(inputs, outputs, resolution, style, up=True)
            layers = [first, StyledLayer(outputs, outputs, resolution, style)]
        else:
            layers = [StyledLayer(outputs, outputs, resolution, style)]
        self.layers = nn.ModuleList(layers)
        self.to_image = ModulatedConvolution(outputs, image_channels, 1, style, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(image_channels))

    def forward(self, x: Tensor, styles: Tensor, noise: Sequence[Tensor], form: str) -> tuple[Tensor, Tensor]:
        """Feature maps and the image's contribution; `styles` ``(N, layers + 1, style)``, the last for the image."""
        for index, layer in enumerate(self.layers):
            x = layer(x, styles[:, index], noise[index], form)
        image = self.to_image(x, styles[:, -1], form) + self.bias[:, None, None]
        return x, image.float()


class Generator(nn.Module):
    """Mapping and synthesis. There are ``2·log2(R) - 2`` styles per image: one for each layer, and one for the last
    image layer; the other image layers share the style of the next block's first layer."""

    filter: Tensor

    def __init__(self, config: StyleGAN2Config, image_channels: int, resolution: int, classes: int = 0) -> None:
        super().__init__()
        blocks = resolution.bit_length() - 2  # resolutions 4, 8, …
        self.styles = 2 * blocks
        self.form = config.modulation
        self.mapping = MappingNetwork(config.latent, classes, config.style, config.mapping_layers)
        self.constant = nn.Parameter(torch.randn(config.channels(4), 4, 4))
        widths = [0, *(config.channels(4 << block) for block in range(blocks))]
        self.blocks = nn.ModuleList(
            SynthesisBlock(a, b, 4 << block, config.style, image_channels)
            for block, (a, b) in enumerate(pairwise(widths))
        )
        self.register_buffer("filter", low_pass_filter(), persistent=False)

    def forward(self, styles: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """``(N, styles, style)`` -> images ``(N, channels, R, R)``; `noise` is one tensor a layer, None: fixed."""
        if noise is None:
            noise = self.fixed_noise()
        x = self.constant.expand(len(styles), -1, -1, -1)
        image: Tensor | None = None
        style = layer = 0
        for block in self.blocks:
            assert isinstance(block, SynthesisBlock)
            layers = len(block.layers)
            x, more = block(x, styles[:, style : style + layers + 1], noise[layer : layer + layers], self.form)
            image = more if image is None else upsample(image, self.filter) + more
            style += layers
            layer += layers
        assert image is not None
        return image

    def fixed_noise(self) -> list[Tensor]:
        """The stored noise of each layer, ``(R, R)``."""
        return [layer.noise for layer in self.modules() if isinstance(layer, StyledLayer)]

    def random_noise(self, rng: Draws) -> list[Tensor]:
        """New noise for each image and layer, ``(N, 1, R, R)``."""
        return [rng.randn(1, *noise.shape) for noise in self.fixed_noise()]


# ------------------------------------------------------------------------------------------------------- discriminator


class DiscriminatorBlock(nn.Module):
    """Two convolutions and a shortcut, of which the second and the shortcut halve the resolution (figure 7c)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = Convolution(inputs, inputs, 3)
        self.second = Convolution(inputs, outputs, 3, down=True)
        self.shortcut = Convolution(inputs, outputs, 1, bias=False, down=True)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, R, R) -> (N, outputs, R/2, R/2)``."""
        main = activate(self.second(activate(self.first(x))))
        x = (main + self.shortcut(x)) * math.sqrt(0.5)
        return x


def minibatch_deviation(x: Tensor, group: int) -> Tensor:
    """Append a channel with the standard deviation over groups of images, averaged over channels and pixels (Karras et
    al. 2018, section 3). The group is the largest divisor of N up to `group`."""
    count = len(x)
    size = next(size for size in range(min(group, count), 0, -1) if count % size == 0)
    grouped = x.reshape(size, count // size, *x.shape[1:]).float()  # image i is in group i mod (N / size)
    deviation = (grouped.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
    return torch.cat([x, deviation.to(x.dtype).repeat(size)[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1)


class Discriminator(nn.Module):
    """Residual discriminator; labels are compared with its features by projection (Miyato and Koyama 2018)."""

    def __init__(self, config: StyleGAN2Config, image_channels: int, resolution: int, classes: int = 0) -> None:
        super().__init__()
        self.group = config.group
        widths = [config.channels(resolution >> block) for block in range(resolution.bit_length() - 2)]
        last = widths[-1]
        self.from_image = Convolution(image_channels, widths[0], 1)
        self.blocks = nn.Sequential(*(DiscriminatorBlock(a, b) for a, b in pairwise(widths)))
        self.convolution = Convolution(last + (self.group > 1), last, 3)
        self.hidden = Linear(last * 16, last)
        self.score = Linear(last, last if classes else 1)
        self.label_mapping = MappingNetwork(0, classes, last, 8, embedding=last) if classes else None

    def features(self, images: Tensor) -> list[Tensor]:
        """The activations at each resolution, and those before the score, for images ``(N, channels, R, R)``."""
        x, seen = activate(self.from_image(images)), []
        for block in self.blocks:
            x = block(x)
            seen.append(x)
        x = x.float() if self.group < 2 else nn.functional.pad(x.float(), (0, 0, 0, 0, 0, 1))  # each image by itself
        return [*seen, activate(self.hidden(activate(self.convolution(x)).flatten(1)))]

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """``(N, channels, R, R)`` and one-hot labels ``(N, classes)`` -> scores ``(N,)``."""
        x = self.blocks(activate(self.from_image(images)))
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            if self.group > 1:
                x = minibatch_deviation(x, self.group)
            x = activate(self.convolution(x))
            x = self.score(activate(self.hidden(x.flatten(1))))
            if self.label_mapping is not None:
                target = unit_moment(self.label_mapping(None, labels))
                x = (x * target).sum(1, keepdim=True) / math.sqrt(x.shape[1])
            scores: Tensor = x.squeeze(1)
        return scores


# ---------------------------------------------------------------------------------------------- path length and mixing


def path_lengths(images: Tensor, styles: Tensor, noise: Tensor) -> Tensor:
    """``(N,)``: ‖Jᵀy‖ of images with respect to their styles ``(N, L, style)``, as root mean square over the L layers.

    `noise` y is N(0, 1) in the shape of the images, which is divided by √(R·R) (section 3.2, equation 4).
    """
    y = noise / math.sqrt(images.shape[2] * images.shape[3])
    (gradient,) = torch.autograd.grad((images * y).sum(), styles, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt()


def mixed_styles(first: Tensor, second: Tensor, layers: int, rng: Draws, share: float) -> Tensor:
    """``(N, style)`` twice -> ``(N, layers, style)``: in a share of the images, the second style begins at a random
    layer (Karras et al. 2019, section 3.1)."""
    from_layer = 1 + (rng.rand(1) * (layers - 1)).long()  # 1 … layers - 1
    from_layer = torch.where(rng.rand(1) < share, from_layer, layers)
    mixed = torch.arange(layers, device=first.device) >= from_layer  # (N, layers)
    return torch.where(mixed[:, :, None], second[:, None], first[:, None])


# ------------------------------------------------------------------------------------------------------------ the game


class StyleGAN2Options(BaseModel):
    """What a user may choose in one call."""

    model_config = ConfigDict(extra="forbid")

    truncation: float = Field(
        1.0, ge=0, le=2, description="ψ: styles are moved towards their average, 0: all the average, 1: not at all"
    )
    truncation_cutoff: int = Field(0, ge=0, description="number of layers, coarsest first, that are truncated; 0: all")
    noise: Literal["fixed", "random", "none"] = Field(
        "fixed", description="fixed: the same fine detail in all images; random: drawn for each image; none: without"
    )
    unconditional: bool = Field(False, description="ignore the class; the model needs label_dropout in training")


class StyleGAN2(nn.Module):
    """The game of generator and discriminator; a `gan.contracts.SmoothLatentSpace` and a `gan.contracts.StyleSpace`.

    A latent is z ``(N, latent)``. `decode` also takes styles w ``(N, layers, style)``, which `styles_of` returns.
    """

    Config = StyleGAN2Config
    Options = StyleGAN2Options
    generation_batch = 32
    mixes_classes = True
    w_average: Tensor
    path_length_mean: Tensor

    def __init__(self, config: StyleGAN2Config, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        channels, side = picture_shape(fields, "stylegan2")
        stages(side, "stylegan2")
        self.config = config
        self.classes = classes_of(fields)
        self.generator = Generator(config, channels, side, self.classes)
        self.discriminator = Discriminator(config, channels, side, self.classes)
        self.register_buffer("w_average", torch.zeros(config.style))
        """Average of w over latents and classes, for truncation."""
        self.register_buffer("path_length_mean", torch.zeros(()))
        """Running mean of path lengths, the target of their regularization."""

    def players(self) -> dict[str, Player]:
        """The generator and the discriminator; both use Adam(0.002; 0, 0.99)."""
        adam = Optimizer(lr=2e-3, betas=(0.0, 0.99))
        return {
            "generator": Player(self.generator, adam, average=True),
            "discriminator": Player(self.discriminator, adam),
        }

    # ------------------------------------------------------------------------------------------------------- training

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase. Each player sees images of latents of its own. R1 comes lazily from the recipe's penalties."""
        turns = adversarial_turns(
            loss,
            penalties,
            real=lambda batch: to_network(batch["image"]),
            fake=self._fakes,
            critic=self.discriminator,
            conditions=self._labels if self.classes else None,
            fresh_fakes=True,
        )
        turns[-1] = plus(turns[-1], self._observe_styles, learn=self._learn_average)
        if self.config.path_length:
            turns.append(
                Turn("generator", self._path_length, every=self.config.path_length_every, learn=self._learn_path_length)
            )
        return [Phase("adversarial", turns)]

    def _labels(self, batch: Batch) -> Tensor:
        labels = training_labels(batch, self.classes, self.config.label_dropout)
        assert labels is not None
        return labels

    def _styles(self, batch: Batch) -> Tensor:
        """Mixed styles ``(N, layers, style)`` of new latents."""
        config, mapping, rng = self.config, self.generator.mapping, batch.rng
        labels = self._labels(batch) if self.classes else None
        first: Tensor = mapping(rng.randn(config.latent), labels)
        batch.shared["w"] = first.detach()
        if not config.style_mixing:
            return first[:, None].expand(-1, self.generator.styles, -1)
        second = mapping(rng.randn(config.latent), labels)
        return mixed_styles(first, second, self.generator.styles, rng, config.style_mixing)

    def _fakes(self, batch: Batch) -> Tensor:
        images: Tensor = self.generator(self._styles(batch), self.generator.random_noise(batch.rng))
        return images

    def _observe_styles(self, batch: Batch) -> dict[str, Tensor]:
        w = batch.shared.pop("w")
        batch.observe("w", w.sum(0))
        batch.observe("count", w.new_tensor(float(len(w))))
        return {}

    def _learn_average(self, observed: Mapping[str, Tensor], rng: Draws) -> None:
        self.w_average.lerp_(observed["w"] / observed["count"], 1 - W_AVERAGE_DECAY)

    def _path_length(self, batch: Batch) -> dict[str, Tensor]:
        """(length - mean)² for half of the batch, those images whose number in the whole batch is even."""
        rng = batch.rng
        half = torch.arange(rng.start % 2 if rng.count > 1 else 0, rng.count, 2, device=rng.device)
        with torch.autocast(rng.device.type, enabled=False):
            styles = self._styles(batch)[half]
            images = self.generator(styles, [noise[half] for noise in self.generator.random_noise(rng)])
            lengths = path_lengths(images, styles, rng.randn(*images.shape[1:])[half])
        batch.observe("lengths", lengths.sum())
        batch.observe("paths", lengths.new_tensor(float(len(lengths))))
        return {
            "path_length": self.config.path_length * (lengths - self.path_length_mean).square().mean(),
            "_path_length": lengths.detach().mean(),
        }

    def _learn_path_length(self, observed: Mapping[str, Tensor], rng: Draws) -> None:
        self.path_length_mean.lerp_(observed["lengths"] / observed["paths"], 1 - PATH_LENGTH_DECAY)

    # ----------------------------------------------------------------------------------------------------- generation

    def given_fields(self, options: StyleGAN2Options | None = None) -> tuple[str, ...]:
        """The label, where the data have classes."""
        return ("label",) if self.classes else ()

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent)`` from N(0, 1)."""
        return rng.randn(self.config.latent)

    def styles_of(self, latents: Tensor, request: Request) -> Tensor:
        """Styles ``(N, layers, style)`` of latents ``(N, latent)`` and the request's labels, before truncation."""
        labels = labels_of(request.given, self.classes)
        if labels is not None and _options(request).unconditional:
            if not self.config.label_dropout:
                raise UsageError("--unconditional: the model was trained without model.label_dropout")
            labels = torch.zeros_like(labels)
        w: Tensor = self.generator.mapping(latents, labels)
        return w[:, None].expand(-1, self.generator.styles, -1)

    def between(self, first: Tensor, second: Tensor, at: Tensor) -> Tensor:
        """Latents on a great circle, styles on a line."""
        return slerp(first, second, at) if first.ndim == 2 else straight(first, second, at)

    def latent_parts(self) -> dict[str, Tensor]:
        """The styles of 4 and 8 pixels, of 16 and 32, and of all more (Karras et al. 2019, section 3.1), as far as
        there are such layers."""
        layer = torch.arange(self.generator.styles)[:, None]
        masks = {"coarse": layer < 4, "middle": (layer >= 4) & (layer < 8), "fine": layer >= 8}
        return {name: mask for name, mask in masks.items() if mask.any()}

    def linear_maps(self) -> list[Tensor]:
        """The weights ``(channels, style)`` from each layer's style to its modulation."""
        maps: list[list[Tensor]] = [[] for _ in range(self.generator.styles)]
        style = 0
        for block in self.generator.blocks:
            assert isinstance(block, SynthesisBlock)
            convolutions = [layer.convolution for layer in block.layers if isinstance(layer, StyledLayer)]
            for index, layer in enumerate([*convolutions, block.to_image]):
                maps[style + index].append(layer.affine.weight.detach() * layer.affine.scale)
            style += len(block.layers)
        return [torch.cat(found) for found in maps]

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """The discriminator's activations."""
        return self.discriminator.features(to_network(samples["image"]))

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Images of latents ``(N, latent)`` or of styles ``(N, layers, style)``."""
        return {"image": to_pixels(self._images(latents, request, request.rng))}

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """The same as floats 0 … 255, without rounding."""
        return {"image": ((self._images(latents, request) + 1) * 127.5).clamp(0, 255)}

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` images."""
        return {"image": to_pixels(self._images(self.latents(count, rng), request, rng))}

    def _images(self, latents: Tensor, request: Request, rng: Draws | None = None) -> Tensor:
        """Images about -1 … 1; without `rng`, random noise is the fixed one."""
        options = _options(request)
        styles = self.styles_of(latents, request) if latents.ndim == 2 else latents
        cutoff = options.truncation_cutoff or self.generator.styles
        if options.truncation != 1:
            truncated = torch.lerp(self.w_average, styles[:, :cutoff], options.truncation)
            styles = torch.cat([truncated, styles[:, cutoff:]], 1)
        noise = None
        if options.noise == "none":
            noise = [torch.zeros_like(plane) for plane in self.generator.fixed_noise()]
        elif options.noise == "random" and rng is not None:
            noise = self.generator.random_noise(rng)
        images: Tensor = self.generator(styles, noise)
        return images


def _options(request: Request) -> StyleGAN2Options:
    return request.options or StyleGAN2Options()
