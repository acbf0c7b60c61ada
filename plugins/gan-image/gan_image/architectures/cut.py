"""CUT: unpaired image-to-image translation in one direction, by contrastive learning of patches.

Park, Efros, Zhang, Zhu, 2020, arXiv:2007.15651. There is one generator and one discriminator. The contrastive loss
makes a patch of the translation more similar to the source patch at the same place than to the other patches of the
source, in place of CycleGAN's second generator. FastCUT has no identity term.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from gan.adversarial import loss_at, penalized, probe_scores
from gan.contracts import FieldSpec, Loss, Penalty, Request, Tiles
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player, Turn
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from gan_image.architectures.pixels import initialise, to_network, to_pixels
from gan_image.architectures.translation import (
    Normalisation,
    ResnetGenerator,
    Upsampling,
    jitter,
    patch_discriminator,
    translation_shape,
    translation_tiles,
)


class CUTConfig(BaseModel):
    """Sizes of the networks and weights of the loss terms; the defaults are the paper's for 256 pixels.

    FastCUT is ``contrast_weight: 10, identity_weight: 0, equivariance: true``.
    """

    model_config = ConfigDict(extra="forbid")

    generator_width: int = Field(64, ge=1, description="channels of the generator next to the image")
    blocks: int = Field(9, ge=1, description="residual blocks of the generator: 9 for 256 pixels, 6 for 128")
    norm: Normalisation = Field(
        "instance",
        description="normalization of the generator: instance (the paper's), which discards an image's mean colours, "
        "or batch, which keeps them and needs larger batches",
    )
    upsample: Upsampling = Field(
        "transposed",
        description="how the generator doubles the sides: transposed convolutions (the paper's), or nearest: repeated "
        "pixels and a convolution, which leaves no chessboard",
    )
    discriminator_width: int = Field(64, ge=1, description="channels after the discriminator's first layer")
    layers: int = Field(3, ge=0, le=5, description="strided layers of the discriminator; 3 give patches of 70 pixels")
    adversarial_weight: float = Field(
        2.0,
        ge=0,
        description="weight of the adversarial loss of the generator; 2 with least-squares is the paper's loss",
    )
    contrast_weight: float = Field(
        1.0, ge=0, description="weight of the contrastive loss of a source and its translation"
    )
    identity_weight: float = Field(
        1.0, ge=0, description="weight of the contrastive loss of a target and its translation; 0: FastCUT"
    )
    contrast_layers: tuple[int, ...] = Field(
        (0, 1, 2, 3, 7),
        min_length=1,
        description="compared layers: 0 the image, 1 and 2 the strided convolutions, 2 + k the k-th block",
    )
    patches: int = Field(256, ge=2, description="patches compared in each layer, at most")
    head_width: int = Field(256, ge=1, description="size of the embedding of a patch")
    temperature: float = Field(
        0.07, gt=0, description="temperature of the contrastive loss; smaller values emphasize similar patches"
    )
    equivariance: bool = Field(
        False, description="whether half of the sources are mirrored for the generator and its features mirrored back"
    )
    jitter: float = Field(
        30 / 256, ge=0, le=1, description="fraction by which images are enlarged before a random crop"
    )
    flip: bool = Field(True, description="whether images are mirrored at random")


def patch_contrast(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Contrastive loss (equation 3): two ``(N, S, D)`` tensors of unit vectors -> ``(N,)``, the mean over S patches.

    The cross-entropy of finding key s with query s among all keys of the same image, with inner products divided by the
    temperature as logits. It is log S for uninformative queries.
    """
    similar = queries @ keys.transpose(1, 2) / temperature  # (N, S, S): row s holds query s against every key
    places = torch.arange(similar.shape[1], device=similar.device).expand(similar.shape[:2])
    return cross_entropy(similar.transpose(1, 2), places, reduction="none").mean(1)


