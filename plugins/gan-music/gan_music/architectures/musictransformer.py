"""An autoregressive transformer over note events: the baseline for the adversarial networks.

Huang et al., Music Transformer, 2019, arXiv:1809.04281, with the learned positions of a GPT (Radford et al. 2019),
since four bars do not need relative attention. The events are those of REMI (Huang and Yang 2020, arXiv:2002.00212)
extended to several tracks: ``bar``, ``position``, then for each note that begins there ``track and pitch`` and
``length``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gan import game
from gan.contracts import FieldSpec, Loss, Penalty, Request
from gan.draws import Draws
from gan.errors import UsageError
from gan.game import Batch, Optimizer, Phase, Player, Turn
from gan.recipe import Section
from pydantic import BaseModel, Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, pad, scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence

from gan_music import rolls
from gan_music.rolls import BEGINS

CHECKED = 32
"""Tokens after which it is looked whether all phrases have ended: on an accelerator each look waits for it."""


class TransformerConfig(Section):
    """Sizes of the network."""

    width: int = Field(128, ge=8, description="Length of the embedding of a token.")
    layers: int = Field(4, ge=1, description="Number of transformer blocks.")
    heads: int = Field(4, ge=1, description="Attention heads; must divide the width.")
    context: int = Field(512, ge=16, description="Maximum length of a sequence in tokens; longer phrases are cut off.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout rate in training.")


class TransformerOptions(BaseModel):
    """Options of one call of `generate`."""

    model_config = {"extra": "forbid"}

    temperature: float = Field(
        1.0, ge=0.01, le=10, description="Sampling temperature; below 1 more predictable, above 1 more varied."
    )
    top_p: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Nucleus sampling: only the most likely tokens that together have this probability.",
    )


class Events:
    """Encodes rolls as sequences of tokens, and decodes them. Encoding is lossless within the context length."""

    END, BEGIN, BAR = 0, 1, 2

    def __init__(self, shape: tuple[int, ...], *, begins: bool = False) -> None:
        self.begins = begins
        """Whether rolls mark the beginnings of notes."""
        self.tracks, self.bars, self.steps, self.pitches = shape
        self.longest = self.bars * self.steps
        self.position = 3
        self.note = self.position + self.steps
        self.length = self.note + self.tracks * self.pitches
        self.count = self.length + self.longest
        """Tokens: end, begin, bar; positions; notes; lengths."""
        kinds = np.zeros(self.count, np.int64)  # 0 end, 1 begin, 2 bar, 3 position, 4 note, 5 length
        kinds[1:3] = [1, 2]
        kinds[self.position : self.note], kinds[self.note : self.length], kinds[self.length :] = 3, 4, 5
        self.kinds = kinds
        follows = np.zeros((6, 6), bool)
        follows[1, [0, 2]] = True
        follows[2, [0, 2, 3]] = True
        follows[3, 4] = True
        follows[4, 5] = True
        follows[5, [0, 2, 3, 4]] = True
        self.allowed = follows[:, kinds]
        """``(kind, token)`` bool: whether a token may follow a token of that kind."""

    def encode(self, roll: np.ndarray[Any, Any]) -> list[int]:
        """``(track, bar, step, pitch)`` -> tokens from `BEGIN` to `END`."""
        notes = []
        for track in range(self.tracks):
            row, start, end = rolls.runs(roll[track].reshape(-1, self.pitches))
            notes += [(s, track, r, e - s) for r, s, e in zip(row.tolist(), start.tolist(), end.tolist())]
        tokens, bar, now = [self.BEGIN], -1, -1
        for start, track, row, length in sorted(notes):
            while bar < start // self.steps:
                tokens.append(self.BAR)
                bar, now = bar + 1, -1
            if start != now:
                tokens.append(self.position + start % self.steps)
                now = start
            tokens += [self.note + track * self.pitches + row, self.length + length - 1]
        return [*tokens, self.END]

    def encode_batch(self, rolls: Tensor, longest: int) -> Tensor:
        """``(N, track, bar, step, pitch)`` -> ``(N, longest)``: what `encode` gives, padded with -1.

        Without a loop over notes, and without reading a number on the host. Every possible token has a place in a row
        (for each step: bar, position, then note and length of each track and pitch), and those that are there are moved
        together.
        """
        count, steps, device = len(rolls), self.bars * self.steps, rolls.device
        cells = rolls.transpose(1, 2).transpose(2, 3).reshape(count, steps, -1)  # (N, step, track · pitch)
        line = cells > 0
        begins = line.clone()
        begins[:, 1:] &= ~line[:, :-1] | (cells[:, 1:] == BEGINS)
        times = torch.arange(steps, device=device)[:, None]
        over = torch.where(line & ~begins, steps, times)  # silence or a new note, the next by a minimum from the end
        ends = over.flip(1).cummin(1).values.flip(1)
        ends = pad(ends[:, 1:], (0, 0, 0, 1), value=steps)  # the next after the step itself
        notes = self.note + torch.arange(line.shape[2], device=device).expand_as(line)
        lengths = self.length + (ends - times - 1).clamp(min=0)
        pairs = torch.stack([notes, lengths], 3).flatten(2)  # (N, step, 2 · track · pitch)
        there = begins.repeat_interleave(2, 2)
        plays = begins.any(2, keepdim=True)  # (N, step, 1)
        left = plays.flip(1).cummax(1).values.flip(1) & (times % self.steps == 0)  # a note begins in this bar or later
        position = (self.position + times % self.steps).expand_as(plays)
        tokens = torch.cat([torch.full_like(position, self.BAR), position, pairs], 2).flatten(1)
        there = torch.cat([left, plays, there], 2).flatten(1)
        place = there.long().cumsum(1)  # from 1 on, behind BEGIN
        total = place[:, -1:]
        place = torch.where(there, place, longest).clamp(max=longest)  # the last column is cut off
        found = torch.full((count, longest + 1), -1, dtype=torch.long, device=device)
        found.scatter_(1, place, tokens)
        found.scatter_(1, (total + 1).clamp(max=longest), self.END)
        found[:, 0] = self.BEGIN
        return found[:, :longest]

    def decode(self, tokens: list[int]) -> np.ndarray[Any, Any]:
        """Tokens -> ``(track, bar, step, pitch)``; tokens that make no note are skipped."""
        line = np.zeros((self.tracks, self.bars * self.steps, self.pitches), np.uint8 if self.begins else bool)
        bar, start, note = -1, 0, None
        for token in tokens:
            kind = self.kinds[token]
            if kind == 0:
                break
            if kind == 2:
                bar += 1
            elif kind == 3:
                start = max(bar, 0) * self.steps + token - self.position
            elif kind == 4:
                note = divmod(token - self.note, self.pitches)
            elif kind == 5 and note is not None and bar < self.bars:
                end = start + token - self.length + 1
                if self.begins:  # a note ends where the next of its pitch begins
                    struck = np.flatnonzero(line[note[0], start:end, note[1]] == BEGINS)
                    end = start + int(struck[0]) if len(struck) else end
                line[note[0], start:end, note[1]] = 1
                if self.begins:
                    line[note[0], start, note[1]] = BEGINS
        return line.reshape(self.tracks, self.bars, self.steps, self.pitches)


Cache = tuple[Tensor, Tensor]
"""Keys and values of one block for the tokens so far."""


class Block(nn.Module):
    """Causal self-attention, then a perceptron, each with layer normalisation before it and a residual connection."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.dropout = config.heads, config.dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.gather = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, past: Cache | None = None) -> tuple[Tensor, Cache]:
        """``(N, time, width)`` and the cached keys and values -> the same shape, and the extended cache."""
        query, key, value = (
            part.view(*part.shape[:2], self.heads, -1).transpose(1, 2)
            for part in self.attend(self.norm1(x)).chunk(3, 2)
        )
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        rate = self.dropout if self.training else 0.0
        seen = scaled_dot_product_attention(query, key, value, dropout_p=rate, is_causal=past is None)
        x = x + self.drop(self.gather(seen.transpose(1, 2).flatten(2)))
        return x + self.drop(self.narrow(gelu(self.wide(self.norm2(x))))), (key, value)


