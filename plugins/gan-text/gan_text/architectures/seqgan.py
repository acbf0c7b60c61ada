"""SeqGAN: a text GAN whose LSTM generator is trained by policy gradient (REINFORCE) on the discriminator's scores.

Yu, Zhang, Wang, Yu: SeqGAN: Sequence Generative Adversarial Nets with Policy Gradient, AAAI 2017,
https://arxiv.org/abs/1609.05473. The generator is trained by maximum likelihood, the discriminator on its samples, and
then both against each other: the reward of a token is the discriminator's score of the finished sequence, averaged over
completions of the prefix that ends with the token (`gan_text.networks.rollouts`).

Shapes: N sequences, T tokens, V words. The paper's discriminator ends in a softmax over (fake, real); its score is the
difference of the two logits, so that cross-entropy is half the non-saturating loss of `gan.losses`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws, derive
from gan.game import Batch, Optimizer, Phase, Player, Turn
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from gan_text.architectures.mle import GeneratorConfig, likelihood_terms, sequence_nll
from gan_text.data.fields import ends_early, vocabulary_size
from gan_text.networks.lstm import LSTMGenerator, lengths_of, sequence_mask
from gan_text.networks.precision import has_bf16
from gan_text.networks.rollouts import TokenTables, rollout_values
from gan_text.sampling import SamplingOptions, sample_lstm

PAPER_FILTERS = [
    (1, 100), (2, 200), (3, 200), (4, 200), (5, 200), (6, 100),
    (7, 100), (8, 100), (9, 100), (10, 100), (15, 160), (20, 160),
]  # fmt: skip


class Discriminator(nn.Module):
    """Embedding, convolutions of many widths, maximum over time, a highway layer, two logits.

    7,045,402 parameters at V=5000 with the paper's filters. Filters wider than T are left out. With a sum over time
    instead of the maximum, every n-gram of a text contributes to the gradient, not only one per filter.
    """

    def __init__(
        self,
        words: int,
        length: int,
        embedding: int,
        filters: list[tuple[int, int]],
        keep: float,
        pooling: Literal["max", "sum"] = "max",
        reach: float = 1.0,
    ) -> None:
        super().__init__()
        self.keep = keep
        self.pooling: Literal["max", "sum"] = pooling
        self.embedding = nn.Parameter(torch.empty(words, embedding).uniform_(-reach, reach))
        banks = [(width, number) for width, number in filters if width <= length]
        self.weights = nn.ParameterList([_truncated(number, embedding, width) for width, number in banks])
        self.biases = nn.ParameterList([torch.full((number,), 0.1) for _, number in banks])
        self.features = sum(number for _, number in banks)
        self.transform = nn.Linear(self.features, self.features)
        self.gate = nn.Linear(self.features, self.features)
        for layer in (self.transform, self.gate):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.output_weight = _truncated(self.features, 2)
        self.output_bias = nn.Parameter(torch.full((2,), 0.1))

    def forward(self, tokens: Tensor, dropout: Tensor | None = None) -> Tensor:
        """``(N, T)`` tokens -> ``(N,)`` scores; `dropout` holds ``(N, features)`` uniforms, or None for no dropout."""
        embedded = F.embedding(tokens.long(), self.embedding).transpose(1, 2)  # (N, E, T)
        responses = (F.conv1d(embedded, w, b) for w, b in zip(self.weights, self.biases))
        if self.pooling == "max":
            found = [F.relu(response.amax(2)) for response in responses]
        else:
            found = [F.relu(response).sum(2) for response in responses]
        return self.head(torch.cat(found, 1), dropout)

    def head(self, features: Tensor, dropout: Tensor | None = None) -> Tensor:
        """``(N, features)`` -> ``(N,)``: highway layer, dropout, logit of real minus logit of fake."""
        carry = torch.sigmoid(self.gate(features))
        hidden = carry * F.relu(self.transform(features)) + (1 - carry) * features
        if dropout is not None:
            hidden = hidden * (dropout < self.keep) / self.keep
        logits = torch.addmm(self.output_bias, hidden, self.output_weight)
        return logits[:, 1] - logits[:, 0]

    def decay(self) -> Tensor:
        """Half the squared norm of the output layer, which the paper penalizes."""
        return 0.5 * (self.output_weight.square().sum() + self.output_bias.square().sum())

    def tables(self, tokens: Tensor, dtype: torch.dtype) -> TokenTables:
        """The convolutions as lookup tables, for fast evaluation of many completions of the prefixes of `tokens`."""
        banks = [(weight.detach(), bias.detach()) for weight, bias in zip(self.weights, self.biases)]
        return TokenTables(self.embedding.detach(), banks, tokens, dtype, self.pooling)

    @torch.no_grad()
    def fixed_head(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """`head` with the present weights and without dropout, in few passes: the gate and the transform are one
        product, the two logits one difference."""
        weight = torch.cat([self.gate.weight, self.transform.weight]).to(dtype).T.contiguous()
        bias = torch.cat([self.gate.bias, self.transform.bias]).to(dtype)
        difference = self.output_weight[:, 1] - self.output_weight[:, 0]
        offset = self.output_bias[1] - self.output_bias[0]

        def scores(features: Tensor) -> Tensor:
            both = torch.addmm(bias, features.to(dtype), weight).float()
            carry, moved = both[:, : self.features], both[:, self.features :]
            hidden = torch.lerp(features, moved.relu_(), carry.sigmoid_())
            return torch.addmv(offset, hidden, difference)

        return scores


def _truncated(*shape: int) -> nn.Parameter:
    weight = nn.Parameter(torch.empty(*shape))
    nn.init.trunc_normal_(weight, 0.0, 0.1, -0.2, 0.2)
    return weight


class AdversaryConfig(BaseModel):
    """Settings of the discriminator and of the rewards; the defaults are the paper's except for `baseline`."""

    model_config = ConfigDict(extra="forbid")

    discriminator_embedding: int = Field(64, gt=0, description="Width of the discriminator's word embeddings.")
    filters: list[tuple[int, int]] = Field(
        PAPER_FILTERS, min_length=1, description="(width in tokens, number of filters) of each convolution."
    )
    discriminator_reach: float = Field(
        1.0,
        gt=0,
        description="Word embeddings start uniform in [-reach, reach]; the paper: 1. Smaller values learn sooner.",
    )
    pooling: Literal["max", "sum"] = Field(
        "max", description="Pooling of a filter's responses over time; the paper: max."
    )
    keep: float = Field(0.75, gt=0, le=1, description="Share of the discriminator's features that dropout keeps.")
    decay: float = Field(
        0.2, ge=0, description="Weight of half the squared norm of the discriminator's last layer; 0: off."
    )
    baseline: bool = Field(True, description="Whether the mean reward of each position is subtracted; the paper: no.")
    reward: Literal["probability", "score"] = Field(
        "probability",
        description="exp(-L) or -L of the generator's loss L; for the non-saturating loss exp(-L) is P(real).",
    )
    policy_rate: float = Field(
        1.0, gt=0, description="Scale of the policy gradient's learning rate, as a multiple of the optimizer's lr."
    )
    likelihood: float = Field(
        0.0,
        ge=0,
        description="Weight of the likelihood loss on real texts (nats per token); 0: off, as published.",
    )
    sequences: int = Field(1, gt=0, description="Sequences in a generator update, per real sample of the batch.")
    negatives: int = Field(10_000, gt=0, description="Generated sequences in one set for the discriminator.")
    negatives_temperature: float = Field(
        1.0,
        gt=0,
        description="Sampling temperature of the negatives; the paper: 1. Above 1, they contain more of the "
        "generator's unlikely tokens, which the rewards then discourage: texts get better and less varied.",
    )
    renew: int = Field(
        30_000,
        gt=0,
        description="Real samples between two sets of negatives (three epochs of the paper's data).",
    )
    generator_interval: int = Field(
        4_688, gt=0, description="Discriminator updates from one generator update to the next."
    )


