"""Quality of the architectures of films on drawn clips of six classes of motion, after equal CPU time.

    python benchmarks/video/motions.py RECIPE --minutes 10

RECIPE is ``motions`` (MoCoGAN), ``dvdgan-motions`` or ``stylegan-v-motions``, trained as it is on one thread of one
process until the CPU time is spent. Compared with 300 clips drawn with other seeds, at
32 pixels: motion, Fréchet distance on clip statistics, and the class that a classifier names. The classifier, a small
convolutional network over time, is trained on the training clips, and its share of right answers for the other clips is
stated. For architectures that draw content and motion apart, features of 64 contents with two motions each, and the
other way round, say what stays: the ratio of the distance within to that between.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gan import recipe as recipes
from gan.api import recipe as named_recipe
from gan.build import build_game, open_data, resolve
from gan.data.order import Order
from gan.evaluation.metric_names import find_metrics, measure
from gan.generation.conditions import Conditions
from gan.generation.model import Model
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.reporting.reporter import Reporter
from gan.runtime.device import choose_device
from gan.training.trainer import Trainer
from gan_video.data.datasets import CLASSES, clip
from gan_video.metrics import kept, motion
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

HERE = Path(__file__).parent
OTHERS = 50
"""Clips of each class that are not in the training data, drawn with seeds from `CLIPS` on."""
FIRST = 10_000


def unseen(side: int) -> tuple[np.ndarray, np.ndarray]:
    """(clips ``(300, 16, 3, side, side)`` uint8, classes) that no training has seen."""
    clips, labels = [], []
    for number, kind in enumerate(CLASSES):
        for index in range(FIRST, FIRST + OTHERS):
            frames = [f.resize((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
                      for f in clip(kind, np.random.default_rng([number, index]))]  # fmt: skip
            clips.append(np.stack([np.asarray(frame).transpose(2, 0, 1) for frame in frames]))
            labels.append(number)
    return np.stack(clips), np.array(labels)


class Classifier(nn.Module):
    """``(N, 16, 3, 32, 32)`` uint8 -> 64 features and six logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv3d(16, 32, 4, 2, 1), nn.ReLU(),
            nn.Conv3d(32, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 2 * 16, 64), nn.ReLU(),
        )  # fmt: skip
        self.last = nn.Linear(64, len(CLASSES))

    def features(self, clips: Tensor) -> Tensor:
        return self.layers(clips.float().transpose(1, 2) / 127.5 - 1)

    def forward(self, clips: Tensor) -> Tensor:
        return self.last(self.features(clips))


