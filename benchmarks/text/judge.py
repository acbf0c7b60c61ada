"""Can texts be told from real ones? A discriminator that is trained afterwards, on fresh texts.

Three small convolutional networks (words or characters; windows of one to four, their maximum over time) learn real
texts of the training and generated ones apart, and then judge unseen ones of both kinds: the area under the curve is
0.5 where nothing tells them apart, and a temperature that makes texts too sure or too wild raises it alike.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

FILTERS = ((1, 32), (2, 64), (3, 64), (4, 64))
"""(width in tokens, number) of the filters."""
EMBEDDING = 48
NETWORKS, UPDATES, BATCH = 3, 300, 64
KEPT = 1000
"""Generated texts that are judged and not learned."""


class Judge(nn.Module):
    """``(N, T)`` tokens -> ``(N,)`` scores; larger for real texts."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, EMBEDDING)
        nn.init.normal_(self.embedding.weight, 0.0, 0.1)
        self.filters = nn.ModuleList([nn.Conv1d(EMBEDDING, number, width) for width, number in FILTERS])
        self.score = nn.Linear(sum(number for _, number in FILTERS), 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        read = F.dropout(self.embedding(tokens), 0.25, self.training).transpose(1, 2)
        found = torch.cat([F.relu(layer(read)).amax(2) for layer in self.filters], 1)
        return self.score(F.dropout(found, 0.5, self.training))[:, 0]


def distinguished(learned: torch.Tensor, unseen: torch.Tensor, made: torch.Tensor, words: int) -> float:
    """Area under the ROC curve of unseen real texts against the last `KEPT` of the generated ones, ``(N, T)`` each."""
    seen, judged = made[:-KEPT].long(), torch.cat([unseen, made[-KEPT:]]).long()
    scores = torch.zeros(len(judged))
    for seed in range(NETWORKS):
        torch.manual_seed(seed)
        judge = Judge(words)
        optimizer = torch.optim.AdamW(judge.parameters(), 1e-3, weight_decay=0.05)
        for _ in range(UPDATES):
            real, fake = (kind[torch.randint(len(kind), (BATCH,))].long() for kind in (learned, seen))
            loss = F.softplus(-judge(real)).mean() + F.softplus(judge(fake)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            scores += judge.eval()(judged)
    real, fake = scores[: len(unseen)], scores[len(unseen) :]
    return float((real[:, None] > fake[None]).float().mean())
