"""Vector quantisation by codebooks that are learned as moving averages, in one stage or in several on residuals.

van den Oord et al. 2017, arXiv:1711.00937, appendix A.1 (averages); Dhariwal et al. 2020, arXiv:2005.00341, section 3.1
(codes that are hardly used become random vectors of the batch); Zeghidour et al. 2021, arXiv:2107.03312 (residual
stages, of which a sample may use fewer).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from gan.draws import Draws
from gan.game import Batch
from torch import Tensor, nn
from torch.nn.functional import embedding

SMOOTHING = 1e-5
"""Laplace smoothing of the counts, EnCodec's ε."""


@dataclass(frozen=True)
class Quantised:
    """What a quantiser makes of vectors ``(N, size, T)``."""

    vectors: Tensor
    """Sums of codes, ``(N, size, T)``; their gradient is passed on to the vectors unchanged."""
    codes: Tensor
    """``(N, stages, T)`` int64; -1 in stages that a sample does not use."""
    commitment: Tensor
    """Squared distance of residuals and codes by element, summed over the stages that a sample uses, mean over
    samples."""


class Codebooks(nn.Module):
    """`stages` codebooks of `codes` vectors ``(size,)`` each; the first quantises vectors, each further one residuals.

    Counts and sums are averaged with `decay` for each update, and a code is their ratio. A code that is used less than
    `least` times an update, or less than ``1 / rarest`` of even use in small batches, becomes a random vector of the
    batch. So do all codes in the first update: until then there are none, and `ready` is false.
    """

    vectors: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, stages: int, codes: int, size: int, *, least: float, rarest: float, decay: float = 0.99) -> None:
        super().__init__()
        self.stages, self.codes, self.size = stages, codes, size
        self.least, self.rarest, self.decay = least, rarest, decay
        self.register_buffer("vectors", torch.zeros(stages, codes, size))
        self.register_buffer("counts", torch.zeros(stages, codes))
        self.register_buffer("sums", torch.zeros(stages, codes, size))

    def ready(self, batch: Batch | None = None) -> Tensor:
        """A boolean scalar: whether the codebooks have been learned from a batch; for `gan.game.Turn.when`."""
        return self.counts.sum() > 0

    def nearest(self, stage: int, vectors: Tensor) -> Tensor:
        """``(M, size) -> (M,)``: the nearest codes of a stage."""
        codes = self.vectors[stage]
        return torch.addmm(codes.square().sum(1), vectors, codes.T, beta=1, alpha=-2).argmin(1)

    def forward(self, vectors: Tensor, stages: Tensor | int | None = None) -> Quantised:
        """Quantise ``(N, size, T)`` by the first `stages`, a number or one for each sample ``(N,)``; None: all."""
        with torch.autocast(vectors.device.type, enabled=False):
            count, _, length = vectors.shape
            flat = vectors.float().transpose(1, 2).reshape(-1, self.size)
            most = stages if isinstance(stages, int) else self.stages
            used = torch.full((count,), most, device=flat.device) if not isinstance(stages, Tensor) else stages
            used = used.repeat_interleave(length)
            residual, total = flat, torch.zeros_like(flat)
            found, commitment = [], flat.new_zeros(())
            for stage in range(most):
                with torch.no_grad():
                    chosen = self.nearest(stage, residual)
                    is_used = (used > stage)[:, None]
                    code = embedding(chosen, self.vectors[stage]) * is_used
                commitment = commitment + ((residual - code) * is_used).square().mean()
                residual, total = residual - code, total + code
                found.append(torch.where(is_used[:, 0], chosen, -1).view(count, length))
            through = flat + (total - flat).detach()
            back = through.view(count, length, self.size).transpose(1, 2)
            return Quantised(back, torch.stack(found, 1), commitment)

    def decode(self, codes: Tensor) -> Tensor:
        """``(N, stages, T)`` codes, -1: none -> the sums of their vectors, ``(N, size, T)``."""
        parts = [
            embedding(codes[:, stage].clamp(min=0), self.vectors[stage]) * (codes[:, stage] >= 0)[..., None]
            for stage in range(codes.shape[1])
        ]
        return torch.stack(parts).sum(0).transpose(1, 2)

    def observe(self, batch: Batch, vectors: Tensor, stages: Tensor | None = None, name: str = "vectors") -> None:
        """Let `learn` see the vectors ``(N, size, T)`` of this batch, and how many stages each sample uses."""
        first, total = batch.rng.start, batch.rng.total
        rows = vectors.detach().float().transpose(1, 2)
        whole = rows.new_zeros(total, *rows.shape[1:])
        whole[first : first + len(rows)] = rows
        used = rows.new_zeros(total)
        used[first : first + len(rows)] = self.stages if stages is None else stages.to(used.dtype)
        batch.observe(name, whole)
        batch.observe(f"{name}.stages", used)

    @torch.no_grad()
    def learn(self, observed: Mapping[str, Tensor], rng: Draws, name: str = "vectors") -> None:
        """Update all stages from the vectors of a whole batch; called once for each update (`gan.game.Turn.learn`)."""
        rows = observed[name]
        residual = rows.reshape(-1, self.size)
        stages = observed[f"{name}.stages"].round().repeat_interleave(rows.shape[1])
        keys = rng.rand(rows.shape[1]).flatten()
        for stage in range(self.stages):
            is_used = (stages > stage).to(residual.dtype)
            even = is_used.sum() / self.codes
            self._revive(stage, residual, keys - 2 * is_used, even)
            chosen = self.nearest(stage, residual)
            counts = torch.zeros_like(self.counts[stage]).index_add_(0, chosen, is_used)
            sums = torch.zeros_like(self.sums[stage]).index_add_(0, chosen, residual * is_used[:, None])
            code = embedding(chosen, self.vectors[stage])
            self.counts[stage].lerp_(counts, 1 - self.decay)
            self.sums[stage].lerp_(sums, 1 - self.decay)
            total = self.counts[stage].sum()
            smooth = (self.counts[stage] + SMOOTHING) / (total + self.codes * SMOOTHING) * total
            self.vectors[stage] = torch.where(smooth[:, None] > 0, self.sums[stage] / smooth[:, None], 0.0)
            residual = residual - code * is_used[:, None]

    def _revive(self, stage: int, vectors: Tensor, keys: Tensor, even: Tensor) -> None:
        """Replace codes that are hardly used by the vectors with the smallest keys. They count as used the least, so
        that codes which nothing is near to are replaced in every update, as the vectors move away from them."""
        order = keys.argsort()
        if len(order) < self.codes:  # vectors repeat, and are moved apart a little
            repeats = -(-self.codes // len(order))
            number = torch.arange(repeats, device=order.device, dtype=vectors.dtype).repeat_interleave(len(order))
            scale = 1 + 0.01 * number[: self.codes, None] / self.size**0.5
            candidates = vectors[order.repeat(repeats)[: self.codes]] * scale
        else:
            candidates = vectors[order[: self.codes]]
        least = torch.minimum(torch.full_like(even, self.least), even / self.rarest)
        dead = (self.counts[stage] < least) & (even > 0)
        self.counts[stage] = torch.where(dead, least, self.counts[stage])
        self.vectors[stage] = torch.where(dead[:, None], candidates, self.vectors[stage])
        self.sums[stage] = torch.where(dead[:, None], candidates * least, self.sums[stage])


def code_statistics(codes: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Of codes ``(…,)`` from 0 … `number` - 1 (-1: none): the share of codes that occur, and their entropy in bits."""
    counts = torch.bincount(codes[codes >= 0].flatten(), minlength=number).double()
    shares = counts / counts.sum().clamp_min(1)
    return (counts > 0).double().mean(), torch.special.entr(shares).sum() / torch.log(torch.tensor(2.0))
