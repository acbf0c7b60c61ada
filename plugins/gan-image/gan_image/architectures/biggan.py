"""BigGAN: residual networks with classes, spectral normalization, attention and hierarchical latents.

Brock, Donahue, Simonyan: Large scale GAN training for high fidelity natural image synthesis, 2019, arXiv:1809.11096.
Settings of the same networks give its predecessors: SNGAN (Miyato et al. 2018, arXiv:1802.05957: `spectral_generator`
and `shared` off, no attention) and SAGAN (Zhang et al. 2019, arXiv:1805.08318: attention at 32 pixels, no shared
embedding); see the recipes. Data without classes get plain batch normalization and no projection.

Before sampling, the running statistics of batch normalization are replaced by those of the averaged weights
(`BigGAN.settle`), and latents may be truncated (`BigGANOptions.truncation`), which trades variety for quality.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import torch
from gan.adversarial import adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player, Turn
from gan.latents import embedded, truncated_normal
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, relu
from torch.nn.utils.parametrizations import spectral_norm

from gan_image.architectures.classes import class_indices, classes_of
from gan_image.architectures.pixels import picture_shape, stages, to_network, to_pixels

GENERATOR = {32: (4, 4, 4, 4), 64: (16, 16, 8, 4, 2), 128: (16, 16, 8, 4, 2, 1), 256: (16, 16, 8, 8, 4, 2, 1)}
"""Widths from 4x4 pixels to the image, in multiples of the setting (table 4 to 6 of the paper; 32: for CIFAR-10)."""
DISCRIMINATOR = {32: (4, 4, 4, 4), 64: (1, 2, 4, 8, 16), 128: (1, 2, 4, 8, 16, 16), 256: (1, 2, 4, 8, 8, 16, 16)}
"""Widths after each block of the discriminator. All blocks but the last halve the pixels; at 32 the first two do."""


class BigGANConfig(BaseModel):
    """Sizes of the networks, and which of the paper's techniques they use."""

    model_config = ConfigDict(extra="forbid")

    width: int = Field(64, ge=1, description="channels of the generator: the multiplier ch of the paper")
    discriminator_width: int | None = Field(None, ge=1, description="channels of the discriminator; none: `width`")
    generator_multiples: tuple[int, ...] | None = Field(
        None, description="widths from 4x4 pixels to the image, in multiples of `width`; none: the paper's"
    )
    discriminator_multiples: tuple[int, ...] | None = Field(
        None,
        description="widths after each block, in multiples of `discriminator_width`; all blocks but the last halve "
        "the pixels; none: the paper's",
    )
    latent: int = Field(128, ge=1, description="size of a latent vector")
    hierarchical: bool = Field(
        False,
        description="whether the latent is split into equal chunks, one for the first layer and one for each block",
    )
    shared: int = Field(
        0, ge=0, description="size of an embedding of the class that all blocks share; 0: gains and biases per class"
    )
    attention: tuple[int, ...] = Field((), description="resolutions after whose block there is self-attention")
    spectral_generator: bool = Field(True, description="whether the generator's weights are spectrally normalized")
    initialisation: Literal["orthogonal", "normal"] = Field(
        "orthogonal", description="of the weights; normal: N(0, 0.02), as in the published settings for CIFAR-10"
    )
    orthogonal: float = Field(
        0.0, ge=0, description="strength of orthogonal regularization of the generator; 0.0001 in the paper, 0: off"
    )
    critic_repeats: int = Field(1, ge=1, description="updates of the discriminator for one of the generator")


class BigGANOptions(BaseModel):
    """Options of generation."""

    model_config = ConfigDict(extra="forbid")

    truncation: float | None = Field(
        None,
        gt=0,
        description="largest absolute value of a latent's components, 0.02 … 2; smaller: better and more alike",
    )


# ---------------------------------------------------------------------- the parts (appendix B)


