"""RelGAN: a text GAN trained by backpropagation through Gumbel-softmax samples, without rollouts.

Nie, Narodytska, Patel: RelGAN: Relational Generative Adversarial Networks for Text Generation, ICLR 2019,
https://openreview.net/forum?id=rJedV3R5tm. The generator is a relational memory (Santoro et al. 2018,
https://arxiv.org/abs/1806.01822), the discriminator reads a text through many one-dimensional embeddings, and the loss
is relativistic (`relativistic-pairing` of the core).

Shapes: N sequences, T tokens, V words, S memory slots, M memory width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from gan import game
from gan.adversarial import adversarial_turns
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.game import Batch, Optimizer, Phase, Player, Turn
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from gan_text.data.fields import START, ends_early, vocabulary_size
from gan_text.networks.likelihood import weighted_nll
from gan_text.networks.lstm import lengths_of, sequence_mask
from gan_text.sampling import SamplingOptions, choose, filters, options_of, prompt_tokens, text_length


class RelationalMemory(nn.Module):
    """A recurrent memory whose slots attend to each other and to the input at every step."""

    def __init__(self, inputs: int, slots: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.slots, self.heads, self.head_width = slots, heads, head_width
        self.width = heads * head_width
        self.embed = nn.Linear(inputs, self.width)
        self.query_key_value = nn.Linear(self.width, 3 * self.width)
        self.norm_attention_input = nn.LayerNorm([slots + 1, 3 * self.width])
        self.norm_attention = nn.LayerNorm([slots + 1, self.width])
        self.mix = nn.Linear(self.width, self.width)  # used twice in a row
        self.norm_mix = nn.LayerNorm([slots + 1, self.width])
        self.input_gates = nn.Linear(self.width, 2 * self.width)
        self.memory_gates = nn.Linear(self.width, 2 * self.width)
        self.forget_bias = nn.Parameter(torch.ones(()))
        self.input_bias = nn.Parameter(torch.zeros(()))

    def initial(self, count: int) -> Tensor:
        """``(N, S, M)``: distinct slots, which are rows of the identity matrix."""
        eye = torch.eye(self.slots, self.width, device=self.embed.weight.device)
        return eye.expand(count, self.slots, self.width)

    def forward(self, inputs: Tensor, memory: Tensor) -> Tensor:
        """``(N, E), (N, S, M) -> (N, S, M)``: the next memory, which is also the output of the step."""
        embedded = self.embed(inputs)[:, None]  # (N, 1, M)
        rows = torch.cat([memory, embedded], 1)
        rows = self.norm_attention(rows + self._attend(rows))
        mixed = F.relu(self.mix(F.relu(self.mix(rows))))
        candidate = self.norm_mix(rows + mixed)[:, : self.slots]
        gates = self.memory_gates(torch.tanh(memory)) + self.input_gates(embedded)
        enter, forget = gates.chunk(2, 2)
        enter = torch.sigmoid(enter + self.input_bias)
        return enter * torch.tanh(candidate) + torch.sigmoid(forget + self.forget_bias) * memory

    def _attend(self, rows: Tensor) -> Tensor:
        count, length, _ = rows.shape
        projected = self.norm_attention_input(self.query_key_value(rows))
        projected = projected.view(count, length, self.heads, 3 * self.head_width).transpose(1, 2)
        query, key, value = projected.chunk(3, 3)
        found = F.scaled_dot_product_attention(query, key, value)  # (N, heads, S + 1, head width)
        return found.transpose(1, 2).reshape(count, length, self.width)


def _draw(weight: Tensor, variance: float) -> None:
    """Initialize from a normal distribution truncated at two standard deviations, as in the authors' code."""
    deviation = variance**0.5
    nn.init.trunc_normal_(weight, 0.0, deviation, -2 * deviation, 2 * deviation)


