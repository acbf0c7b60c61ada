"""StyleGAN2 at 64 pixels on sprites: projection, a direction by labels, SeFa, the pace of a loop.

    python benchmarks/control/sprites.py [--work DIR] [--no-training] [--parts sefa own loop labels unseen]

Trains on frames of the characters 0 to 539 of lpc_sprites.zip, seen from the front and from the right (one thread,
resumable), or measures the run in DIR as far as it is trained. Projection: samples of the generator itself, and frames
of characters that it has not seen, in w, w+ and with a tuned generator; LPIPS's formula on SqueezeNet 1.0. A direction
is found by frames in two folders, of red and of violet hair; a classifier that is fitted to other examples measures it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import HERE, STRENGTHS, record, summary, trained
from gan.control.controlled import ControlledModel
from gan.control.directions import find, sefa
from gan.control.features import extractor_of
from gan.control.model import Latents
from gan.control.paths import Path as LatentPath
from gan.control.paths import distance_of, variation
from gan.control.scores import Score, _linear_classifier
from gan.recipe import read_values
from gan.reporting.films import pictures_of, save_film, save_sheet
from gan.testing import real_file
from PIL import Image

DISTANCE = "squeezenet-distance"
LABELS = ("red", "violet")
HAIR = {"hair/4.png": "red", "hair/7.png": "red", "hair/1.png": "violet", "hair/5.png": "violet"}


def frames(folder: Path) -> None:
    """PNG files of every second frame of a clip in ``train`` and ``held``, a subfolder for each view."""
    with zipfile.ZipFile(real_file("video", "lpc_sprites.zip")) as archive:
        names = {Path(name).name: name for name in archive.namelist()}
        for clip in json.loads(archive.read(names["labels.json"])):
            if clip["view"] == "left":
                continue
            part = "held" if int(clip["file"][:4]) >= 540 else "train"
            strip = Image.open(io.BytesIO(archive.read(names[clip["file"]]))).convert("RGB")
            (folder / part / clip["view"]).mkdir(parents=True, exist_ok=True)
            for frame in (0, 2, 4, 6):
                crop = strip.crop((64 * frame, 0, 64 * frame + 64, 64))
                crop.save(folder / part / clip["view"] / f"{clip['file'][:-4]}-{frame}.png")


def perceptual(model: ControlledModel, one: Any, other: Any) -> float:
    """The squared distance of two samples by `DISTANCE`."""
    extractor = extractor_of(model, DISTANCE)
    vectors = [extractor.extract(each, model.modality).vectors[0].astype(np.float64) for each in (one, other)]
    return float(np.square(vectors[0] - vectors[1]).sum())


def project(
    model: ControlledModel, targets: list[Any], steps: int, tune: int, way: Path | None = None
) -> dict[str, Any]:
    """PSNR and perceptual distance of each stage, of every target; `way` is a picture of the first one's way."""
    values: dict[str, dict[str, list[float]]] = {}
    rows = []
    for target in targets:
        found = model.project(target, steps=steps, tune=tune)
        for stage, samples in found.stages.items():
            row = values.setdefault(stage, {"psnr": [], "perceptual": []})
            row["psnr"].append(round(found.likeness[stage]["psnr"], 2))
            row["perceptual"].append(round(perceptual(model, samples, found.target), 4))
        rows += [found.target["image"], *(samples["image"] for samples in found.stages.values())]
        if way is not None and target is targets[0]:
            tiles = {"image": np.concatenate([found.target["image"], *(each["image"] for each in found.way)])}
            save_sheet(pictures_of(model.modality, tiles), len(tiles["image"]), way)
        print({stage: (row["psnr"][-1], row["perceptual"][-1]) for stage, row in values.items()}, flush=True)
    if way is not None:
        tiles = {"image": np.concatenate(rows)}
        save_sheet(pictures_of(model.modality, tiles), 1 + len(values), HERE / "sprites-unseen.png")
    return {
        "steps of a stage": steps,
        "steps of tuning": tune,
        **_means(values),
    }