class SeqGAN(nn.Module):
    """Three phases: ``mle``, ``discriminator``, ``adversarial``.

    The phases' lengths are the paper's for its 10,000 sequences: 120 epochs; 50 sets of negatives with three epochs
    each; 200 rounds of one generator update and five sets of negatives with three epochs each.
    """

    class Config(AdversaryConfig, GeneratorConfig):
        """Settings of SeqGAN; the defaults are the paper's except for `baseline`."""

        rollouts: int = Field(
            16, ge=0, description="Completions of each prefix; 0: every token gets the reward of the finished text."
        )
        rollout_rate: float = Field(
            0.8, ge=0, le=1, description="Decay of the rollout policy, an exponential moving average of the generator."
        )
        rollout_precision: Literal["fp32", "bf16", "auto"] = Field(
            "fp32",
            description="Precision of the discriminator when it scores rollouts; auto: bf16 where the processor or the "
            "GPU has it, else fp32.",
        )

    Options = SamplingOptions
    generation_batch = 256

    def __init__(self, config: Config, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.config = config
        self.field = fields["tokens"]
        self.length = self.field.shape[0]
        self.ends = ends_early(fields)
        words = vocabulary_size(fields)
        self.generator, self.rollout = self.networks(config, fields)
        self.discriminator = Discriminator(
            words,
            self.length,
            config.discriminator_embedding,
            config.filters,
            config.keep,
            config.pooling,
            config.discriminator_reach,
        )
        self.negatives: Tensor
        self.noise: Tensor
        self.register_buffer("negatives", torch.zeros(config.negatives, self.length, dtype=torch.int32))
        self.register_buffer("noise", torch.randint(1 << 62, ()))  # the same on every process, differs with the seed
        self._read_noise: tuple[int, int] | None = None if self.noise.is_meta else (0, int(self.noise))

    def networks(self, config: Any, fields: Mapping[str, FieldSpec]) -> tuple[Any, Any]:
        """The generator and the rollout policy, which is not trained but follows the generator."""
        size = (vocabulary_size(fields), config.embedding, config.hidden, config.deviation)
        return LSTMGenerator(*size), LSTMGenerator(*size).requires_grad_(False)

    def players(self) -> dict[str, Player]:
        """Adam: learning rate 0.01 and clipping at 5 for the generator, 1e-4 for the discriminator (authors' code)."""
        return {
            "generator": Player(self.generator, Optimizer(lr=0.01, betas=(0.9, 0.999), clip_norm=5.0)),
            "discriminator": Player(self.discriminator, Optimizer(lr=1e-4, betas=(0.9, 0.999))),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """Maximum likelihood, then the discriminator alone, then both."""
        interval = self.config.generator_interval
        likelihood = Turn("generator", lambda batch: likelihood_terms(self.generator, batch, self.ends))
        judge = Turn("discriminator", lambda batch: self.classify(loss, batch))
        write = Turn(
            "generator",
            lambda batch: self.reinforce(loss, batch),
            every=interval,
            lazy=False,
            lr_scale=self.config.policy_rate,
            after=self.follow,
        )
        return [
            Phase("mle", [likelihood], 1_200_000, is_baseline=True),
            Phase("discriminator", [judge], 1_500_000),
            Phase("adversarial", [write, judge], 200 * 150_000),
        ]

    # The discriminator's update

    def classify(self, loss: Loss, batch: Batch) -> dict[str, Tensor]:
        """Discriminator loss: cross-entropy of real sequences and negatives, and decay of the last layer."""
        fake = self.negatives_for(batch)
        tokens = torch.cat([batch["tokens"].long(), fake.long()])
        dropout = batch.rng.rand(2, self.discriminator.features).transpose(0, 1).flatten(0, 1)
        real_scores, fake_scores = self.discriminator(tokens, dropout).chunk(2)
        terms = {"loss": 0.5 * loss.discriminator(real_scores, fake_scores).mean()}
        if self.config.decay:
            terms["decay"] = self.config.decay * self.discriminator.decay()
        correct = (real_scores > 0).float().mean() + (fake_scores < 0).float().mean()
        return terms | {"_accuracy": 0.5 * correct.detach()}

    @torch.no_grad()
    def negatives_for(self, batch: Batch) -> Tensor:
        """One negative per real sample; a new set of negatives is sampled after every `renew` real samples.

        The set depends only on the weights and the position, so that it is the same in every distributed process.
        """
        seen, share = batch.position, batch.rng.total
        if seen == 0 or seen // self.config.renew != (seen - share) // self.config.renew:
            source = torch.Generator().manual_seed(derive(self._noise(), "negatives", seen))
            uniforms = torch.rand(len(self.negatives), self.length, generator=source).to(self.negatives.device)
            drawn = self.generator.sample(uniforms, ends=self.ends, temperature=self.config.negatives_temperature)
            self.negatives.copy_(drawn)
        first = seen + batch.rng.start
        rows = torch.arange(first, first + batch.count, device=self.negatives.device) % len(self.negatives)
        return self.negatives[rows]

    def _noise(self) -> int:
        """The number `noise`; read once for each content of the buffer, since reading waits for the device."""
        known = self._read_noise
        if known is None or known[0] != self.noise._version:
            self._read_noise = known = (self.noise._version, int(self.noise))
        return known[1]

    # The generator's update

    def reinforce(self, loss: Loss, batch: Batch) -> dict[str, Tensor]:
        """Generator loss, REINFORCE (equation 8): minus the sum of reward · log-probability over all tokens."""
        config, length = self.config, self.length
        if batch.position == 0 and config.rollouts:
            self.rollout.load_state_dict(self.generator.state_dict())
        per_row = length + config.rollouts * (length * (length - 1) // 2)
        uniforms = batch.rng.rand(config.sequences, per_row).flatten(0, 1)
        tokens = self.generator.sample(uniforms[:, :length], ends=self.ends)
        real = batch["tokens"].repeat_interleave(config.sequences, 0) if loss.needs_real else None
        rewards = self.rewards(loss, tokens, uniforms[:, length:], real)
        mask = sequence_mask(lengths_of(tokens), length) if self.ends else torch.ones_like(rewards)
        advantage = rewards
        if config.baseline:
            advantage = rewards - (rewards * mask).sum(0) / mask.sum(0).clamp(min=1)
        # a sum, not a mean: the trainer averages over processes and micro-batches, which `total / count` undoes
        objective = self.generator.weighted_nll(tokens, advantage * mask) * (batch.rng.total / batch.count)
        spread = torch.where(mask.sum(0) > 1, rewards.std(0), torch.zeros_like(rewards[0])).mean()
        terms = {"loss": objective}
        if config.likelihood:
            terms["nll"] = config.likelihood * likelihood_terms(self.generator, batch, self.ends)["nll"]
        return terms | {"_reward": (rewards * mask).sum() / mask.sum(), "_reward_spread": spread}

    @torch.no_grad()
    def rewards(self, loss: Loss, tokens: Tensor, uniforms: Tensor, real: Tensor | None = None) -> Tensor:
        """``(N, T)`` tokens -> ``(N, T)``: the discriminator's score of each prefix, averaged over its completions.

        The last column is the score of the sequences themselves; without rollouts all columns are.
        """
        real_scores = None if real is None else self.discriminator(real)

        def value(scores: Tensor, rows: Tensor) -> Tensor:
            other = scores if real_scores is None else real_scores[rows]
            gain = -loss.generator(other, scores)
            return gain.exp() if self.config.reward == "probability" else gain

        last = value(self.discriminator(tokens), torch.arange(len(tokens), device=tokens.device))
        if not self.config.rollouts:
            return last[:, None].expand(-1, tokens.shape[1])
        wanted = self.config.rollout_precision
        half = wanted == "bf16" or (wanted == "auto" and has_bf16(tokens.device))
        dtype = torch.bfloat16 if half else torch.float32
        tables, head = self.discriminator.tables(tokens, dtype), self.discriminator.fixed_head(dtype)

        def judge(sequences: Tensor, rows: Tensor, t: int) -> Tensor:
            return value(head(tables.features(sequences, rows, t)), rows)

        inner = rollout_values(self.rollout, tokens, uniforms, judge, rollouts=self.config.rollouts, ends=self.ends)
        return torch.cat([inner, last[:, None]], 1)

    @torch.no_grad()
    def follow(self, batch: Batch) -> None:
        """Move the rollout policy towards the generator; the word embeddings are copied (the authors' rollout.py)."""
        if not self.config.rollouts:
            return
        generator = dict(self.generator.named_parameters())
        for name, weight in self.rollout.named_parameters():
            if name == "embedding":
                weight.copy_(generator[name])
            else:
                weight.lerp_(generator[name], 1 - self.config.rollout_rate)

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` sequences of T tokens, padded with 0."""
        return sample_lstm(self.generator, count, rng, request, self.field, self.ends)

    def nll(self, samples: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of the given texts in nats, and their token counts."""
        return sequence_nll(self.generator, samples["tokens"].long(), samples["length"], self.ends)
