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

Different from the paper: texts need no beginning (`model.prompt` 0). The discriminator may be convolutional, and score
texts as far as each token (`model.credit`), which teaches it faster and gives each token a reward of its own. Scores
are not divided by the group's standard deviation, which would make the noise of an undecided discriminator as large as
what a decided one says, and losses are sums over the tokens by T instead of means over each text's own, which would
prefer short texts (Liu et al. 2025, arXiv:2503.20783, section 3.1). No dropout is used in the policy gradient.

In generation the discriminator may also choose between texts (``--candidates``): with its score as the negative energy,
texts are drawn from the model's distribution times the exponential of the score (Deng et al. 2020, "Residual
energy-based models for text generation", arXiv:2004.11714, algorithm 1).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player, Turn
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gan_text.architectures.gpt import GPT
from gan_text.networks.lstm import lengths_of, sequence_mask
from gan_text.sampling import SamplingOptions, options_of


class Judge(nn.Module):
    """A transformer without its output layer, and a score of the token that ends a text, or of the last of T."""

    def __init__(self, trunk: Any, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.score = nn.Linear(width, 1, bias=False)
        nn.init.normal_(self.score.weight, 0.0, 0.02)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """``(N, T)`` tokens and ``(N,)`` lengths -> ``(N, T)`` raw scores of the texts as far as each token; from the
        end of a text on, the score of the whole."""
        hidden = self.trunk(input_ids=tokens.long(), use_cache=False).last_hidden_state
        return _until_the_end(self.score(hidden)[:, :, 0], lengths)


FILTERS = ((1, 32), (2, 64), (3, 64), (4, 64))
"""(width in tokens, number) of the filters of `WindowJudge`."""
EMBEDDING = 48


class WindowJudge(nn.Module):
    """Convolutions over windows of one to four tokens, and the largest response of each so far (Kim 2014,
    arXiv:1408.5882, whose maximum is over the whole text)."""

    def __init__(self, words: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.embedding = nn.Embedding(words, EMBEDDING)
        nn.init.normal_(self.embedding.weight, 0.0, 0.1)
        self.filters = nn.ModuleList(nn.Conv1d(EMBEDDING, number, width) for width, number in FILTERS)
        self.score = nn.Linear(sum(number for _, number in FILTERS), 1)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """As `Judge`."""
        read = F.dropout(self.embedding(tokens.long()), self.dropout / 2, self.training).transpose(1, 2)
        found = [
            F.relu(layer(F.pad(read, (width - 1, 0)))) for layer, (width, _) in zip(self.filters, FILTERS, strict=True)
        ]
        largest = torch.cat(found, 1).cummax(2).values.transpose(1, 2)  # (N, T, filter)
        scores = self.score(F.dropout(largest, self.dropout, self.training))[:, :, 0]
        return _until_the_end(scores, lengths)


def _until_the_end(scores: Tensor, lengths: Tensor) -> Tensor:
    """``(N, T)``: from the end of a text on, the score at its end."""
    places = torch.arange(scores.shape[1], device=scores.device)
    return scores.gather(1, torch.minimum(places, lengths.long()[:, None]))


class GadOptions(SamplingOptions):
    """Options of one call of `generate`."""

    candidates: int = Field(
        1,
        ge=1,
        le=1024,
        description="Texts that are written for each one: the discriminator draws one of them, with probabilities "
        "proportional to the exponential of its scores.",
    )


class GPTGad(GPT):
    """Three phases: ``mle``, ``discriminator``, ``adversarial``."""

    class Config(GPT.Config):
        """Settings of the transformer and of the game."""

        group: int = Field(8, ge=2, description="Continuations of one beginning in an update.")
        prompt: int = Field(0, ge=0, description="Tokens of a real text that the model continues; 0: whole texts.")
        discriminator_repeats: int = Field(
            1,
            gt=0,
            description="Discriminator updates with one group, each with other real texts; for a discriminator that "
            "takes less time than texts take to be written.",
        )
        generator_interval: int = Field(
            1,
            gt=0,
            description="Discriminator updates from one update of the model to the next, each with a new group.",
        )
        policy_rate: float = Field(
            0.1, gt=0, description="Scale of the policy gradient's learning rate, as a multiple of the optimizer's lr."
        )
        discriminator: Literal["transformer", "windows"] = Field(
            "transformer",
            description="transformer: a copy of the model (the paper). windows: convolutions over up to four tokens, "
            "which learn in less time what is wrong with the words of a small model.",
        )
        discriminator_dropout: float = Field(
            0.5, ge=0, lt=1, description="Dropout probability of the discriminator `windows`."
        )
        credit: float | None = Field(
            None,
            ge=0,
            le=1,
            description="The discriminator scores texts as far as each token, and a token's reward is the change of "
            "the score that it makes and, each times this factor more, those after it; none: the score of the whole "
            "text is the reward of all its tokens.",
        )
        divergence: float = Field(
            0.02, ge=0, description="Weight of the divergence from the model of maximum likelihood, in nats per token."
        )

    Options = GadOptions

    def __init__(self, config: Config, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__(config, fields)
        if config.prompt >= self.length:
            raise UsageError(f"model.prompt = {config.prompt} leaves nothing of the {self.length} tokens of a text")
        if config.discriminator_repeats > 1 and config.prompt:
            raise UsageError(
                "model.discriminator_repeats shows other real texts than those whose beginnings a group "
                "continues; set model.prompt=0"
            )
        self.config = config
        self.discriminator: Judge | WindowJudge
        if config.discriminator == "windows":
            self.discriminator = WindowJudge(self.words, config.discriminator_dropout)
        else:
            self.discriminator = Judge(copy.deepcopy(self.model.base_model), self.model.config.hidden_size)
        self.reference = copy.deepcopy(self.model).requires_grad_(False)
        self._keep_ties_out_of_checkpoints()

    def players(self) -> dict[str, Player]:
        """The optimizer of `GPT`, whose learning rate falls in every phase, and Adam 1e-4 for the discriminator."""
        judge = Player(self.discriminator, Optimizer(lr=1e-4, betas=(0.9, 0.99)))
        return {**super().players(), "discriminator": judge}

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """Maximum likelihood, the discriminator alone, then both."""
        repeats = self.config.discriminator_repeats
        compare = Turn("discriminator", partial(self.compare, loss), repeats=repeats)
        begin = Turn("discriminator", partial(self.compare, loss, begins=True), repeats=repeats)
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

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` texts; with the option `candidates`, each is drawn from several by the discriminator."""
        options = options_of(request)
        many = options.candidates if isinstance(options, GadOptions) else 1
        if many == 1:
            return super().generate(count, rng, request)
        length = self.length_of(options)
        if length > self.length:
            raise UsageError(f"--candidates: the discriminator reads {self.length} tokens; leave --max-length out")
        made: list[dict[str, Tensor]] = []
        scored = []
        for uniforms in torch.split(rng.rand(many, length).flatten(0, 1), self.generation_batch):
            made.append(self.written(uniforms, request))
            last = made[-1]["length"] if self.ends else made[-1]["length"] - 1
            scored.append(self.discriminator(made[-1]["tokens"], last)[:, -1])
        scores = torch.cat(scored).view(count, many)
        gumbel = -(-rng.rand(many).clamp(min=1e-12).log()).log()
        chosen = (scores + gumbel).argmax(1) + many * torch.arange(count, device=scores.device)
        return {name: torch.cat([part[name] for part in made])[chosen] for name in made[0]}

    def compare(self, loss: Loss, batch: Batch, begins: bool = False) -> dict[str, Tensor]:
        """The discriminator's loss on each real text beside each continuation of its group."""
        if begins and batch.position == 0 and "written" not in batch.shared:
            if isinstance(self.discriminator, Judge):
                self.discriminator.trunk.load_state_dict(self.model.base_model.state_dict())
            self.reference.load_state_dict(self.model.state_dict())
        tokens, lengths = self._group(batch)
        both = torch.cat([batch["tokens"].long(), tokens])
        scores = self.discriminator(both, torch.cat([batch["length"].to(lengths.dtype), lengths]))
        scores = scores[:, self.config.prompt if self.config.credit is not None else -1 :]
        real = scores[: batch.count].repeat_interleave(self.config.group, 0)
        fake = scores[batch.count :]
        terms = {"loss": loss.discriminator(real.flatten(), fake.flatten()).mean()}
        return terms | {"_accuracy": (real > fake)[:, -1].float().mean()}

    def reinforce(self, batch: Batch) -> dict[str, Tensor]:
        """The policy gradient of a batch's groups, and the divergence from the reference (GRPO's estimate)."""
        config = self.config
        tokens, lengths = self._group(batch)
        training = self.training
        self.eval()
        with torch.no_grad():
            scores = self.discriminator(tokens, lengths)
            rewards = credited(scores, config.prompt, config.credit).view(-1, config.group, self.length)
            advantage = (rewards - rewards.mean(1, keepdim=True)).flatten(0, 1)
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
        spread = scores[:, -1].view(-1, config.group).std(1).mean()
        shown = {"_reward": scores[:, -1].mean(), "_reward_spread": spread, "_divergence": divergence.detach()}
        return terms | shown

    def _nats(self, tokens: Tensor, model: Any = None) -> Tensor:
        """``(N, T)`` negative log-likelihoods of tokens given those before, by `model` or this one."""
        logits = self.logits(tokens, model).float()
        nats = F.cross_entropy(logits.flatten(0, 1), tokens.flatten().long(), reduction="none")
        return nats.view(tokens.shape)


def credited(scores: Tensor, prompt: int, credit: float | None) -> Tensor:
    """``(N, T)`` scores of texts as far as each token -> ``(N, T)`` rewards of the tokens.

    Without `credit` the score of the whole text for each of them. With it the changes of the score from the token on,
    the next one times `credit`, the one after it times `credit` squared, and so on: generalised advantage estimation
    with the score for the value (Schulman et al. 2016, arXiv:1506.02438, equation 16, without a discount). 1 gives all
    that the score still changes.
    """
    if credit is None:
        return scores[:, -1:].expand_as(scores)
    changes = torch.diff(scores, dim=1, prepend=torch.zeros_like(scores[:, :1]))
    if prompt:
        changes[:, prompt] = scores[:, prompt]  # the score of the prompt itself is not learned
    total, found = torch.zeros_like(scores[:, 0]), []
    for change in reversed(changes.unbind(1)):
        total = change + credit * total
        found.append(total)
    return torch.stack(found[::-1], 1)