class Network(nn.Module):
    """Scores of the next token; input and output share one embedding table."""

    def __init__(self, tokens: int, config: TransformerConfig) -> None:
        super().__init__()
        self.token = nn.Embedding(tokens, config.width)
        self.place = nn.Embedding(config.context, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                scale = 0.02 / (2 * config.layers) ** 0.5 if name.endswith(("gather.weight", "narrow.weight")) else 0.02
                nn.init.normal_(parameter, std=scale)

    def forward(self, tokens: Tensor, past: list[Cache] | None = None) -> tuple[Tensor, list[Cache]]:
        """``(N, time)`` -> ``(N, time, tokens)`` and the cache for the next call."""
        begin = 0 if past is None else past[0][0].shape[2]
        x = self.token(tokens) + self.place.weight[begin : begin + tokens.shape[1]]
        now: list[Cache] = []
        for index, block in enumerate(self.blocks):
            x, kept = block(x, None if past is None else past[index])
            now.append(kept)
        return self.norm(x) @ self.token.weight.t(), now


class MusicTransformer(nn.Module):
    """A game with one player that maximises the likelihood of the next event."""

    Config = TransformerConfig
    Options = TransformerOptions
    allowed: Tensor
    kinds: Tensor

    def __init__(self, config: TransformerConfig, fields: Mapping[str, FieldSpec]) -> None:
        super().__init__()
        if config.width % config.heads:
            raise UsageError(f"model.heads {config.heads} does not divide model.width {config.width}")
        self.config = config
        self.events = Events(fields["roll"].shape, begins="onset" in fields)
        self.network = Network(self.events.count, config)
        self.register_buffer("allowed", torch.from_numpy(self.events.allowed), persistent=False)
        self.register_buffer("kinds", torch.from_numpy(self.events.kinds), persistent=False)

    def players(self) -> dict[str, Player]:
        """The only player: the model (its weights are averaged)."""
        optimizer = Optimizer(
            name="adamw", lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, clip_norm=1.0, schedule="cosine", final=0.1
        )
        return {"model": Player(self.network, optimizer, average=True)}

    def phases(self, loss: Loss, penalties: Mapping[str, Penalty]) -> list[Phase]:
        """One phase of maximum likelihood; the adversarial loss of the recipe is not used."""
        return [Phase("maximum-likelihood", [Turn("model", self._likelihood)])]

    def _likelihood(self, batch: Batch) -> dict[str, Tensor]:
        """Mean of -log p(token) over the tokens of the batch, in nats."""
        roll, longest = batch["roll"], self.config.context + 1
        if self.events.begins:
            roll = roll.to(torch.uint8) + batch["onset"]
        if game.asynchronous(roll.device):
            tokens = self.events.encode_batch(roll, longest)
        else:  # a loop over notes is the fastest, and there is nothing to wait for
            sequences = [torch.tensor(self.events.encode(one)[:longest]) for one in roll.numpy()]
            tokens = pad_sequence(sequences, batch_first=True, padding_value=-1)
        scores, _ = self.network(tokens[:, :-1].clamp(min=0))
        return {"loss": cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=-1)}

    def generate(self, count: int, rng: Draws, request: Request) -> dict[str, Tensor]:
        """``roll`` and perhaps ``onset``, ``(count, track, bar, step, pitch)`` bool, sampled event by event."""
        options = request.options if isinstance(request.options, TransformerOptions) else TransformerOptions()
        chance = rng.rand(self.config.context)
        device = chance.device
        tokens = torch.full((count, 1), self.events.BEGIN, device=device)
        written = [tokens]
        bars = torch.zeros(count, dtype=torch.long, device=device)
        past: list[Cache] | None = None
        done = torch.zeros(count, dtype=torch.bool, device=device)
        for step in range(self.config.context - 1):
            scores, past = self.network(tokens, past)
            may = self.allowed[self.kinds[tokens[:, 0]]]
            may[:, self.events.BAR] &= bars < self.events.bars
            probability = torch.softmax((scores[:, -1] / options.temperature).masked_fill(~may, -torch.inf), 1)
            tokens = choose(probability, chance[:, step], options.top_p)[:, None]
            tokens = tokens.masked_fill(done[:, None], self.events.END)
            done |= tokens[:, 0] == self.events.END
            bars += tokens[:, 0] == self.events.BAR
            written.append(tokens)
            if (device.type == "cpu" or step % CHECKED == CHECKED - 1) and bool(done.all()):
                break
            tokens = tokens.masked_fill(done[:, None], self.events.BEGIN)  # further tokens of finished rows are ignored
        rolls_ = [self.events.decode(row) for row in torch.cat(written, 1).tolist()]
        return {name: torch.from_numpy(values).to(device) for name, values in rolls.fields_of(np.stack(rolls_)).items()}


def choose(probability: Tensor, chance: Tensor, top_p: float) -> Tensor:
    """Nucleus sampling: ``(N, tokens)`` and ``(N,)`` from U[0, 1) -> ``(N,)``.

    Among the most likely tokens that together have the probability `top_p`, it is the one at which the cumulative
    probability exceeds `chance`.
    """
    sorted_, order = probability.sort(dim=1, descending=True, stable=True)
    total = sorted_.cumsum(1)
    kept = total - sorted_ < top_p
    sorted_ = sorted_ * kept
    total = sorted_.cumsum(1)
    index = torch.searchsorted(total, (chance * total[:, -1])[:, None], right=True).clamp(max=int(order.shape[1]) - 1)
    index = torch.minimum(index, (kept & (sorted_ > 0)).sum(1, keepdim=True) - 1)
    return order.gather(1, index)[:, 0]
