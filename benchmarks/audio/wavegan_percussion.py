"""WaveGAN's default recipe on percussion: are the classes heard, and how far are the sounds from real ones?

    python benchmarks/audio/wavegan_percussion.py              # trains the default recipe, then measures
    python benchmarks/audio/wavegan_percussion.py --run RUN    # measures a run
    python benchmarks/audio/wavegan_percussion.py --set seed=7 --set "model.spectra=[512]" --out other.json  # others

A classifier (multinomial logistic regression on a coarse log-mel spectrogram) is fitted to hits that are drawn with the
numbers 1,000 to 1,099 of each kind; neither the training of WaveGAN nor the test saw these. It is tested on the numbers
2,000 to 2,099, on class-conditional samples of the run, and on samples of the same networks before the training. The
Fréchet distances on log-mel statistics compare 900 samples with the training data's 900 hits; that of 900 other hits is
the lower bound.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from gan.api import load, train
from gan.build import build_game, resolve
from gan.generation.model import Model
from gan.metrics import FrechetDistance
from gan.plugins.manager import Plugins
from gan.recipe import read_values
from gan.reporting.manifest import surroundings
from gan_audio.metrics.logmel import LogMelStatistics
from gan_audio.percussion import KINDS, PER_KIND, RATE, hit
from gan_audio.picture import sheet
from gan_audio.spectra import log_mel
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent


def hits(first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(sounds ``(N, 1, 8192)``, labels ``(N,)``) of `count` hits of each kind."""
    sounds = [hit(kind, number)[None] for kind in KINDS for number in range(first, first + count)]
    return np.stack(sounds), np.repeat(np.arange(len(KINDS)), count)


def coarse(sounds: np.ndarray) -> np.ndarray:
    """``(N, 512)``: 32 mel bands in 16 equal parts of the time, relative to the loudest, at most 60 dB below it."""
    mel = log_mel((sounds.mean(1) / 32768).astype(np.float32), RATE, bands=32)[:, :, :64]
    mel = mel.reshape(len(mel), 32, 16, 4).mean(3).reshape(len(mel), -1)
    return np.maximum(mel - mel.max(1, keepdims=True), -np.log(1000))


def of_class(model: Model, count: int, seed: int) -> np.ndarray:
    """`count` samples of each class."""
    parts = [model.generate(count, seed=seed, conditions={"label": kind})["sound"] for kind in range(len(KINDS))]
    return np.concatenate(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="a run of the recipe; default: it is trained")
    parser.add_argument("--seed", type=int, default=1, help="of the samples that are measured")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="changes the recipe")
    parser.add_argument("--samples", type=int, help="train on so many real samples, instead of the recipe's number")
    parser.add_argument("--out", type=Path, default=HERE / "wavegan_percussion.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plugins = Plugins.installed()
    with tempfile.TemporaryDirectory() as temporary:
        run = arguments.run or Path(temporary) / "run"
        began = time.process_time()
        if arguments.run is None:
            train("audio", out=run, settings=arguments.set, samples=arguments.samples)
        trained = time.process_time() - began if arguments.run is None else None
        model = load(run)
        resolved = resolve(read_values(run / "recipe.yaml"), plugins)
        untrained = Model(
            build_game(resolved, model.modality.fields).architecture.eval(),
            model.modality,
            resolved.title,
            torch.device("cpu"),
            conditions=model.conditions,
        )
        generated, labels = of_class(model, PER_KIND, arguments.seed), np.repeat(np.arange(len(KINDS)), PER_KIND)
        before = of_class(untrained, PER_KIND, arguments.seed)
        recipe = read_values(run / "recipe.yaml")
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    fitted, fitted_labels = hits(1000, 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier.fit(coarse(fitted), fitted_labels)
    sets = {"real": hits(2000, 100), "generated": (generated, labels), "untrained": (before, labels)}
    accuracy = {name: float((classifier.predict(coarse(s)) == own).mean()) for name, (s, own) in sets.items()}
    by_class = classifier.predict(coarse(generated)).reshape(len(KINDS), PER_KIND) == np.arange(len(KINDS))[:, None]
    features, modality = LogMelStatistics(), model.modality
    real, _ = hits(0, PER_KIND)
    wanted = features({"sound": real}, modality)

    def distance(sounds: np.ndarray) -> float:
        return FrechetDistance().compute(features({"sound": sounds}, modality), wanted)[0].value

    other, _ = hits(3000, PER_KIND)
    frechet = {"real": distance(other), "generated": distance(generated), "untrained": distance(before)}
    result = {
        "recipe": recipe,
        "samples_shown": model.trained,
        "cpu_seconds_of_training": trained,
        "peak_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "class_accuracy": accuracy,
        "class_accuracy_by_kind": dict(zip(KINDS, by_class.mean(1).tolist(), strict=True)),
        "fid_logmel": frechet,
        "of_untrained": frechet["generated"] / frechet["untrained"],
        "load": os.getloadavg(),
        **surroundings("soundfile", "soxr", "scikit-learn"),
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    shown = [index for kind in range(len(KINDS)) for index in range(kind * PER_KIND, kind * PER_KIND + 4)]
    sheet(generated[shown], RATE, [kind for kind in KINDS for _ in range(4)]).save(arguments.out.with_suffix(".png"))
    print(
        json.dumps(
            {name: result[name] for name in ("class_accuracy", "class_accuracy_by_kind", "fid_logmel")}, indent=1
        )
    )


if __name__ == "__main__":
    main()