def classifier(clips: np.ndarray, labels: np.ndarray) -> Classifier:
    """Trained on real clips only."""
    torch.manual_seed(0)
    network, numbers = Classifier(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(400):
        rows = numbers.integers(len(clips), size=32)
        loss = cross_entropy(network(torch.from_numpy(clips[rows])), torch.from_numpy(labels[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@torch.no_grad()
def answers(network: Classifier, clips: np.ndarray) -> np.ndarray:
    parts = torch.from_numpy(clips).split(64)
    return torch.cat([network(part).argmax(1) for part in parts]).numpy()


def apart(model: Model) -> dict[str, float]:
    """How much of what a clip shows belongs to its content and to its motion.

    Content is the brightest level of each colour in a clip, motion the changes of grey between its frames. `within` is
    the mean distance of two clips that share the part, `between` that of two that do not.
    """
    found: dict[str, float] = {}
    for part, other in (("content", "motion"), ("motion", "content")):
        sets = []
        for which in (1, 2):
            rows = [
                model.generate(1, 1000 * which + seed, options={f"{part}_seed": seed}, conditions={"label": 2})["video"]
                for seed in range(64)
            ]
            sets.append(np.concatenate(rows).astype(np.float32) / 255)
        if part == "content":  # the colours of a clip, whatever moves
            first, second = (clips.max((1, 3, 4)) for clips in sets)
        else:
            first, second = (np.diff(clips.mean(2), axis=1).reshape(64, -1) for clips in sets)
        within = np.linalg.norm(first - second, axis=1).mean()
        between = np.linalg.norm(first - np.roll(second, 1, 0), axis=1).mean()
        found[f"{part} kept with another {other}: within over between"] = float(within / between)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--minutes", type=float, default=10.0, help="of CPU time, training only")
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plugins = Plugins.installed()
    settings = ["training.device=cpu", "training.minutes=null", *arguments.set]
    resolved = resolve(named_recipe("video", named=arguments.recipe, settings=settings, plugins=plugins), plugins)
    pack = open_data(resolved, plugins, Reporter())
    modality = resolved.modality_class(resolved.modality_config, pack.facts)
    recipe = resolved.recipe
    game, device = build_game(resolved, modality.fields), choose_device("cpu", recipe.training.precision)
    trainer = Trainer(
        game.architecture, game.players, game.phases, pack, Order(len(pack), recipe.seed), recipe.training, recipe.seed,
        device,
    )  # fmt: skip
    start = time.process_time()

    def show(tick: Any) -> None:
        terms = {name: round(value, 3) for name, value in tick.terms.items()}
        print(f"{time.process_time() - start:6.0f} s  {tick.samples:9,}  {terms}", flush=True)

    trainer.run(show, lambda: time.process_time() - start > 60 * arguments.minutes)
    used = time.process_time() - start
    model = Model(game.architecture, modality, resolved.title, device.device, conditions=Conditions.of(pack))
    rows = pack.take(np.arange(len(pack)))
    judge = classifier(rows["video"], rows["label"])
    clips, labels = unseen(rows["video"].shape[-1])
    metrics = find_metrics(["fid[clip-statistics]"], "video", plugins)

    def score(made: np.ndarray) -> dict[str, float]:
        values = {v.name: v.value for v in measure(metrics, {"video": made}, {"video": clips}, modality)}
        return {**values, "motion": float(motion(made).mean()), "content kept": float(kept(made).mean())}

    untrained = build_game(resolved, modality.fields)
    blank = Model(untrained.architecture, modality, resolved.title, device.device, conditions=Conditions.of(pack))
    given = {"label": labels}
    with trainer.sampling():
        made = model.generate(len(labels), 0, given=given)["video"]
        result: dict[str, Any] = {
            "generated": score(made),
            "asked motion is named": float((answers(judge, made) == labels).mean()),
            "of each class": {
                kind: float((answers(judge, made)[labels == n] == n).mean()) for n, kind in enumerate(CLASSES)
            },
        }
        options = set(getattr(game.architecture.Options, "model_fields", {}))
        if "content_seed" in options:
            result["apart"] = apart(model)
        if "frames" in options:
            long = model.generate(32, 1, options={"frames": 8 * made.shape[1]}, given={"label": labels[:32]})["video"]
            eighths = [float(motion(part).mean()) for part in np.split(long, 8, axis=1)]
            result["motion of the eighths of a film eight times as long"] = eighths
        for name, clips_shown in (("samples", made[:: len(made) // 12]), ("long", long[:12, ::8])):
            modality.preview({"video": clips_shown}).save(HERE / f"motions_{arguments.recipe}_{name}.png")
    result |= {
        "untrained": score(blank.generate(len(labels), 0, given=given)["video"]),
        "training clips": score(rows["video"][:: max(1, len(rows["video"]) // len(labels))][: len(labels)]),
        "of other real clips, motion is named": float((answers(judge, clips) == labels).mean()),
        "cpu_seconds": used,
        "clips_shown": trainer.samples,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parameters": trainer.parameter_counts(),
        "recipe": recipes.dump(recipe),
        "machine": surroundings(),
    }
    print(json.dumps(result, indent=1), flush=True)
    (HERE / f"motions_{arguments.recipe}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
