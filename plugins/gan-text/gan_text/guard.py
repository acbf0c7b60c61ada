"""Watches the training of text GANs: a reward without a signal, and texts that repeat the same pairs of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from gan.contracts import Alarm, Modality, Remedy, Samples, Window

FLAT = 1e-3
"""Standard deviation of the rewards in a batch below which they say nothing about the texts."""
REPEATED = 0.2
"""Distinct pairs of tokens, over those of as many real texts, below which texts repeat themselves."""


class TextGuard:
    """Flat reward (SeqGAN and its kin), and repetition, which distances between rows of tokens do not show."""

    def measure(self, generated: Samples, real: Samples, modality: Modality) -> Mapping[str, float]:
        """``distinct-2``: the number of distinct pairs of tokens over that of the real texts (Li et al. 2016)."""
        known = _pairs(real["tokens"])
        return {"distinct-2": _pairs(generated["tokens"]) / known} if known else {}

    def judge(self, windows: Sequence[Window]) -> Iterator[Alarm]:
        """``flat-reward`` and ``mode-collapse``."""
        now = windows[-1]
        spread = now.signals.get("generator/_reward_spread")
        if spread is not None and spread < FLAT:
            yield Alarm(
                verdict="flat-reward",
                evidence=f"standard deviation of the rewards {spread:.2g}, under {FLAT:g}",
                advice="weaken the discriminator (a tenth of optimizers.discriminator.lr, a smaller model.keep), make "
                "more rollouts (model.rollouts), or subtract a baseline (model.baseline=true)",
                shows={"generator/_reward_spread": spread},
                remedies=(
                    Remedy(
                        summary="a tenth of the learning rate of discriminator",
                        dials={"optimizers.discriminator.lr": 0.1},
                    ),
                    Remedy(summary="every other update of discriminator", dials={"turns.discriminator.every": 2.0}),
                ),
            )
        distinct = now.signals.get("distinct-2")
        if distinct is not None and distinct < REPEATED:
            yield Alarm(
                verdict="mode-collapse",
                evidence=f"distinct pairs of tokens {distinct:.2f} of those of real texts, under {REPEATED}",
                advice="add likelihood to the loss (model.likelihood=1), lower optimizers.generator.lr, or train "
                "longer by maximum likelihood (phases.mle.samples)",
                shows={"distinct-2": distinct},
                remedies=(
                    Remedy(summary="half of the learning rate of generator", dials={"optimizers.generator.lr": 0.5}),
                ),
                spoils=True,
            )


def _pairs(tokens: np.ndarray) -> int:
    """Distinct pairs of neighbouring tokens in ``(N, T)``."""
    return len(np.unique(tokens[:, :-1].astype(np.int64) << 32 | tokens[:, 1:].astype(np.int64)))
