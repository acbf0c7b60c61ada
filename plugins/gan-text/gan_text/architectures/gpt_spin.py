"""GPT-SPIN: self-play fine-tuning of a transformer language model against its own earlier self.

Chen, Deng, Yuan, Ji, Gu: "Self-Play Fine-Tuning Converts Weak Language Models to Strong Language Models", ICML 2024,
arXiv:2401.01335. After maximum likelihood the model plays against a copy of itself, the opponent, which writes texts.
The discriminator is the log-ratio of the two models, and needs no network of its own (equation 4.7):

    L = softplus(-β [log π(x)/π_o(x) - log π(y)/π_o(y)]),   x real, y ~ π_o,

with log-likelihoods of whole texts. Whenever `renew` real samples were shown, the model becomes its own next opponent.
At π = π_o the loss is log 2, and where π_o is the distribution of the data no step lowers it further.

Different from the paper: texts are written anew for each batch instead of once for each opponent, so that none is
seen twice, and no dropout is used in the game.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping

import torch
from gan.contracts import FieldSpec, Loss, Penalty
from gan.game import Batch, Phase, Player, Turn
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from gan_text.architectures.gpt import GPT
from gan_text.networks.lstm import lengths_of


class GPTSpin(GPT):
    """Two phases: ``mle``, ``self-play``."""

    class Config(GPT.Config):
        """Settings of the transformer and of the game."""

        beta: float = Field(0.1, gt=0, description="β: scale of the log-ratios; 0.1 in the paper.")
        play_rate: float = Field(
            0.1, gt=0, description="Scale of the learning rate in the game, as a multiple of the optimizer's lr."
        )
        renew: int = Field(6400, gt=0, description="Real samples after which the model becomes its own opponent.")
        likelihood: float = Field(
            0.0, ge=0, description="Weight of the likelihood of real texts (nats per token); 0: off, as published."
        )

    def __init__(self, config: Config, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__(config, fields)
        self.config = config
        self.opponent = copy.deepcopy(self.model).requires_grad_(False)
        self._keep_ties_out_of_checkpoints()

    def players(self) -> dict[str, Player]:
        """The optimizer of `GPT` with a constant learning rate; the opponent is no player."""
        player = super().players()["generator"]
        return {
            "generator": dataclasses.replace(
                player, optimizer=dataclasses.replace(player.optimizer, schedule="constant")
            )
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """Maximum likelihood, then self-play for ``training.samples``; the adversarial loss is not used."""
        play = Turn("generator", self.play, lr_scale=self.config.play_rate)
        return [
            Phase("mle", [Turn("generator", self.likelihood)], 48_000, is_baseline=True),
            Phase("self-play", [play], reset_optimizers=True),
        ]

    def play(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of a batch; ``_margin`` is the mean difference of the log-ratios in nats, ``_wins`` its sign."""
        seen = batch.position
        if seen == 0 or seen // self.config.renew != (seen - batch.rng.total) // self.config.renew:
            self.opponent.load_state_dict(self.model.state_dict())
        training = self.training
        self.eval()
        with torch.no_grad():
            tokens = self.sample(batch.rng.rand(self.length), model=self.opponent)
            lengths = lengths_of(tokens) if self.ends else torch.full_like(tokens[:, 0], self.length)
            both = {
                "tokens": torch.cat([batch["tokens"].long(), tokens]),
                "length": torch.cat([batch["length"].long(), lengths]),
            }
            before, _ = self.nll(both, self.opponent)
        nats, counts = self.nll(both)
        self.train(training)
        real, written = (before - nats).chunk(2)
        margin = real - written
        terms = {"loss": F.softplus(-self.config.beta * margin).mean()}
        if self.config.likelihood:
            own, count = nats[: batch.count].sum(), counts[: batch.count].sum()
            terms["nll"] = self.config.likelihood * own / count
        shown = margin.detach()
        return terms | {"_margin": shown.mean(), "_wins": (shown > 0).float().mean()}
