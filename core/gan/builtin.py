"""The core's own losses and penalties, offered through the same hooks as everybody's."""

from __future__ import annotations

from collections.abc import Iterator

from gan.contracts import LossEntry, PenaltyEntry
from gan.hookspecs import hookimpl

_GOODFELLOW = "Goodfellow et al., Generative Adversarial Nets, 2014, arXiv:1406.2661"
_RELATIVISTIC = "Jolicoeur-Martineau, The Relativistic Discriminator, 2018, arXiv:1807.00734"
_MESCHEDER = "Mescheder et al., Which Training Methods for GANs do actually Converge?, 2018, arXiv:1801.04406"


@hookimpl
def gan_losses() -> Iterator[LossEntry]:
    """The losses of `gan.losses`."""
    for name, target, summary, paper in (
        ("non-saturating", "NonSaturating", "cross-entropy; the generator maximises log D", _GOODFELLOW),
        ("minimax", "Minimax", "cross-entropy; saturates, for demonstrations", _GOODFELLOW),
        ("least-squares", "LeastSquares", "squared distance to 1 and 0", "Mao et al., LSGAN, 2017, arXiv:1611.04076"),
        ("wasserstein", "Wasserstein", "difference of mean scores", "Arjovsky et al., WGAN, 2017, arXiv:1701.07875"),
        ("hinge", "Hinge", "margins of 1", "Lim and Ye, Geometric GAN, 2017, arXiv:1705.02894"),
        ("relativistic-pairing", "RelativisticPairing", "each real beside one fake sample", _RELATIVISTIC),
        ("relativistic-average", "RelativisticAverage", "against the mean of the other kind", _RELATIVISTIC),
    ):
        yield LossEntry(name=name, target=f"gan.losses:{target}", summary=summary, paper=paper)


@hookimpl
def gan_penalties() -> Iterator[PenaltyEntry]:
    """The penalties of `gan.penalties`."""
    for name, target, summary, paper in (
        (
            "gradient-penalty",
            "GradientPenalty",
            "gradient norm 1 between real and fake samples",
            "Gulrajani et al., Improved Training of Wasserstein GANs, 2017, arXiv:1704.00028",
        ),
        ("r1", "R1", "squared gradient norm at real samples", _MESCHEDER),
        ("r2", "R2", "squared gradient norm at generated samples", _MESCHEDER),
    ):
        yield PenaltyEntry(name=name, target=f"gan.penalties:{target}", summary=summary, paper=paper)
