"""GPT-SeqGAN: adversarial fine-tuning of a transformer language model, as the generator in SeqGAN's game.

The generator is `gan_text.architectures.gpt.GPT`, from scratch or pretrained. The phases are those of Yu et al.,
SeqGAN, AAAI 2017, https://arxiv.org/abs/1609.05473: maximum likelihood, the discriminator alone, both. Rollouts are too
expensive for a transformer: the reward of every token is the discriminator's score of the finished text (REINFORCE,
Williams 1992) minus the mean of the batch. The likelihood of real texts is added to the loss, which keeps a fluent
model fluent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from gan import game
from gan.contracts import FieldSpec, Request
from gan.draws import Draws
from gan.game import Player
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gan_text.architectures.gpt import GPT
from gan_text.architectures.seqgan import AdversaryConfig, SeqGAN
from gan_text.sampling import SamplingOptions


class Writer(nn.Module):
    """Adapts a transformer to the interface of the generator in `SeqGAN`."""

    def __init__(self, gpt: GPT) -> None:
        super().__init__()
        self.gpt = gpt

    @torch.no_grad()
    def sample(self, uniforms: Tensor, *, ends: bool = False, temperature: float = 1.0) -> Tensor:
        """``(N, T)`` uniforms in [0, 1) -> ``(N, T)`` int64 tokens, sampled without dropout."""
        training = self.gpt.training
        self.gpt.eval()
        options = SamplingOptions(temperature=temperature)
        rows = self.gpt.generation_batch
        found = [
            self.gpt.sample(part, temperature)
            if game.asynchronous(part.device)
            else self.gpt.write(part, uniforms.shape[1], [], options)
            for part in torch.split(uniforms, rows)
        ]
        self.gpt.train(training)
        return torch.cat(found)

    def weighted_nll(self, tokens: Tensor, weights: Tensor) -> Tensor:
        """``(N, T)``, ``(N, T)`` -> scalar: the weighted sum of the tokens' nats."""
        logits = self.gpt.logits(tokens).float()
        nll = F.cross_entropy(logits.flatten(0, 1), tokens.flatten().long(), reduction="none")
        return (nll * weights.flatten()).sum()


class GPTSeqGAN(SeqGAN):
    """Three phases: ``mle``, ``discriminator``, ``adversarial``."""

    class Config(AdversaryConfig, GPT.Config):
        """Settings of the transformer and of the game."""

        policy_rate: float = Field(
            0.1, gt=0, description="Scale of the policy gradient's learning rate, as a multiple of the optimizer's lr."
        )
        likelihood: float = Field(
            20.0, ge=0, description="Weight of the likelihood loss on real texts (nats per token); 0: off."
        )

        @property
        def rollouts(self) -> int:
            """None; the discriminator judges the finished text."""
            return 0

    generation_batch = GPT.generation_batch
    generator: Writer

    def networks(self, config: Any, fields: Mapping[str, FieldSpec]) -> tuple[nn.Module, None]:
        """The transformer, without a rollout policy."""
        return Writer(GPT(config, fields)), None

    def players(self) -> dict[str, Player]:
        """The optimizer of `GPT` with a constant learning rate for the generator; Adam 1e-4 for the discriminator."""
        alone = self.generator.gpt.players()["generator"].optimizer
        return {
            "generator": Player(self.generator, dataclasses.replace(alone, schedule="constant")),
            "discriminator": super().players()["discriminator"],
        }

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` texts; ``--max-length`` may exceed T and the context."""
        return self.generator.gpt.generate(count, rng, request)

    def nll(self, samples: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of the given texts in nats, and their token counts."""
        return self.generator.gpt.nll(samples)