@dataclass(frozen=True)
class Layers:
    """Initializes layers: orthogonal or normal weights, zero biases; then normalizes their weights if `spectral`."""

    initialisation: Literal["orthogonal", "normal"]
    spectral: bool

    def __call__(self, layer: nn.Module) -> nn.Module:
        """The initialized layer. With `spectral` its weight is divided by the largest singular value, estimated by one
        power iteration in each training forward; the singular vectors are buffers (Miyato et al. 2018, algorithm 1)."""
        return spectral_norm(self.plain(layer), eps=1e-6) if self.spectral else self.plain(layer)

    def plain(self, layer: nn.Module) -> nn.Module:
        """The initialized layer, never normalized (embeddings of the generator)."""
        assert isinstance(layer.weight, Tensor)
        if self.initialisation == "orthogonal":
            nn.init.orthogonal_(layer.weight)
        else:
            nn.init.normal_(layer.weight, 0.0, 0.02)
        if isinstance(getattr(layer, "bias", None), Tensor):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        return layer


class ConditionalNorm(nn.Module):
    """Batch normalization whose gain and bias are given by a vector or by a class; without either, learned."""

    def __init__(self, channels: int, condition: int, classes: int, layers: Layers) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=not (condition or classes))
        self.gain: nn.Module | None = None
        self.bias: nn.Module | None = None
        if condition:
            self.gain = layers(nn.Linear(condition, channels, bias=False))
            self.bias = layers(nn.Linear(condition, channels, bias=False))
        elif classes:
            self.gain = layers.plain(nn.Embedding(classes, channels))
            self.bias = layers.plain(nn.Embedding(classes, channels))

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """``(N, channels, H, W)`` and ``(N, size)``, ``(N,)`` classes or ``(N, classes)`` shares -> ``(N, channels, H,
        W)``."""
        y: Tensor = self.norm(x)
        if self.gain is None or self.bias is None:
            return y
        gain, bias = (_told(layer, condition)[:, :, None, None] for layer in (self.gain, self.bias))
        out: Tensor = y * (1 + gain) + bias
        return out


def _told(layer: nn.Module, condition: Tensor | None) -> Tensor:
    """What a linear layer gives for a vector, or an embedding for classes or shares of them."""
    assert condition is not None
    told: Tensor = embedded(layer, condition) if isinstance(layer, nn.Embedding) else layer(condition)
    return told