def _means(values: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    return {
        stage: {**row, "mean psnr": float(np.mean(row["psnr"])), "mean perceptual": float(np.mean(row["perceptual"]))}
        for stage, row in values.items()
    }


def by_labels(model: ControlledModel, data: Path, samples_of: int) -> dict[str, Any]:
    """The direction from red to violet hair, measured by a classifier of other examples, beside attributes of pictures
    that it keeps."""
    with zipfile.ZipFile(real_file("video", "lpc_sprites.zip")) as archive:
        (listed,) = (name for name in archive.namelist() if name.endswith("labels.json"))
        hair = {clip["file"][:-4]: HAIR.get(clip["hair"]) for clip in json.loads(archive.read(listed))}
    chosen: dict[str, list[Path]] = {}
    for part in ("train", "held"):
        for file in sorted((data / part).glob("*/*-[04].png")):
            label = hair[file.stem[:-2]]
            if label is not None:
                chosen.setdefault(f"{part}/{label}", []).append(file)
    for label in LABELS:  # frames of training find the direction, held-out ones measure it
        (data / "hair" / label).mkdir(parents=True, exist_ok=True)
        for file in chosen[f"train/{label}"]:
            (data / "hair" / label / file.name).write_bytes(file.read_bytes())
    find(model, "score", "all", samples=samples_of)
    name, kept = "violet-hair", ["brightness", "contrast", "saturation"]
    (found,) = find(model, "labels", str(data / "hair"), name=name, keep=kept, samples=samples_of)
    extractor = extractor_of(model, "raw")
    files = [file for label in LABELS for file in chosen[f"held/{label}"]]
    owners = np.array([number for number, label in enumerate(LABELS) for _ in chosen[f"held/{label}"]])
    pictures = np.stack([np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files])
    known = extractor.extract({"image": pictures}, model.modality).vectors.astype(np.float64)
    start = model.draw(samples_of // 10, 99)
    values: dict[str, list[Any]] = {each: [] for each in (name, *kept)}
    for strength in STRENGTHS:
        samples = model.decode(Latents(start.values + strength * model.directions[name], start.given))
        made = extractor.extract(samples, model.modality).vectors.astype(np.float64)
        values[name].append(_linear_classifier(known, owners, 2, made)[:, 1])
        for each in kept:
            values[each].append(Score(model, each).of(samples))
    row = model.draw(4, 7)
    edits = torch.stack([row.values + s * model.directions[name] for s in STRENGTHS], 1).flatten(0, 1)
    save_sheet(pictures_of(model.modality, model.decode(edits)), len(STRENGTHS), HERE / "sprites-hair.png")
    right = _linear_classifier(known[::2], owners[::2], 2, known[1::2]).argmax(1) == owners[1::2]
    return {
        "explained": found.explained,
        "kept": kept,
        "share of the held-out frames classified rightly": float(right.mean()),
        **summary({each: np.stack(rows) for each, rows in values.items()}, name),
    }


def loop(model: ControlledModel) -> dict[str, Any]:
    """A loop through four seeds at an even pace and at equal steps."""
    path = LatentPath.of(model, [1, 2, 3, 4], loop=True)
    distances = distance_of(model, DISTANCE)
    even = path.at(path.even(49, distances))
    samples = path.decode(even)
    save_film(pictures_of(model.modality, samples)[:-1], HERE / "sprites-loop.webp", rate=12)
    return {
        "frames": 49,
        "first and last equal": bool(np.array_equal(samples["image"][0], samples["image"][-1])),
        "coefficient of variation": variation(distances(even)),
        "coefficient of variation at equal steps": variation(distances(path.at(path.equal(49)))),
    }


def first_direction(model: ControlledModel) -> dict[str, float]:
    """SeFa's first direction beside the first right singular vector of the maps with rows of length 1."""
    maps = model.linear_maps()
    rows = torch.cat([m.double() for m in maps])
    vectors = torch.linalg.svd(rows / rows.norm(dim=1, keepdim=True), full_matrices=False)[2]
    return {
        "|cos| of the first direction and the first right singular vector": float(
            (sefa(maps, 1)[0][0] @ vectors[0]).abs()
        )
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/control"))
    parser.add_argument("--no-training", action="store_true", help="measure the run as it is")
    parser.add_argument("--parts", nargs="+", default=["sefa", "own", "loop", "labels", "unseen"])
    parser.add_argument("--own", type=int, default=8)
    parser.add_argument("--unseen", type=int, default=8)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--tune", type=int, default=350, help="steps of tuning (Roich et al. 2021: 350)")
    parser.add_argument("--samples", type=int, default=2000, help="samples that directions are found by")
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("GAN_WEIGHTS", str(real_file("weights")))
    data = given.work / "sprites"
    if not data.exists():
        frames(data)
    values = read_values(HERE / "sprites.yaml")
    values["data"] = {"source": str(data / "train")}
    model = trained({} if given.no_training else values, given.work / "runs" / "sprites")
    file = HERE / "sprites.json"
    result: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    if result.get("real_samples_shown") != model.trained:
        result = {}

    def keep(name: str, make: Callable[[], dict[str, Any]]) -> None:
        """Record each part as it is there: the rest takes minutes."""
        begin = time.process_time()
        result[name] = {**make(), "cpu_seconds": time.process_time() - begin}
        record("sprites", result, model)

    own = [{"image": model.generate(1, seed)["image"][0]} for seed in range(1000, 1000 + given.own)]
    files = sorted((data / "held").glob("*/*-0.png"))
    unseen = [str(each) for each in files[:: max(1, len(files) // given.unseen)][: given.unseen]]
    parts: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
        "sefa": ("sefa", lambda: first_direction(model)),
        "own": ("own samples", lambda: project(model, own, given.steps, 0)),
        "loop": ("loop", lambda: loop(model)),
        "labels": ("direction by labels", lambda: by_labels(model, data, given.samples)),
        "unseen": ("unseen frames", lambda: project(model, unseen, given.steps, given.tune, HERE / "sprites-way.png")),
    }
    save_sheet(pictures_of(model.modality, model.generate(24, 5)), 8, HERE / "sprites-samples.png")
    for part in given.parts:
        keep(*parts[part])


if __name__ == "__main__":
    main()
