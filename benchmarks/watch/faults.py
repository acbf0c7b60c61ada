"""Faults injected into real trainings: each is flagged within three windows, with the right name.

    python benchmarks/watch/faults.py [--seeds 0 1 2] [--out FILE]

A fault begins in the middle of a healthy training (`after` real samples) or, where it is a setting, at its beginning.
`windows` counts those that end after the fault began, up to the one that pronounced the verdict; a window that was open
when the fault began is one of them, as is the first one of a training, in which networks are still untrained.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gan.testing.learned
import gan.watch.watch
import numpy as np
import torch
import unnormalised
from common import HERE, WORK, plugins, record, recorded, train
from gan.reporting.manifest import surroundings
from gan.training.trainer import Trainer

SPACING = 400


class Constant(torch.nn.Module):
    """A generator whose samples are all the first one of the batch."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = [inner]

    def __call__(self, *arguments: Any, **named: Any) -> torch.Tensor:
        made: torch.Tensor = self.inner[0](*arguments, **named)
        return made[:1].expand_as(made) * 1.0


def constant(trainer: Trainer) -> None:
    """(a) The generator is replaced by a constant."""
    architecture = trainer.architecture
    object.__setattr__(architecture, "constant", Constant(architecture.generator))
    kind = type(architecture)
    changed = type(kind.__name__, (kind,), {"__getattr__": _constant_attribute})
    architecture.__class__ = changed


def _constant_attribute(self: Any, name: str) -> Any:
    found = torch.nn.Module.__getattr__(self, name)
    return self.constant if name == "generator" else found