class PatchHead(nn.Sequential):
    """A two-layer perceptron that embeds the features at a place as a unit vector (section 3, H_l)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, patches: Tensor) -> Tensor:
        """``(N, S, channels)`` -> ``(N, S, width)`` unit vectors."""
        vectors: Tensor = super().forward(patches)  # type: ignore[no-untyped-call]
        return normalize(vectors, dim=2)


class CUT(nn.Module):
    """The CUT networks and training phases; a `gan.contracts.ConditionalOnInput`."""

    Config = CUTConfig
    generation_batch = 4

    def __init__(self, config: CUTConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        channels, _ = translation_shape(fields, "cut")
        self.config = config
        sizes = (channels, config.generator_width, config.blocks, config.norm)
        self.generator = ResnetGenerator(*sizes, upsample=config.upsample)
        last = len(self.generator.widths) - 1
        if not all(0 <= layer <= last for layer in config.contrast_layers):
            raise UsageError(f"model.contrast_layers must be in 0 … {last} with {config.blocks} blocks")
        self.heads = nn.ModuleList(
            PatchHead(self.generator.widths[layer], config.head_width) for layer in config.contrast_layers
        )
        self.discriminator = patch_discriminator(channels, config.discriminator_width, config.layers, "instance")
        initialise(self)

    def players(self) -> dict[str, Player]:
        """The generator with the heads, and the discriminator; Adam(2e-4; 0.5, 0.999) for each, with a learning rate
        that decays linearly to 0 over the second half."""
        adam = Optimizer(lr=2e-4, betas=(0.5, 0.999), schedule="linear", decay_start=0.5)
        return {
            "generator": Player([self.generator, self.heads], adam, average=True),
            "discriminator": Player(self.discriminator, adam),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase: the discriminator's update, then the generator's on the same translations."""
        turns = [
            Turn("discriminator", partial(self._update_discriminator, loss)),
            *(
                Turn("discriminator", partial(self._regularise, name, penalty), every=penalty.every)
                for name, penalty in penalties.items()
            ),
            Turn("generator", partial(self._update_generator, loss)),
        ]
        return [Phase("adversarial", turns)]

    def _translated(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Real and translated images, which all turns of an iteration share.

        `shared` also gets ``made``, the translations of the sources and, for the identity term, of the targets after
        them; ``mirrored``, which inputs were mirrored; ``keys``, the encoder's features of the inputs.
        """
        shared, config = batch.shared, self.config
        if "made" not in shared:
            source, target = (
                jitter([to_network(batch[name])], batch.rng, config.jitter, config.flip)[0]
                for name in ("source", "target")
            )
            given = torch.cat([source, target]) if config.identity_weight else source
            if config.equivariance:
                turn = batch.rng.rand(1, 1, 1) < 0.5
                shared["mirrored"] = turn.repeat(len(given) // len(turn), 1, 1, 1)
                shared["made"] = self.generator(mirror(given, shared["mirrored"]))
                with torch.no_grad():
                    shared["keys"] = self.generator.features(given, config.contrast_layers)
            else:  # one pass for translation, identity and keys
                shared["made"], keys = self.generator.seeing(given, config.contrast_layers)
                shared["keys"] = [key.detach() for key in keys]
            shared["target"] = target
        return shared["target"], shared["made"][: len(shared["target"])]

    def _update_discriminator(self, loss: Loss, batch: Batch) -> dict[str, Tensor]:
        target, fake = self._translated(batch)
        real_scores, fake_scores = self.discriminator(torch.cat([target, fake.detach()])).chunk(2)
        probe_scores(batch, real_scores, fake_scores)
        return {"loss": loss.discriminator(real_scores, fake_scores).mean()}

    def _regularise(self, name: str, penalty: Penalty, batch: Batch) -> dict[str, Tensor]:
        target, fake = self._translated(batch)
        return {name: penalized(batch, name, penalty, self.discriminator, target, fake.detach())}

    def _update_generator(self, loss: Loss, batch: Batch) -> dict[str, Tensor]:
        target, fake = self._translated(batch)
        fake_scores = self.discriminator(fake)
        real_scores = self.discriminator(target).detach() if loss.needs_real else fake_scores.detach()
        contrast = self._contrast(batch.shared, batch.rng)
        terms = {
            "loss": self.config.adversarial_weight * loss_at(loss, batch).generator(real_scores, fake_scores).mean(),
            "contrast": self.config.contrast_weight * contrast[: batch.count].mean(),
        }
        if self.config.identity_weight:
            terms["identity"] = self.config.identity_weight * contrast[batch.count :].mean()
        return terms

    def _contrast(self, shared: Mapping[str, Tensor | list[Tensor]], rng: Draws) -> Tensor:
        """Equation 4 for each input, ``(N or 2 N,)``: the mean over the layers.

        Keys have no gradient: the encoder and the heads learn from the queries only.
        """
        made, keys, mirrored = shared["made"], shared["keys"], shared.get("mirrored")
        assert isinstance(made, Tensor)
        queries = self.generator.features(made, self.config.contrast_layers)
        found = []
        for head, query, key in zip(self.heads, queries, keys, strict=True):
            if isinstance(mirrored, Tensor):
                query = mirror(query, mirrored)
            places = self._places(len(query), query.shape[2] * query.shape[3], rng)
            with torch.no_grad():
                key = head(_at(key, places))
            found.append(patch_contrast(head(_at(query, places)), key, self.config.temperature))
        return torch.stack(found).mean(0)

    def _places(self, pictures: int, positions: int, rng: Draws) -> Tensor:
        """``(images, S)`` distinct random positions for each image."""
        orders = [rng.rand(positions).argsort(1) for _ in range(pictures // rng.count)]
        return torch.cat(orders)[:, : self.config.patches]

    def given_fields(self, options: None = None) -> tuple[str, ...]:
        """The input field, the source."""
        return ("source",)

    def tiles(self, options: None = None) -> Tiles:
        """An image is translated whole, or in tiles where it is large; sides are multiples of 4."""
        return translation_tiles(4, 16 + 8 * self.config.blocks, self.config.generator_width)

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Translate the given sources."""
        assert request.given is not None
        source = request.given["source"]
        return {"source": source, "target": to_pixels(self.generator(to_network(source)))}


def mirror(pictures: Tensor, which: Tensor) -> Tensor:
    """``(N, C, H, W)`` and ``(N, 1, 1, 1)`` bool -> the images, mirrored left to right where `which` is true."""
    return torch.where(which, pictures.flip(3), pictures)


def _at(layer: Tensor, places: Tensor) -> Tensor:
    """Gather ``(N, C, H, W)`` at ``(N, S)`` positions -> ``(N, S, C)``."""
    columns = layer.flatten(2)
    return columns.gather(2, places[:, None].expand(-1, columns.shape[1], -1)).transpose(1, 2)
