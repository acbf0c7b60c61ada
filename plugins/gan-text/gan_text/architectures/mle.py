"""MLE: the maximum-likelihood baseline for text GANs, which is SeqGAN's LSTM generator without the game.

Yu et al., SeqGAN, AAAI 2017, https://arxiv.org/abs/1609.05473, row "MLE" of its tables.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.game import Batch, Optimizer, Phase, Player, Turn
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from gan_text.data.fields import ends_early, vocabulary_size
from gan_text.networks.lstm import LSTMGenerator, sequence_mask
from gan_text.sampling import SamplingOptions, sample_lstm


class GeneratorConfig(BaseModel):
    """Settings of the LSTM generator."""

    model_config = ConfigDict(extra="forbid")

    embedding: int = Field(32, gt=0, description="Width of the word vectors.")
    hidden: int = Field(32, gt=0, description="Width of the LSTM's state.")
    deviation: float = Field(0.1, gt=0, description="Standard deviation of the initial weights.")


def sequence_nll(generator: LSTMGenerator, tokens: Tensor, lengths: Tensor, ends: bool) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of each text in nats, and its token count including the end: ``(N,), (N,)``."""
    nll = generator.nll(tokens)
    mask = sequence_mask(lengths, tokens.shape[1]) if ends else torch.ones_like(nll)
    return (nll * mask).sum(1), mask.sum(1)


def likelihood_terms(generator: LSTMGenerator, batch: Batch, ends: bool) -> dict[str, Tensor]:
    """Loss terms: the mean nats per token of a batch of real texts."""
    tokens = batch["tokens"].long()
    mask = sequence_mask(batch["length"], tokens.shape[1]) if ends else torch.ones(tokens.shape, device=tokens.device)
    return {"nll": generator.weighted_nll(tokens, mask / mask.sum())}


class MLE(nn.Module):
    """An LSTM language model; Adam with learning rate 0.01, gradients clipped at norm 5 (the authors' code)."""

    class Config(GeneratorConfig):
        """Settings of the generator."""

    Options = SamplingOptions
    generation_batch = 256

    def __init__(self, config: Config, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.field = fields["tokens"]
        self.ends = ends_early(fields)
        self.generator = LSTMGenerator(vocabulary_size(fields), config.embedding, config.hidden, config.deviation)

    def players(self) -> dict[str, Player]:
        """One player, the generator."""
        return {"generator": Player(self.generator, Optimizer(lr=0.01, betas=(0.9, 0.999), clip_norm=5.0))}

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase whose length the recipe sets; the adversarial loss is not used."""
        return [Phase("mle", [Turn("generator", lambda batch: likelihood_terms(self.generator, batch, self.ends))])]

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` texts, padded with 0."""
        return sample_lstm(self.generator, count, rng, request, self.field, self.ends)

    def nll(self, samples: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of the given texts in nats, and their token counts."""
        return sequence_nll(self.generator, samples["tokens"].long(), samples["length"], self.ends)