class Generator(nn.Module):
    """Embedding, relational memory, softmax layer: 4,853,386 parameters at V=5000."""

    def __init__(self, words: int, embedding: int, slots: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.words = words
        self.embedding = nn.Embedding(words, embedding)
        self.memory = RelationalMemory(embedding, slots, heads, head_width)
        self.output = nn.Linear(slots * self.memory.width, words)
        for parameter in self.parameters():
            if parameter.ndim > 0:
                _draw(parameter, 1 / parameter.shape[0])
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()

    def step(self, tokens: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """``(N,)`` tokens and ``(N, S, M)`` -> ``(N, V)`` logits of the next token and the next memory."""
        memory = self.memory(self.embedding(tokens), memory)
        return self.output(memory.flatten(1)), memory

    def hidden_states(self, tokens: Tensor) -> Tensor:
        """``(N, T)`` -> ``(N, T, S M)``: the memory that predicts each token given those before it."""
        before = F.pad(tokens[:, :-1].long(), (1, 0), value=START)
        memory, found = self.memory.initial(len(tokens)), []
        for word in self.embedding(before).unbind(1):
            memory = self.memory(word, memory)
            found.append(memory.flatten(1))
        return torch.stack(found, 1)

    def relaxed(self, rng: Draws, length: int, sharpness: float, *, ends: bool = False) -> Tensor:
        """Sample relaxed texts, ``(N, T, V)``: softmax((logits + Gumbel noise) · sharpness) at each of `length` tokens.

        The input of each step is the argmax of the noisy logits of the step before (equation 4 and section 2.2). With
        `ends`, a text ends at its first 0: it takes no further steps and is padded with 0.
        """
        places = torch.arange(rng.count, device=rng.device)  # the texts that have not ended
        tokens, memory = torch.full_like(places, START), self.memory.initial(rng.count)
        found, found_at = [], []
        # which texts go on is not read where that would wait: they all do, and what follows an end is replaced
        masked, ended = game.asynchronous(rng.device), torch.zeros_like(places, dtype=torch.bool)[:, None]
        padding = (torch.arange(self.words, device=rng.device) == 0).to(memory.dtype)
        for t in range(length):
            logits, memory = self.step(tokens, memory)
            uniforms = rng.rand(self.words)[places].clamp_(1e-20, 1 - 1e-7)
            noisy = logits - uniforms.log_().neg_().log_()
            tokens = noisy.detach().argmax(1)
            found.append(torch.softmax(noisy * sharpness, 1))
            found_at.append(places * length + t)
            if ends and masked:
                found[-1] = torch.where(ended, padding, found[-1])
                ended = ended | (tokens == 0)[:, None]
            elif ends:
                going = tokens.nonzero()[:, 0]
                places, tokens, memory = places[going], tokens[going], memory[going]
        texts = found[0].new_zeros(rng.count * length, self.words)
        texts[:, 0] = 1
        return texts.index_copy_(0, torch.cat(found_at), torch.cat(found)).view(-1, length, self.words)


class Discriminator(nn.Module):
    """Convolutions shared by many one-dimensional embeddings of a text: 1,886,801 parameters at V=5000."""

    def __init__(self, words: int, representations: int, widths: list[int], filters: int, keep: float) -> None:
        super().__init__()
        self.keep = keep
        self.embedding = nn.Linear(words, representations, bias=False)
        convolutions = [nn.Conv1d(1, filters, width) for width in widths]
        self.convolutions = nn.ModuleList(convolutions)
        features = filters * len(widths)
        self.highway = nn.Linear(features, features)
        self.hidden = nn.Linear(features, 100)
        self.output = nn.Linear(100, 1)
        for layer in (self.embedding, self.highway, self.hidden, self.output):
            _draw(layer.weight, 1 / layer.in_features)
        for convolution in convolutions:
            _draw(convolution.weight, 2 / convolution.kernel_size[0])
        biased: list[nn.Conv1d | nn.Linear] = [*convolutions, self.highway, self.hidden, self.output]
        for part in biased:
            nn.init.zeros_(
                cast(Tensor, part.bias)
            )  # word vectors start at 1 / √V, which a bias of the usual size would hide

    def forward(self, texts: Tensor) -> Tensor:
        """``(N, T, V)`` probabilities or ``(N, T)`` tokens -> ``(N,)`` scores, the mean over the representations."""
        if texts.is_floating_point():
            embedded = self.embedding(texts)  # (N, T, R)
        else:
            embedded = F.embedding(texts, self.embedding.weight.T)
        rows = embedded.transpose(1, 2).flatten(0, 1)  # (N R, T)
        convolutions = cast("Iterable[nn.Conv1d]", self.convolutions)
        features = torch.cat([F.relu(largest(rows, convolution)) for convolution in convolutions], 1)
        moved = self.highway(features)
        carry = torch.sigmoid(moved)
        features = carry * F.relu(moved) + (1 - carry) * features
        features = F.dropout(features, 1 - self.keep, self.training)
        scores: Tensor = self.output(self.hidden(features))
        return scores.view(len(texts), -1).mean(1)


def largest(rows: Tensor, convolution: nn.Conv1d) -> Tensor:
    """``(M, T) -> (M, F)``: the maximum response of each filter over time.

    Only the position of the maximum is computed with gradients, which halves the time.
    """
    with torch.no_grad():
        places = convolution(rows[:, None]).argmax(2)
    taps = convolution.weight[:, 0].unbind(1)
    assert convolution.bias is not None
    return sum((rows.gather(1, places + j) * tap for j, tap in enumerate(taps)), start=convolution.bias)


class RelGAN(nn.Module):
    """Two phases: ``mle`` (150 epochs in the paper) and ``adversarial`` (3,000 rounds, five critic updates each)."""

    class Config(BaseModel):
        """Settings of RelGAN; the defaults are the authors'."""

        model_config = ConfigDict(extra="forbid")

        embedding: int = Field(32, gt=0, description="Width of the generator's word vectors.")
        slots: int = Field(1, gt=0, description="Slots of the relational memory.")
        heads: int = Field(2, gt=0, description="Attention heads of the memory.")
        head_width: int = Field(256, gt=0, description="Width of a head; a slot has heads · head_width values.")
        representations: int = Field(64, gt=0, description="Number of one-dimensional embeddings in the discriminator.")
        widths: list[int] = Field(
            [2, 3, 4, 5], min_length=1, description="Widths of the discriminator's convolutions, in tokens."
        )
        filters: int = Field(300, gt=0, description="Number of filters of each width.")
        keep: float = Field(0.75, gt=0, le=1, description="Share of the discriminator's features that dropout keeps.")
        sharpness: float = Field(
            100.0, ge=1, description="Inverse temperature of the relaxed samples at the end of the adversarial phase."
        )
        first_sharpness: float = Field(
            1.0,
            ge=1,
            description="Inverse temperature at the start of the adversarial phase; it changes exponentially.",
        )
        critic_repeats: int = Field(5, gt=0, description="Discriminator updates for each generator update.")
        mle_rate: float = Field(
            100.0,
            gt=0,
            description="Learning rate of the maximum-likelihood phase, as a multiple of the adversarial phase's.",
        )

    Options = SamplingOptions
    generation_batch = 64

    def __init__(self, config: Config, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        self.config = config
        self.field = fields["tokens"]
        self.length = self.field.shape[0]
        self.ends = ends_early(fields)
        self.words = vocabulary_size(fields)
        self.generator = Generator(self.words, config.embedding, config.slots, config.heads, config.head_width)
        self.discriminator = Discriminator(
            self.words, config.representations, config.widths, config.filters, config.keep
        )

    def players(self) -> dict[str, Player]:
        """Adam with learning rate 1e-4 (times `mle_rate` for maximum likelihood) and clipping at 5 for both."""
        return {
            "generator": Player(self.generator, Optimizer(lr=1e-4, betas=(0.9, 0.999), clip_norm=5.0)),
            "discriminator": Player(self.discriminator, Optimizer(lr=1e-4, betas=(0.9, 0.999), clip_norm=5.0)),
        }

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """Maximum likelihood, 150 epochs of 10,000 texts; then 3,000 rounds with five batches of 64."""
        repeats = self.config.critic_repeats
        turns = adversarial_turns(
            loss,
            penalties,
            real=self.one_hot if penalties else self.tokens,
            fake=self.fake,
            critic=self.discriminator,
            critic_repeats=repeats,
        )
        likelihood = Turn("generator", self.likelihood, lr_scale=self.config.mle_rate)
        return [
            Phase("mle", [likelihood], 1_500_000, is_baseline=True),
            Phase("adversarial", turns, 3_000 * repeats * 64, reset_optimizers=True),
        ]

    def tokens(self, batch: Batch) -> Tensor:
        """Real texts, ``(N, T)``."""
        return batch["tokens"].long()

    def one_hot(self, batch: Batch) -> Tensor:
        """Real texts as the discriminator sees them, ``(N, T, V)``."""
        return F.one_hot(batch["tokens"].long(), self.words).float()

    def fake(self, batch: Batch) -> Tensor:
        """Relaxed samples, ``(N, T, V)``; where texts may end early, they are padded with 0."""
        first, last = self.config.first_sharpness, self.config.sharpness
        sharpness = first * (last / first) ** batch.progress
        return self.generator.relaxed(batch.rng, self.length, sharpness, ends=self.ends)

    def nll(self, samples: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of the given texts in nats, and their token counts with the end: ``(N,), (N,)``."""
        tokens = samples["tokens"].long()
        logits = self.generator.output(self.generator.hidden_states(tokens))
        nll = F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), reduction="none").view(tokens.shape)
        mask = sequence_mask(samples["length"], self.length) if self.ends else torch.ones_like(nll)
        return (nll * mask).sum(1), mask.sum(1)

    def likelihood(self, batch: Batch) -> dict[str, Tensor]:
        """Mean nats per token of a batch of real texts."""
        tokens = batch["tokens"].long()
        hidden = self.generator.hidden_states(tokens)
        output = self.generator.output
        if self.ends and game.asynchronous(tokens.device):
            mask = sequence_mask(batch["length"], self.length)
            weights = (mask / mask.sum()).flatten()
        else:
            if self.ends:  # only what counts; how much that is must be read
                counted = sequence_mask(batch["length"], self.length).bool()
                hidden, tokens = hidden[counted], tokens[counted]
            weights = hidden.new_full((tokens.numel(),), 1 / tokens.numel())
        hidden, tokens = hidden.flatten(0, -2), tokens.flatten()
        return {"nll": weighted_nll(hidden, output.weight.T, output.bias, tokens, weights)}

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """Generate `count` texts, padded with 0."""
        options = options_of(request)
        prompt = prompt_tokens(options, self.field)
        length = text_length(options, self.field, prompt)
        uniforms, processors = rng.rand(self.length), filters(options)
        tokens = torch.zeros(count, self.length, dtype=torch.int64, device=rng.device)
        previous, memory = torch.full((count,), START, device=rng.device), self.generator.memory.initial(count)
        alive = torch.ones(count, dtype=torch.int64, device=rng.device)
        for t in range(length):
            logits, memory = self.generator.step(previous, memory)
            if t < len(prompt):
                previous = torch.full_like(previous, prompt[t])
            else:
                if request.mark is not None:
                    logits = request.mark.embed(logits, previous=previous)
                drawn = choose(processors(None, logits), uniforms[:, t])
                previous = drawn * alive if self.ends else drawn
                alive = alive * (previous != 0)
            tokens[:, t] = previous
        lengths = lengths_of(tokens) if self.ends else torch.full((count,), length, device=rng.device)
        return {"tokens": tokens.to(getattr(torch, self.field.dtype)), "length": lengths.to(torch.int32)}
