"""StyleGAN2 at 64 pixels on sprites: projection, a direction by labels, SeFa, the pace of a loop.

    python benchmarks/control/sprites.py [--work DIR] [--no-training]

Trains on frames of the characters 0 to 539 of lpc_sprites.zip, seen from the front and from the right (one thread,
resumable), or measures the run in DIR as far as it is trained. Projection: samples of the generator itself, and frames
of characters that it has not seen, in w, w+ and with a tuned generator; LPIPS's formula on SqueezeNet 1.0. A direction
is found by frames in two folders, front and right; a classifier that is fitted to other examples measures it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
import zipfile
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


def project(model: ControlledModel, targets: list[Any], steps: int, tune: int) -> dict[str, Any]:
    """PSNR and perceptual distance of each stage, of every target."""
    values: dict[str, dict[str, list[float]]] = {}
    for target in targets:
        found = model.project(target, steps=steps, tune=tune)
        for stage, samples in found.stages.items():
            row = values.setdefault(stage, {"psnr": [], "perceptual": []})
            row["psnr"].append(round(found.likeness[stage]["psnr"], 2))
            row["perceptual"].append(round(perceptual(model, samples, found.target), 4))
        print({stage: (row["psnr"][-1], row["perceptual"][-1]) for stage, row in values.items()}, flush=True)
    return {
        stage: {**row, "mean psnr": float(np.mean(row["psnr"])), "mean perceptual": float(np.mean(row["perceptual"]))}
        for stage, row in values.items()
    }


def by_labels(model: ControlledModel, data: Path, samples_of: int) -> dict[str, Any]:
    """The direction from front to right, measured by a classifier of other examples, beside attributes of pictures."""
    for view in ("front", "right"):  # half of the training frames find the direction, held-out ones measure it
        (data / "half" / view).mkdir(parents=True, exist_ok=True)
        for file in sorted((data / "train" / view).iterdir())[::4]:
            (data / "half" / view / file.name).write_bytes(file.read_bytes())
    find(model, "score", "all", samples=samples_of)
    kept = ["brightness", "saturation", "warmth"]
    (found,) = find(model, "labels", str(data / "half"), name="view", keep=kept, samples=samples_of)
    extractor = extractor_of(model, "raw")
    held, owners = [], []
    for number, view in enumerate(("front", "right")):
        for file in sorted((data / "held" / view).iterdir()):
            held.append(np.asarray(Image.open(file)).transpose(2, 0, 1))
            owners.append(number)
    known = extractor.extract({"image": np.stack(held)}, model.modality).vectors.astype(np.float64)
    start = model.draw(samples_of // 10, 99)
    values: dict[str, list[Any]] = {name: [] for name in ("view", *kept)}
    for strength in STRENGTHS:
        samples = model.decode(Latents(start.values + strength * model.directions["view"], start.given))
        made = extractor.extract(samples, model.modality).vectors.astype(np.float64)
        values["view"].append(_linear_classifier(known, np.array(owners), 2, made)[:, 1])
        for name in kept:
            values[name].append(Score(model, name).of(samples))
    row = model.draw(4, 7)
    edits = torch.stack([row.values + s * model.directions["view"] for s in STRENGTHS], 1).flatten(0, 1)
    save_sheet(pictures_of(model.modality, model.decode(edits)), len(STRENGTHS), HERE / "sprites-view.png")
    about = {"explained": found.explained, "kept": kept, "share of the held-out frames classified rightly": None}
    right = _linear_classifier(known[::2], np.array(owners)[::2], 2, known[1::2]).argmax(1) == np.array(owners)[1::2]
    about["share of the held-out frames classified rightly"] = float(right.mean())
    return {**about, **summary({name: np.stack(each) for name, each in values.items()}, "view")}


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/control"))
    parser.add_argument("--no-training", action="store_true", help="measure the run as it is")
    parser.add_argument("--own", type=int, default=8)
    parser.add_argument("--unseen", type=int, default=8)
    parser.add_argument("--steps", type=int, default=300)
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
    begin = time.process_time()
    result: dict[str, Any] = {}

    def keep(name: str, values_of: dict[str, Any]) -> None:
        """Record each part as it is there: the rest takes minutes."""
        result[name] = values_of
        record("sprites", {**result, "cpu_seconds of measuring": time.process_time() - begin}, model)

    save_sheet(pictures_of(model.modality, model.generate(24, 5)), 8, HERE / "sprites-samples.png")
    maps = model.linear_maps()
    rows = torch.cat([m.double() for m in maps])
    vectors = torch.linalg.svd(rows / rows.norm(dim=1, keepdim=True), full_matrices=False)[2]
    cosine = float((sefa(maps, 1)[0][0] @ vectors[0]).abs())
    keep("sefa", {"|cos| of the first direction and the first right singular vector": cosine})
    own = [{"image": model.generate(1, seed)["image"][0]} for seed in range(1000, 1000 + given.own)]
    keep("own samples", project(model, own, given.steps, 0))
    keep("loop", loop(model))
    files = sorted((data / "held").glob("*/*-0.png"))
    unseen = [str(file) for file in files[:: max(1, len(files) // given.unseen)][: given.unseen]]
    tune = 2 * given.steps // 3
    found = model.project(unseen[0], steps=given.steps, tune=tune)
    tiles = {"image": np.concatenate([found.target["image"], *(each["image"] for each in found.way)])}
    save_sheet(pictures_of(model.modality, tiles), len(tiles["image"]), HERE / "sprites-way.png")
    keep("direction by labels", by_labels(model, data, given.samples))
    keep("unseen frames", project(model, unseen, given.steps, tune))


if __name__ == "__main__":
    main()