class Attention(nn.Module):
    """Self-attention between all places of a feature map; its share γ starts at 0 (Zhang et al. 2019, equation 1)."""

    def __init__(self, channels: int, layers: Layers) -> None:
        super().__init__()
        self.query = layers(nn.Conv2d(channels, channels // 8, 1, bias=False))
        self.key = layers(nn.Conv2d(channels, channels // 8, 1, bias=False))
        self.value = layers(nn.Conv2d(channels, channels // 2, 1, bias=False))
        self.out = layers(nn.Conv2d(channels // 2, channels, 1, bias=False))
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, channels, H, W)``, unchanged in shape."""
        query = self.query(x).flatten(2)
        key, value = (max_pool2d(layer(x), 2).flatten(2) for layer in (self.key, self.value))
        weights = (query.transpose(1, 2) @ key).softmax(-1)
        found = (value @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        out: Tensor = x + self.gamma * self.out(found)
        return out


class GeneratorBlock(nn.Module):
    """Norm ReLU up conv3, norm ReLU conv3, with the upsampled input (conv1) added: twice the pixels."""

    def __init__(self, before: int, after: int, condition: int, classes: int, layers: Layers) -> None:
        super().__init__()
        self.first_norm = ConditionalNorm(before, condition, classes, layers)
        self.first = layers(nn.Conv2d(before, after, 3, padding=1))
        self.second_norm = ConditionalNorm(after, condition, classes, layers)
        self.second = layers(nn.Conv2d(after, after, 3, padding=1))
        self.shortcut = layers(nn.Conv2d(before, after, 1))

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """``(N, before, H, W)`` -> ``(N, after, 2H, 2W)``."""
        y = self.first(interpolate(relu(self.first_norm(x, condition)), scale_factor=2.0))
        y = self.second(relu(self.second_norm(y, condition)))
        out: Tensor = y + interpolate(self.shortcut(x), scale_factor=2.0)  # a 1x1 convolution commutes with it
        return out


class DiscriminatorBlock(nn.Module):
    """ReLU conv3 ReLU conv3, then half the pixels (`down`), with the input added; the `first` one lacks its ReLU."""

    def __init__(self, before: int, after: int, layers: Layers, *, down: bool, first: bool) -> None:
        super().__init__()
        self.is_first, self.down = first, down
        self.first = layers(nn.Conv2d(before, after, 3, padding=1))
        self.second = layers(nn.Conv2d(after, after, 3, padding=1))
        self.shortcut = layers(nn.Conv2d(before, after, 1)) if down or before != after else None

    def forward(self, x: Tensor) -> Tensor:
        """``(N, before, H, W)`` -> ``(N, after, H, W)``, or half of both sides."""
        y: Tensor = self.second(relu(self.first(x if self.is_first else relu(x))))
        if self.down:
            x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)  # pooling commutes with the 1x1 convolution
        return y + (x if self.shortcut is None else self.shortcut(x))


# ---------------------------------------------------------------------- the networks (tables 4 to 6)


class Generator(nn.Module):
    """A linear layer to 4x4 pixels, blocks, and a convolution to the image."""

    def __init__(self, config: BigGANConfig, side: int, channels: int, classes: int) -> None:
        super().__init__()
        layers = Layers(config.initialisation, config.spectral_generator)
        widths = [config.width * factor for factor in config.generator_multiples or GENERATOR[side]]
        blocks = len(widths) - 1
        self.chunks = blocks + 1 if config.hierarchical else 1
        if config.latent % self.chunks:
            raise UsageError(
                f"model.latent is {config.latent}, no multiple of the {self.chunks} chunks of a hierarchical latent"
            )
        chunk = config.latent // self.chunks
        self.shared = layers.plain(nn.Embedding(classes, config.shared)) if classes and config.shared else None
        condition = (config.shared if self.shared else 0) + (chunk if config.hierarchical else 0)
        if config.hierarchical and classes and self.shared is None:
            raise UsageError("model.hierarchical with classes needs a shared embedding; set model.shared (128)")
        self.linear = layers(nn.Linear(chunk, 16 * widths[0]))
        self.first_width = widths[0]
        self.blocks = nn.ModuleList(
            GeneratorBlock(before, after, condition, classes, layers) for before, after in pairwise(widths)
        )
        self.attention = nn.ModuleDict(
            {str(index): Attention(width, layers) for index, width in enumerate(widths[1:])
             if 8 << index in config.attention}
        )  # fmt: skip
        self.norm = nn.BatchNorm2d(widths[-1])
        self.out = layers(nn.Conv2d(widths[-1], channels, 3, padding=1))

    def forward(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """``(N, latent)`` and ``(N,)`` classes -> ``(N, channels, R, R)`` in -1 … 1."""
        first, *chunks = latents.chunk(self.chunks, 1)
        told = labels if self.shared is None else _told(self.shared, labels)
        x = self.linear(first).unflatten(1, (self.first_width, 4, 4))
        for index, block in enumerate(self.blocks):
            condition = told
            if chunks:
                condition = chunks[index] if told is None else torch.cat([told, chunks[index]], 1)
            x = block(x, condition)
            if str(index) in self.attention:
                x = self.attention[str(index)](x)
        out: Tensor = self.out(relu(self.norm(x))).tanh()
        return out


class Discriminator(nn.Module):
    """Blocks, the sum over all places, and a linear layer; with classes, plus the projection on the class's embedding
    (Miyato and Koyama 2018, arXiv:1802.05637)."""

    def __init__(self, config: BigGANConfig, side: int, channels: int, classes: int) -> None:
        super().__init__()
        layers = Layers(config.initialisation, spectral=True)
        width = config.discriminator_width or config.width
        multiples = config.discriminator_multiples or DISCRIMINATOR[side]
        widths = [channels, *(width * factor for factor in multiples)]
        downs = 2 if multiples == DISCRIMINATOR[32] else len(multiples) - 1
        stack: list[nn.Module] = []
        for index, (before, after) in enumerate(pairwise(widths)):
            stack.append(DiscriminatorBlock(before, after, layers, down=index < downs, first=index == 0))
            if index < downs and side >> (index + 1) in config.attention:
                stack.append(Attention(after, layers))
        self.blocks = nn.Sequential(*stack, nn.ReLU())
        self.linear = layers(nn.Linear(widths[-1], 1))
        self.embedding = layers(nn.Embedding(classes, widths[-1])) if classes else None

    def features(self, images: Tensor) -> list[Tensor]:
        """The activations after each block, and their sum over all places, for images ``(N, channels, R, R)``."""
        seen = []
        for block in self.blocks:
            images = block(images)
            seen.append(images)
        return [*seen[:-1], seen[-1].sum((2, 3))]

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """``(N, channels, R, R)`` and ``(N,)`` classes -> ``(N,)`` raw scores."""
        features = self.features(images)[-1]
        scores: Tensor = self.linear(features).squeeze(1)
        if self.embedding is not None:
            scores = scores + (self.embedding(labels) * features).sum(1)
        return scores


def orthogonal_term(network: nn.Module, strength: float) -> Tensor:
    """``s/2 · Σ ‖WWᵀ ⊙ (1 - I)‖²`` over the weights of convolutions and linear layers (equation 3 of the paper).

    Its gradient is ``2s · (WWᵀ ⊙ (1 - I)) W``, that of the published code. Embeddings of classes are left out.
    """
    total = torch.zeros(())
    for name, parameter in network.named_parameters():
        if parameter.ndim >= 2 and not name.startswith("shared"):
            weight = parameter.flatten(1)
            products = weight @ weight.T
            total = total + (products - torch.diag(products.diag())).square().sum()
    return strength / 2 * total


# ---------------------------------------------------------------------- the game


class BigGAN(nn.Module):
    """BigGAN for 32, 64, 128 or 256 pixels, with classes if the data have them."""

    Config = BigGANConfig
    Options = BigGANOptions
    generation_batch = 32
    mixes_classes = True

    def __init__(self, config: BigGANConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.classes = classes_of(fields)
        channels, side = picture_shape(fields, "biggan")
        n = stages(side, "biggan")
        for name, multiples, count in (
            ("generator", config.generator_multiples, n + 1),
            ("discriminator", config.discriminator_multiples, None),
        ):
            if multiples is None and side not in GENERATOR:
                raise UsageError(
                    f"the paper has no 'biggan' of {side} pixels; set modality.resolution to 32, 64, 128 or 256, or "
                    f"give model.{name}_multiples"
                )
            if multiples is not None and count is not None and len(multiples) != count:
                raise UsageError(f"model.{name}_multiples needs {count} widths for {side} pixels, not {len(multiples)}")
        self.config = config
        self.generator = Generator(config, side, channels, self.classes)
        self.discriminator = Discriminator(config, side, channels, self.classes)

    def given_fields(self, options: Any = None) -> tuple[str, ...]:
        """``label`` where the data have classes."""
        return ("label",) if self.classes else ()

    def players(self) -> dict[str, Player]:
        """The generator, Adam(1e-4; 0, 0.999), and the discriminator, Adam(4e-4; 0, 0.999), as at 128 pixels."""
        adam = Optimizer(lr=1e-4, betas=(0.0, 0.999), eps=1e-6)
        return {
            "generator": Player(self.generator, adam, average=True),
            "discriminator": Player(self.discriminator, Optimizer(lr=4e-4, betas=(0.0, 0.999), eps=1e-6)),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase: the discriminator's updates, then the generator's. Fakes have the classes of the real images."""
        turns = adversarial_turns(
            loss,
            penalties,
            real=lambda batch: to_network(batch["image"]),
            fake=self._fakes,
            critic=self.discriminator,
            conditions=self._labels,
            critic_repeats=self.config.critic_repeats,
        )
        if self.config.orthogonal:
            turns = [self._orthogonal(turn) if turn.player == "generator" else turn for turn in turns]
        return [Phase("adversarial", turns)]

    def _orthogonal(self, turn: Turn) -> Turn:
        def objective(batch: Batch) -> dict[str, Tensor]:
            return {**turn.objective(batch), "orthogonal": orthogonal_term(self.generator, self.config.orthogonal)}

        return replace(turn, objective=objective)

    def _fakes(self, batch: Batch) -> Tensor:
        fakes: Tensor = self.generator(self.latents(batch.count, batch.rng), self._labels(batch))
        return fakes

    def _labels(self, batch: Batch) -> Any:
        return class_indices(batch.fields, self.classes)

    def settle(self, rng: Draws) -> None:
        """Run the generator for standing statistics (appendix C.1 of the paper), with all classes alike."""
        labels = rng.randint(self.classes) if self.classes else None
        self.generator(self.latents(rng.count, rng), labels)

    def latents(self, count: int, rng: Draws) -> Tensor:
        """``(count, latent)`` from N(0, 1)."""
        return rng.randn(self.config.latent)

    def latent_parts(self) -> dict[str, Tensor]:
        """The chunks of a hierarchical latent: of the first layer, and of the blocks from coarse to fine."""
        chunks, size = self.generator.chunks, self.config.latent
        part = torch.arange(size) // (size // chunks)
        names = ["first", *(f"block{number}" for number in range(1, chunks))]
        return {name: part == number for number, name in enumerate(names)} if chunks > 1 else {}

    def linear_maps(self) -> list[Tensor]:
        """The layers that the latent enters, ``(features, latent)``: the first one and, of a hierarchical latent, the
        gains and biases of the blocks."""
        generator, size = self.generator, self.config.latent
        chunk = size // generator.chunks
        rows = [_placed(generator.linear, slice(0, chunk), size)]
        for number, block in enumerate(generator.blocks if generator.chunks > 1 else (), 1):
            assert isinstance(block, GeneratorBlock)
            here = slice(number * chunk, (number + 1) * chunk)
            for norm in (block.first_norm, block.second_norm):
                rows += [_placed(layer, here, size) for layer in (norm.gain, norm.bias) if layer is not None]
        return [torch.cat(rows)]

    def critic_features(self, samples: Mapping[str, Tensor]) -> list[Tensor]:
        """The discriminator's activations."""
        return self.discriminator.features(to_network(samples["image"]))

    def _images(self, latents: Tensor, request: Request) -> Tensor:
        if request.options is not None and request.options.truncation is not None:
            latents = truncated_normal(latents, request.options.truncation)
        images: Tensor = self.generator(latents, class_indices(request.given, self.classes))
        return images

    def decode(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Images of the given latent vectors, of the given classes."""
        return {"image": to_pixels(self._images(latents, request))}

    def decode_smooth(self, latents: Tensor, request: Request) -> dict[str, Tensor]:
        """Images of the given latent vectors as floats 0 … 255, without rounding."""
        return {"image": (self._images(latents, request).float() + 1) * 127.5}

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` images."""
        return self.decode(self.latents(count, rng), request)


def _placed(layer: nn.Module, here: slice, size: int) -> Tensor:
    """``(outputs, size)``: the weights of a layer whose last inputs are the components `here` of the latent."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    whole = weight.new_zeros(len(weight), size)
    whole[:, here] = weight.detach()[:, -(here.stop - here.start) :]
    return whole
