"""GPT-GAD: adversarial fine-tuning of a transformer language model by a discriminator that is one, too.

Ye, Dong, Chi, Wu, Huang, Wei: "Black-Box On-Policy Distillation of Large Language Models", 2025, arXiv:2511.10643,
there with the answers of a larger model in place of real texts. After maximum likelihood the discriminator begins as a
copy of the model with a linear layer on the last token, and learns which of two continuations of one beginning x is
real (the loss `relativistic-pairing`, equation 3):

    -log σ(D(x, y) - D(x, y')),   y real, y' ~ π.

The model is then trained by policy gradient on the scores of a group of continuations of each beginning (GRPO, Shao et
al. 2024, arXiv:2402.03300): the advantage of a continuation is its score minus the group's mean, and a divergence keeps
the model near the one that maximum likelihood gave (equation 4 there). Each group is used for one update, so that the
ratio of probabilities is 1 and nothing is clipped.

Different from the paper: texts need no beginning (`model.prompt` 0). Scores are not divided by the group's standard
deviation, which would make the noise of an undecided discriminator as large as what a decided one says, and losses are
sums over the tokens by T instead of means over each text's own, which would prefer short texts (Liu et al. 2025,
arXiv:2503.20783, section 3.1). No dropout is used in the policy gradient.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from gan.contracts import FieldSpec, Loss, Penalty
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player, Turn
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gan_text.architectures.gpt import GPT
from gan_text.networks.lstm import lengths_of, sequence_mask


class Judge(nn.Module):
    """A transformer without its output layer, and a score of the token that ends a text, or of the last of T."""

    def __init__(self, trunk: Any, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.score = nn.Linear(width, 1, bias=False)
        nn.init.normal_(self.score.weight, 0.0, 0.02)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """``(N, T)`` tokens and ``(N,)`` lengths -> ``(N,)`` raw scores."""
        hidden = self.trunk(input_ids=tokens.long(), use_cache=False).last_hidden_state
        last = lengths.long().clamp(max=tokens.shape[1] - 1)[:, None, None].expand(-1, 1, hidden.shape[2])
        scores: Tensor = self.score(hidden.gather(1, last))[:, 0, 0]
        return scores


class GPTGad(GPT):
    """Three phases: ``mle``, ``discriminator``, ``adversarial``."""

    class Config(GPT.Config):
        """Settings of the transformer and of the game."""

        group: int = Field(8, ge=2, description="Continuations of one beginning in an update.")
        prompt: int = Field(0, ge=0, description="Tokens of a real text that the model continues; 0: whole texts.")
        generator_interval: int = Field(
            1,
            gt=0,
            description="Discriminator updates from one update of the model to the next, each with a new group.",
        )
        policy_rate: float = Field(
            0.1, gt=0, description="Scale of the policy gradient's learning rate, as a multiple of the optimizer's lr."
        )
        divergence: float = Field(
            0.02, ge=0, description="Weight of the divergence from the model of maximum likelihood, in nats per token."
        )

    def __init__(self, config: Config, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__(config, fields)
        if config.prompt >= self.length:
            raise UsageError(f"model.prompt = {config.prompt} leaves nothing of the {self.length} tokens of a text")
        self.config = config
        self.discriminator = Judge(copy.deepcopy(self.model.base_model), self.model.config.hidden_size)
        self.reference = copy.deepcopy(self.model).requires_grad_(False)
        self._keep_ties_out_of_checkpoints()

    def players(self) -> dict[str, Player]:
        """The optimizer of `GPT`, whose learning rate falls in every phase, and Adam 1e-4 for the discriminator."""
        judge = Player(self.discriminator, Optimizer(lr=1e-4, betas=(0.9, 0.99)))
        return {**super().players(), "discriminator": judge}

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """Maximum likelihood, the discriminator alone, then both."""
        compare = Turn("discriminator", partial(self.compare, loss))
        begin = Turn("discriminator", partial(self.compare, loss, begins=True))
        interval = self.config.generator_interval
        write = Turn("generator", self.reinforce, every=interval, lazy=False, lr_scale=self.config.policy_rate)
        return [
            Phase("mle", [Turn("generator", self.likelihood)], 48_000, is_baseline=True),
            Phase("discriminator", [begin], 3_200),
            Phase("adversarial", [compare, write], reset_optimizers=True),
        ]

    @torch.no_grad()
    def _group(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """A group of continuations for each real text, which all turns of an iteration share: ``(N·K, T), (N·K,)``."""
        if "written" not in batch.shared:
            config = self.config
            training = self.training
            self.eval()
            uniforms = batch.rng.rand(config.group, self.length).flatten(0, 1)
            prompts = batch["tokens"][:, : config.prompt].long().repeat_interleave(config.group, 0)
            tokens = self.sample(uniforms, prompts=prompts)
            self.train(training)
            lengths = lengths_of(tokens) if self.ends else torch.full_like(tokens[:, 0], self.length)
            batch.shared.update(written=tokens, lengths=lengths)
        return batch.shared["written"], batch.shared["lengths"]

    def compare(self, loss: Loss, batch: Batch, begins: bool = False) -> dict[str, Tensor]:
        """The discriminator's loss on each real text beside each continuation of its group."""
        if begins and batch.position == 0:
            self.discriminator.trunk.load_state_dict(self.model.base_model.state_dict())
            self.reference.load_state_dict(self.model.state_dict())
        tokens, lengths = self._group(batch)
        both = torch.cat([batch["tokens"].long(), tokens])
        scores = self.discriminator(both, torch.cat([batch["length"].to(lengths.dtype), lengths]))
        real = scores[: batch.count].repeat_interleave(self.config.group)
        fake = scores[batch.count :]
        terms = {"loss": loss.discriminator(real, fake).mean()}
        return terms | {"_accuracy": (real > fake).float().mean()}

    def reinforce(self, batch: Batch) -> dict[str, Tensor]:
        """The policy gradient of a batch's groups, and the divergence from the reference (GRPO's estimate)."""
        config = self.config
        tokens, lengths = self._group(batch)
        training = self.training
        self.eval()
        with torch.no_grad():
            scores = self.discriminator(tokens, lengths).view(-1, config.group)
            advantage = (scores - scores.mean(1, keepdim=True)).view(-1, 1)
            known = -self._nats(tokens, self.reference)
        logs = -self._nats(tokens)
        self.train(training)
        mask = sequence_mask(lengths, self.length) if self.ends else torch.ones_like(logs)
        mask = mask * (torch.arange(self.length, device=mask.device) >= config.prompt)
        written = self.length - config.prompt
        objective = -(advantage * logs * mask).sum(1).mean() / written
        apart = (known - logs).exp() - (known - logs) - 1
        divergence = (apart * mask).sum(1).mean() / written
        terms = {"loss": objective}
        if config.divergence:
            terms["divergence"] = config.divergence * divergence
        shown = {"_reward": scores.mean(), "_reward_spread": scores.std(1).mean(), "_divergence": divergence.detach()}
        return terms | shown

    def _nats(self, tokens: Tensor, model: Any = None) -> Tensor:
        """``(N, T)`` negative log-likelihoods of tokens given those before, by `model` or this one."""
        logits = self.logits(tokens, model).float()
        nats = F.cross_entropy(logits.flatten(0, 1), tokens.flatten().long(), reduction="none")
        return nats.view(tokens.shape)
