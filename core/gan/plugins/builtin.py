"""The core's own plugin: its losses, penalties, metrics, extractors and guard."""

from __future__ import annotations

from collections.abc import Iterator

from gan.contracts import ExtractorEntry, GuardEntry, LossEntry, MetricEntry, PenaltyEntry, TrackerEntry
from gan.hookspecs import hookimpl

_INCEPTION = "inception-v3-2015"
_GOODFELLOW = "Goodfellow et al., Generative Adversarial Nets, 2014, arXiv:1406.2661"
_RELATIVISTIC = "Jolicoeur-Martineau, The Relativistic Discriminator, 2018, arXiv:1807.00734"
_MESCHEDER = "Mescheder et al., Which Training Methods for GANs do actually Converge?, 2018, arXiv:1801.04406"
_MEANINGS = {
    "fid": {"FID": "distance of the samples from the real ones, seen by the extractor; 0: the same"},
    "kid": {"KID": "distance of the samples from the real ones; 0: the same, and chance makes it negative"},
    "precision-recall": {
        "precision": "share of samples that look real; says little without recall",
        "recall": "share of the real data that the samples cover",
    },
    "density-coverage": {
        "density": "how close samples are to real ones; 1: as real ones to each other",
        "coverage": "share of the real data that the samples cover",
    },
    "inception-score": {"IS": "samples that a classifier is sure of, and of many classes"},
    "memorisation": {
        "copies": "share of samples nearer to a training sample than real ones are to each other",
        "nearest-distance": "distance of a sample from the nearest training sample",
    },
    "diversity": {
        "pair-distance": "how much two samples differ",
        "vendi-score": "how many different samples there are, in effect",
        "distinct": "share of samples that occur once",
    },
}


@hookimpl
def gan_losses() -> Iterator[LossEntry]:
    """The losses of `gan.losses`."""
    for name, target, summary, paper in (
        ("non-saturating", "NonSaturating", "cross-entropy; the generator maximises log D", _GOODFELLOW),
        ("minimax", "Minimax", "cross-entropy; saturates, for demonstrations", _GOODFELLOW),
        ("least-squares", "LeastSquares", "squared distance to 1 and 0", "Mao et al., LSGAN, 2017, arXiv:1611.04076"),
        ("wasserstein", "Wasserstein", "difference of mean scores", "Arjovsky et al., WGAN, 2017, arXiv:1701.07875"),
        ("hinge", "Hinge", "margins of 1", "Lim and Ye, Geometric GAN, 2017, arXiv:1705.02894"),
        ("relativistic-pairing", "RelativisticPairing", "each real sample paired with one fake sample", _RELATIVISTIC),
        (
            "relativistic-average",
            "RelativisticAverage",
            "each score against the mean score of the other kind",
            _RELATIVISTIC,
        ),
    ):
        yield LossEntry(name=name, target=f"gan.losses:{target}", summary=summary, paper=paper)
    yield LossEntry(
        name="top-k",
        target="gan.losses:TopK",
        summary="another loss, of whose generator only the samples that look most real learn",
        paper="Sinha et al., Top-k Training of GANs, 2020, arXiv:2002.06224",
    )


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
        (
            "consistency",
            "Consistency",
            "scores that an augmentation, or noise, does not change (bCR)",
            "Zhao et al., Improved Consistency Regularization for GANs, 2021, arXiv:2002.04724",
        ),
        (
            "lecam",
            "LeCam",
            "scores near the running means of the other kind, for little data",
            "Tseng et al., Regularizing GANs under Limited Data, 2021, arXiv:2104.03310",
        ),
    ):
        yield PenaltyEntry(name=name, target=f"gan.penalties:{target}", summary=summary, paper=paper)


@hookimpl
def gan_metrics() -> Iterator[MetricEntry]:
    """The metrics of `gan.metrics`. All compute on features, so they are named with an extractor: ``fid[lenet5]``."""
    for name, target, own, summary in (
        ("fid", "FrechetDistance", _INCEPTION, "Fréchet distance of Gaussians fitted to features; lower is better"),
        ("fd", "PlainFrechetDistance", "", "the same as fid, called FD, which no paper's FID is mistaken for"),
        ("kid", "KernelDistance", _INCEPTION, "unbiased squared MMD with a cubic kernel; lower is better"),
        (
            "precision-recall",
            "PrecisionRecall",
            "",
            "share of samples that look real, and share of the real data that is covered",
        ),
        ("density-coverage", "DensityCoverage", "", "like precision and recall, less sensitive to outliers"),
        (
            "inception-score",
            "InceptionScore",
            _INCEPTION,
            "confident on each sample, varied over the set; needs a classifier",
        ),
        ("memorisation", "Memorisation", "", "whether samples repeat training samples"),
        (
            "1-nna",
            "NearestNeighbourTest",
            "",
            "accuracy of nearest neighbours at telling generated from real; 0.5 is best",
        ),
        ("diversity", "Diversity", "", "how much samples differ from each other"),
    ):
        yield MetricEntry(
            name=name, target=f"gan.metrics:{target}", summary=summary, on_features=True, defined_on=own,
            meanings=_MEANINGS.get(name, {}),
        )  # fmt: skip
    yield MetricEntry(
        name="information",
        target="gan.metrics.code_information:CodeInformation",
        summary="what InfoGAN's reader knows of each code, in nats; higher is better",
        on_model=True,
    )
    yield MetricEntry(
        name="ppl",
        target="gan.metrics.path_length:PathLength",
        summary="how evenly samples change along paths through latent space; lower is better",
        on_features=True,
        on_model=True,
        defined_on="lpips-vgg",
    )


@hookimpl
def gan_extractors() -> Iterator[ExtractorEntry]:
    """The extractors of `gan.metrics.extractors`."""
    yield ExtractorEntry(
        name="raw",
        target="gan.metrics.extractors:Raw",
        summary="the raw values; large samples through a fixed random projection",
        paper="Johnson and Lindenstrauss, Extensions of Lipschitz mappings into a Hilbert space, 1984",
    )


@hookimpl
def gan_guards() -> Iterator[GuardEntry]:
    """The guard of `gan.watch.rules`."""
    yield GuardEntry(
        name="game",
        target="gan.watch.rules:GameGuard",
        summary="divergence, vanishing gradient, mode collapse, overfitting, oscillation, codebook collapse",
    )


@hookimpl
def gan_trackers() -> Iterator[TrackerEntry]:
    """The trackers of `gan.reporting.trackers`; none is a dependency."""
    for name, target, summary in (
        ("tensorboard", "TensorBoard", "events in RUN/events: scalars, previews, sounds, texts"),
        ("wandb", "WandB", "Weights & Biases"),
        ("mlflow", "MLflow", "MLflow"),
        ("trackio", "Trackio", "trackio"),
    ):
        yield TrackerEntry(name=name, target=f"gan.reporting.trackers:{target}", summary=summary)
