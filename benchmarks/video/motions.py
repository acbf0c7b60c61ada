"""Quality of the architectures of films on clips with classes of motion, after equal CPU time.

    python benchmarks/video/motions.py RECIPE --minutes 10
    python benchmarks/video/motions.py RECIPE --data sprites --minutes 3

RECIPE is ``motions`` (MoCoGAN), ``animate``, ``dvdgan-motions`` or ``stylegan-v-motions``, trained as it is on one
thread of one process until the CPU time is spent. The clips are those that gan-video draws, or with `--data` files of
the shared data: ``sprites``, figures of 8 frames that walk, strike or cast spells (lpc_sprites.zip, every fifth
character kept aside), or ``shapes``, MoCoGAN's own of two directions (mocogan_shapes.zip, every second frame, every
tenth clip kept aside).

Compared with clips that no training has seen, at 32 pixels: motion, Fréchet distance on clip statistics, and the class
that a classifier names. The classifier, a small convolutional network over time, is trained on the training clips, and
its share of right answers for the other clips is stated. For architectures that draw content and motion apart, the
ratio of the distance of clips that share one of them to that of clips that do not says what stays.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
import zipfile
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
from gan.source import list_source
from gan.testing import shared_data
from gan.training.trainer import Trainer
from gan_video.data.datasets import CLASSES, clip
from gan_video.metrics import kept, motion
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

HERE = Path(__file__).parent
OTHERS = 50
"""Drawn clips of each class that are not in the training data, with seeds from `FIRST` on."""
FIRST = 10_000
ARCHIVES = {"sprites": "lpc_sprites.zip", "shapes": "mocogan_shapes.zip"}
SETTINGS = {
    "sprites": ["modality.layout=strips", "modality.frames=8", "modality.background=128"],
    "shapes": ["modality.layout=strips", "modality.stride=2"],
}


def drawn(side: int) -> tuple[np.ndarray, np.ndarray]:
    """(clips ``(300, 16, 3, side, side)`` uint8, classes) that no training has seen."""
    clips, labels = [], []
    for number, kind in enumerate(CLASSES):
        for index in range(FIRST, FIRST + OTHERS):
            frames = [f.resize((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
                      for f in clip(kind, np.random.default_rng([number, index]))]  # fmt: skip
            clips.append(np.stack([np.asarray(frame).transpose(2, 0, 1) for frame in frames]))
            labels.append(number)
    return np.stack(clips), np.array(labels)


def unpacked(name: str, folder: Path) -> tuple[Path, Path]:
    """Folders of the clips for training and of the others, with a subfolder for each class."""
    found = shared_data("video", ARCHIVES[name])
    if found is None:
        raise SystemExit(f"{ARCHIVES[name]} is not here; name the folder of data/ in GAN_SHARED")
    archive = zipfile.ZipFile(found)
    actions = {}
    if name == "sprites":
        actions = {row["file"]: row["action"] for row in json.loads(archive.read("labels.json"))}
    for number, member in enumerate(sorted(n for n in archive.namelist() if n.endswith(".png"))):
        kind, file = (actions[member], member) if actions else member.split("/")
        aside = int(file[:4]) % 5 == 0 if actions else number % 10 == 0
        place = folder / ("others" if aside else "training") / kind / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(archive.read(member))
    return folder / "training", folder / "others"


def read(folder: Path, modality: Any) -> tuple[np.ndarray, np.ndarray]:
    """(clips, classes) of a folder."""
    samples = [sample for file in list_source(folder, modality.suffixes).files for sample in modality.read(file)]
    return np.stack([s["video"] for s in samples]), np.array([int(s["label"]) for s in samples])


class Classifier(nn.Module):
    """``(N, T, 3, R, R)`` uint8 -> 64 features and the logits of the classes."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv3d(16, 32, 4, 2, 1), nn.ReLU(),
            nn.Conv3d(32, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * (shape[0] // 8) * (shape[2] // 8) ** 2, 64), nn.ReLU(),
        )  # fmt: skip
        self.last = nn.Linear(64, classes)

    def features(self, clips: Tensor) -> Tensor:
        return self.layers(clips.float().transpose(1, 2) / 127.5 - 1)

    def forward(self, clips: Tensor) -> Tensor:
        return self.last(self.features(clips))


def classifier(clips: np.ndarray, labels: np.ndarray) -> Classifier:
    """Trained on real clips only."""
    torch.manual_seed(0)
    network, numbers = Classifier(clips.shape[1:], labels.max() + 1), np.random.default_rng(0)
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


def described(clips: np.ndarray) -> dict[str, np.ndarray]:
    """What a clip shows, apart: ``(N, F, 3, R, R)`` uint8 -> its content, the shares of red, green and blue in the
    light above the ground and the form of the shape; and its motion, the path of the light's centre in sides of the
    picture and the light of each frame over its mean.

    The form is the spread of the light around its centre, over the side, as a root mean square, times five.
    """
    levels = np.maximum(clips.astype(np.float64) / 255 - 0.2, 0)  # noise of the ground is dark
    light = levels.sum(2) + 1e-9
    total = light.sum((2, 3))
    places = (np.arange(clips.shape[-1]) + 0.5) / clips.shape[-1]
    x, y = ((light.sum(axis) * places).sum(-1) / total for axis in (2, 3))
    spread = (light.sum(2) * (places - x[..., None]) ** 2 + light.sum(3) * (places - y[..., None]) ** 2).sum(-1) / total
    colours = levels.sum((1, 3, 4))
    content = np.column_stack([colours / colours.sum(1, keepdims=True), 5 * np.sqrt(spread.mean(1))])
    motion_of = np.stack([x, y, 0.1 * total / total.mean(1, keepdims=True)], 2).reshape(len(clips), -1)
    return {"content": content, "motion": motion_of}


def apart(model: Model) -> dict[str, float]:
    """How much of what a clip shows belongs to its content and to its motion, over clips of four classes.

    `within` is the mean distance of two clips that share the part, `between` that of two that do not.
    """

    def made(part: str, kind: int, which: int) -> np.ndarray:
        clips = [
            model.generate(1, 1000 * which + seed, options={f"{part}_seed": seed}, conditions={"label": kind})["video"]
            for seed in range(24)
        ]
        return described(np.concatenate(clips))[part]

    found: dict[str, float] = {}
    kinds = [CLASSES.index(kind) for kind in ("down", "left", "right", "up")]
    for part, other in (("content", "motion"), ("motion", "content")):
        within, between = [], []
        for kind in kinds:
            first, second = (made(part, kind, which) for which in (1, 2))
            within.append(np.linalg.norm(first - second, axis=1).mean())
            between.append(np.linalg.norm(first - np.roll(second, 1, 0), axis=1).mean())
        found[f"{part} kept with another {other}: within over between"] = float(np.mean(within) / np.mean(between))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", choices=["motions", *ARCHIVES], default="motions")
    parser.add_argument("--minutes", type=float, default=10.0, help="of CPU time, training only")
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plugins = Plugins.installed()
    settings = ["training.device=cpu", "training.minutes=null", *SETTINGS.get(arguments.data, []), *arguments.set]
    scratch, others = tempfile.TemporaryDirectory(), None
    if arguments.data != "motions":
        source, others = unpacked(arguments.data, Path(scratch.name))
        settings.append(f"data.source={source}")
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
    clips, labels = drawn(rows["video"].shape[-1]) if others is None else read(others, modality)
    metrics = find_metrics(["fid[clip-statistics]"], "video", plugins)

    def score(made: np.ndarray) -> dict[str, float]:
        values = {v.name: v.value for v in measure(metrics, {"video": made}, {"video": clips}, modality)}
        return {**values, "motion": float(motion(made).mean()), "content kept": float(kept(made).mean())}

    untrained = build_game(resolved, modality.fields)
    blank = Model(untrained.architecture, modality, resolved.title, device.device, conditions=Conditions.of(pack))
    given = {"label": labels}
    if "video" in model.given_fields():  # clips begin as unseen ones do
        given["video"] = clips
    kinds = modality.facts["classes"]
    with trainer.sampling():
        made = model.generate(len(labels), 0, given=given)["video"]
        result: dict[str, Any] = {
            "generated": score(made),
            "asked motion is named": float((answers(judge, made) == labels).mean()),
            "of each class": {
                kind: float((answers(judge, made)[labels == n] == n).mean()) for n, kind in enumerate(kinds)
            },
        }
        options = set(getattr(game.architecture.Options, "model_fields", {}))
        if "content_seed" in options and arguments.data == "motions":
            result["apart"] = apart(model)
        if "frames" in options:
            long = model.generate(
                32,
                1,
                options={"frames": 8 * made.shape[1]},
                given={n: v[:: len(v) // 32][:32] for n, v in given.items()},
            )["video"]
            eighths = [float(motion(part).mean()) for part in np.split(long, 8, axis=1)]
            result["motion of the eighths of a film eight times as long"] = eighths
        for name, clips_shown in (("samples", made[:: len(made) // 12]), ("long", long[:: len(long) // 12, ::8])):
            modality.preview({"video": clips_shown}).save(HERE / f"{arguments.data}_{arguments.recipe}_{name}.png")
    result |= {
        "untrained": score(blank.generate(len(labels), 0, given=given)["video"]),
        "training clips": score(rows["video"][:: max(1, len(rows["video"]) // len(labels))][: len(labels)]),
        "of other real clips, motion is named": float((answers(judge, clips) == labels).mean()),
        "cpu_seconds": used,
        "clips_shown": trainer.samples,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parameters": trainer.parameter_counts(),
        "recipe": recipes.dump(recipe).replace(scratch.name, "DATA"),
        "machine": surroundings(),
    }
    print(json.dumps(result, indent=1), flush=True)
    (HERE / f"{arguments.data}_{arguments.recipe}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