def not_a_number(trainer: Trainer) -> None:
    """(c) One gradient in eight updates of the generator is NaN."""
    parameter = trainer.player_states["generator"].parameters[0]
    calls = [0]

    def poison(gradient: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return gradient * float("nan") if calls[0] % 8 == 0 else gradient

    parameter.register_hook(poison)


def flat(trainer: Trainer) -> None:
    """(f) The reward is the same for every text."""
    architecture: Any = trainer.architecture
    architecture.rewards = lambda loss, tokens, uniforms, real=None: torch.full(tokens.shape, 0.5)


def one_code(trainer: Trainer) -> None:
    """(e) All codes but one are out of reach."""
    architecture: Any = trainer.architecture
    architecture.nearest = lambda codes: torch.zeros(len(codes), dtype=torch.int64)


def explode(trainer: Trainer) -> None:
    """The learning rates grow a thousandfold."""
    for name in trainer.player_states:
        trainer.turn_dial(f"optimizers.{name}.lr", 1000.0)


TOY = ["training.tick=2560"]
WAVE = ["training.tick=400"]
SEQ = [
    "data.source=SENTENCES", "modality.length=12", "modality.vocabulary=500",
    "model.filters=[[1, 16], [2, 16]]", "model.rollouts=2",
    "phases.mle.samples=1600", "phases.discriminator.samples=1600", "phases.adversarial.samples=12800",
    "training.tick=400", "training.batch=32", "phases.discriminator.batch=32", "model.negatives=256",
    "model.generator_interval=2",
]  # fmt: skip
UNNORMALISED = ["plugin=unnormalised", "architecture=dcgan-unnormalised"]
HUNDREDFOLD = ["loss=minimax", "penalties=[]"]
CASES: dict[str, tuple[str, str | None, list[str], int, int, Callable[[Trainer], None] | None, str]] = {
    # name: plugin, recipe, settings, samples, after, fault, verdict
    "toy: constant generator": ("toy", None, [], 256_000, 192_000, constant, "mode-collapse"),
    "toy: hundredfold critic, minimax": (
        "toy", None, [*TOY, *HUNDREDFOLD, "optimizers.discriminator.lr=0.02"], 128_000, 0, None, "vanishing-gradient",
    ),
    "toy: NaN in a gradient": ("toy", None, TOY, 64_000, 32_000, not_a_number, "divergence"),
    "toy: learning rates a thousandfold": ("toy", None, TOY, 64_000, 32_000, explode, "divergence"),
    "vq: one code": ("learned", "vq", TOY, 64_000, 32_000, one_code, "codebook-collapse"),
    "dcgan: constant generator": (
        "image", "dcgan-digits", ["training.tick=400"], 12_000, 8_000, constant, "mode-collapse",
    ),
    "dcgan: hundredfold critic, minimax": (
        "image", "dcgan-digits", [*WAVE, *HUNDREDFOLD, *UNNORMALISED, "optimizers.discriminator.lr=0.02"], 6_000, 0,
        None, "vanishing-gradient",
    ),
    "dcgan: 64 pictures": (
        "image", "dcgan-32", ["training.tick=400", "data.source=PICTURES", "data.holdout=0.5", "training.batch=32"],
        16_000, 0, None, "overfitting-discriminator",
    ),
    "wavegan: constant generator": ("audio", "percussion", WAVE, 5_200, 2_800, constant, "mode-collapse"),
    "wavegan: learning rates a thousandfold": ("audio", "percussion", WAVE, 4_800, 2_400, explode, "divergence"),
    "seqgan: constant reward": ("text", "seqgan-fast", SEQ, 16_000, 3_200, flat, "flat-reward"),
}  # fmt: skip


def pictures() -> Path:
    """128 digits as files, of which half are held out."""
    from PIL import Image
    from sklearn.datasets import load_digits

    folder = WORK / "pictures"
    if not folder.exists():
        folder.mkdir(parents=True)
        for number, digit in enumerate(load_digits().images[:128]):
            picture = Image.fromarray((digit * 15.9).astype(np.uint8)).resize((32, 32), Image.Resampling.BICUBIC)
            picture.save(folder / f"{number:03d}.png")
    return folder


def sentences() -> Path:
    """2,000 sentences of 12 of 500 words, each of which has four words that may follow it."""
    folder = WORK / "sentences"
    if not folder.exists():
        rng = np.random.default_rng(0)
        following, word = rng.integers(500, size=(500, 4)), rng.integers(500, size=2000)
        columns = [word]
        for choice in rng.integers(4, size=(11, 2000)):
            columns.append(following[columns[-1], choice])
        folder.mkdir(parents=True)
        (folder / "sentences.txt").write_text("\n".join(" ".join(map(str, row)) for row in np.stack(columns, 1)))
    return folder


SOURCES = {"PICTURES": pictures, "SENTENCES": sentences}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--out", type=Path, default=HERE / "faults.json")
    arguments = parser.parse_args()
    gan.watch.watch.SPACING = SPACING
    known = plugins()
    known.register("learned", gan.testing.learned)
    known.register("unnormalised", unnormalised)
    result = recorded(arguments.out)
    runs = result.setdefault("runs", {})
    for seed in arguments.seeds:
        for case in arguments.cases:
            name = f"{case}/{seed}"
            if name in runs:
                continue
            plugin, recipe, settings, samples, after, fault, expected = CASES[case]
            for word, make in SOURCES.items():
                settings = [s.replace(word, str(make())) if s.endswith(word) else s for s in settings]
            out = WORK / "fault"
            shutil.rmtree(out, ignore_errors=True)
            with injected(fault, after):
                found = train(known, out, plugin, recipe, settings, seed, samples)
            shutil.rmtree(out)
            ends = [window["samples"] for window in found["signals"]]
            right = [v for v in found["verdicts"] if v["verdict"] == expected and v["pronounced"] > after]
            first = min((v["pronounced"] for v in found["verdicts"] if v["pronounced"] > after), default=None)
            windows = sum(after < end <= right[0]["pronounced"] for end in ends) if right else None
            runs[name] = {
                "expected": expected,
                "verdicts": [[v["verdict"], v["pronounced"], v["evidence"]] for v in found["verdicts"]],
                "before_the_fault": [v["verdict"] for v in found["verdicts"] if v["pronounced"] <= after],
                "first_is_right": bool(right) and right[0]["pronounced"] == first,
                "windows_until_the_alarm": windows and windows - gan.watch.watch.STREAK + 1,
                "windows_until_flagged": windows,
                "windows_in_all": len(ends),
                "cpu_seconds": found["cpu_seconds"],
            }
            print(name, expected, windows, runs[name]["verdicts"], round(found["cpu_seconds"]), flush=True)
            result["flagged_within_three_windows"] = {
                n: run["windows_until_flagged"] is not None and run["windows_until_flagged"] <= 4
                for n, run in runs.items()
            }
            result["spacing"], result["machine"] = SPACING, surroundings()
            record(arguments.out, result)


class injected:
    """Injects a fault into the next training, once it has shown `after` real samples."""

    def __init__(self, fault: Callable[[Trainer], None] | None, after: int) -> None:
        self.fault, self.after = fault, after

    def __enter__(self) -> None:
        self.iterate = Trainer._iterate
        state = {"done": self.fault is None}

        def iterate(trainer: Trainer, *arguments: Any) -> None:
            if not state["done"] and trainer.samples >= self.after:
                state["done"] = True
                assert self.fault is not None
                self.fault(trainer)
            self.iterate(trainer, *arguments)

        Trainer._iterate = iterate  # type: ignore[method-assign]

    def __exit__(self, *error: object) -> None:
        Trainer._iterate = self.iterate  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
