"""Guards of a training: what a plugin provides to watch it: signals of its own, alarms, and remedies for them.

A guard sees the training in windows, which end at ticks and are the same on all processes (`gan.watch`). An alarm that
a guard raises in three windows in a row becomes a verdict, which is reported; with ``training.watch: act`` its remedies
are then tried in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from gan.contracts.modality import Modality, Samples

NOISE = "critics.noise"
"""The dial with the standard deviation of Gaussian noise that is added to what critics see, real and generated alike
(Arjovsky and Bottou 2017, arXiv:1701.04862, section 3.2); absent: none."""

SMOOTHING = "critics.smoothing"
"""The dial with the standard deviation of Gaussian noise by which scores of real samples should hardly change; absent:
no such penalty. It is R1 by differences (Lin et al. 2025, "Diffusion adversarial post-training", arXiv:2501.08316,
section 3.3, approximated R1), which needs no second derivative of a critic."""
SMOOTHED = 100.0
"""Weight of that penalty, (D(x + noise) - D(x))² (Lin et al. 2025)."""


@dataclass(frozen=True)
class Window:
    """A stretch of training between two measurements."""

    samples: int
    """Real samples shown at its end."""
    phase: str
    """Name of the phase in which it ended."""
    signals: Mapping[str, float]
    """Means over the window of everything that objectives report, ``"player/term"``, and what was measured at its end.
    Values that are not finite are left out."""
    progress: float = 1.0
    """Share of the whole training shown at its end, 0 … 1."""
    alarms: tuple[str, ...] = ()
    """Alarms that were raised at its end; empty for the newest window, which is being judged."""


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """One change of a training, tried by ``training.watch: act``."""

    summary: str
    """What it does, in words: ``"a tenth of the critic's learning rate"``."""
    dials: Mapping[str, float] = field(default_factory=dict)
    """Factors on dials relative to their present values, by name (`gan.training.trainer.Trainer.turn_dial`); ``*``
    stands for any part of a name. A remedy whose dials do not exist in a training is passed over."""
    lower_to: Mapping[str, str] = field(default_factory=dict)
    """Dials that are turned so far that their number is that of another one, by name: ``{"optimizers.discriminator.lr":
    "optimizers.generator.lr"}``. Passed over where the recipe's number is at most four times as large."""
    times: float = 1.0
    """How many times the other number dials of `lower_to` are lowered to."""
    raise_to: Mapping[str, float] = field(default_factory=dict)
    """Dials that are turned up until their number is at least this, by name with ``*`` and ``[12]`` as in file names:
    ``{"penalties.r[12].weight": 10.0}``. Passed over where nothing is turned up, or `lower_to` lowers nothing."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise on what critics see, as a multiple of that of the real samples there."""
    smoothing: float = 0.0
    """Standard deviation of noise by which the scores of real samples should hardly change (R1 by differences,
    `SMOOTHING`), as such a multiple. Passed over where the recipe has a penalty."""
    roll_back: bool = True
    """Whether training returns to the last healthy checkpoint first and continues with other random numbers."""
    anew: bool = False
    """Whether it returns to the beginning instead, as long as a quarter of the training has not passed."""


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """What is wrong in a window, by what evidence, and what to do about it."""

    verdict: str
    """The name of the failure: lower-case letters and hyphens (``mode-collapse``)."""
    evidence: str
    """The numbers that show it, with their thresholds."""
    advice: str
    """What a user may try, with the keys of the recipe to set."""
    shows: Mapping[str, float] = field(default_factory=dict)
    """The signals of the evidence, by name; those of the same names are recorded after a remedy."""
    remedies: Sequence[Remedy] = ()
    """Remedies in the order in which they are tried."""
    spoils: bool = False
    """Whether samples of such a generator are useless, so that an earlier checkpoint is used to generate."""


class Guard(Protocol):
    """Judges a training. It keeps no state: everything follows from the windows."""

    def judge(self, windows: Sequence[Window]) -> Iterable[Alarm]:
        """Return the alarms of the newest, that is last, of `windows`, the most serious first.

        Up to 64 windows are given, oldest first. Signals may be missing in some of them.
        """


@runtime_checkable
class Measures(Protocol):
    """A guard that measures signals of its own on samples."""

    def measure(self, generated: Samples, real: Samples, modality: Modality) -> Mapping[str, float]:
        """Return signals by name. `generated` are samples of the weights as they are, `real` as many real ones; both
        hold the modality's fields, ``(N, *shape)`` each, with N from 64 to 256. It draws no global random numbers."""
