"""Adversarial fine-tuning of a language model: SeqGAN's game with a transformer as the generator.

The generator is `gan_text.architectures.gpt.GPT`, from scratch or pretrained; the game is that of Yu et al., SeqGAN, AAAI 2017,
https://arxiv.org/abs/1609.05473: maximum likelihood, the discriminator alone, both. Rollouts cost a transformer too
much: every token is rewarded with the discriminator's opinion of the finished text (REINFORCE, Williams 1992) less the
batch's mean, and the likelihood of real texts stays beside the reward, so that a fluent model stays one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
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
    """A transformer with the three methods that SeqGAN's game asks of a generator."""

    def __init__(self, gpt: GPT) -> None:
        super().__init__()
        self.gpt = gpt

    @torch.no_grad()
    def sample(self, uniforms: Tensor, *, ends: bool = False, temperature: float = 1.0) -> Tensor:
        """``(N, T)`` uniforms in [0, 1) -> ``(N, T)`` int64 tokens, drawn without dropout."""
        training = self.gpt.training
        self.gpt.eval()
        options = SamplingOptions(temperature=temperature)
        rows = self.gpt.generation_batch
        found = [self.gpt.write(part, uniforms.shape[1], [], options) for part in torch.split(uniforms, rows)]
        self.gpt.train(training)
        return torch.cat(found)

    def weighted_nll(self, tokens: Tensor, weights: Tensor) -> Tensor:
        """``(N, T)``, ``(N, T)`` -> scalar: the sum of weight times nats."""
        logits = self.gpt.logits(tokens).float()
        nll = F.cross_entropy(logits.flatten(0, 1), tokens.flatten().long(), reduction="none")
        return (nll * weights.flatten()).sum()


class GPTSeqGAN(SeqGAN):
    """Three phases: ``mle``, ``discriminator``, ``adversarial``."""

    class Config(AdversaryConfig, GPT.Config):
        """Settings of the transformer and of the game."""

        policy_rate: float = Field(
            0.1, gt=0, description="Step size of the policy gradient, in units of the optimiser's lr."
        )
        likelihood: float = Field(
            20.0, ge=0, description="Weight of the real texts' nats a token beside the policy gradient; 0: off."
        )

        @property
        def rollouts(self) -> int:
            """None: the finished text is judged."""
            return 0

    generation_batch = GPT.generation_batch
    generator: Writer

    def networks(self, config: Any, fields: Mapping[str, FieldSpec]) -> tuple[nn.Module, None]:
        """The transformer, and no rollout policy."""
        return Writer(GPT(config, fields)), None

    def players(self) -> dict[str, Player]:
        """AdamW for the generator as for a GPT alone, at a constant step; Adam 1e-4 for the discriminator."""
        alone = self.generator.gpt.players()["generator"].optimizer
        return {
            "generator": Player(self.generator, dataclasses.replace(alone, schedule="constant")),
            "discriminator": super().players()["discriminator"],
        }

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """`count` texts; longer than T, or than the context, where ``--max-length`` says so."""
        return self.generator.gpt.generate(count, rng, request)

    def nll(self, samples: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Nats of given texts and their numbers of tokens."""
        return self.generator.gpt.nll(samples)
