"""StyleGAN2: a style-based generator for square images of 4·2^n pixels, with or without classes.

Karras, Laine, Aittala, Hellsten, Lehtinen, Aila, "Analyzing and improving the image quality of StyleGAN", 2020,
arXiv:1912.04958, and for small data Karras et al., "Training generative adversarial networks with limited data", 2020,
arXiv:2006.06676. From top to bottom: the settings, path length regularization, style mixing, and the game. The
networks (the mapping network z -> w, the skip generator of figure 7b, the residual discriminator of 7c) are those of
`gan.parts.style`, which other architectures use too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from gan.adversarial import adversarial_turns, plus
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player, Turn
from gan.latents import slerp, straight
from gan.parts.style import W_AVERAGE_DECAY, StyleDiscriminator, StyledLayer, StyleGenerator, SynthesisBlock
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from gan_image.architectures.classes import classes_of, labels_of, training_labels
from gan_image.architectures.pixels import picture_shape, stages, to_network, to_pixels

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
        self.generator = StyleGenerator(config, channels, side, self.classes)
        self.discriminator = StyleDiscriminator(config, channels, side, self.classes)
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
