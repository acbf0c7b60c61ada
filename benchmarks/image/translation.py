"""Quality of translation on held-out pairs, compared with baselines that learn nothing.

    python benchmarks/image/translation.py pix2pix     # emoji outlines to colour, the recipe pix2pix-64
    python benchmarks/image/translation.py cyclegan    # blob emoji to noto emoji, unpaired, cyclegan-64
    python benchmarks/image/translation.py cut         # the same, cut-64
    python benchmarks/image/translation.py cyclegan --shapes    # drawn shapes in cold colours to warm ones
    python benchmarks/image/translation.py cut --shapes
    python benchmarks/image/translation.py pix2pix --data pairs_blob2noto_64.zip   # with pairs, for comparison
    python benchmarks/image/translation.py pix2pix --tenth 8 --seed 1    # other held-out pairs, another seed
    python benchmarks/image/translation.py pix2pix --tenth 1 --leave-out 8    # choose settings, without tenth 8

A tenth of the pairs, chosen by a hash of their names, is held out. L1 is the mean absolute difference of pixels in 0 …
1. Time is the CPU time of training on one thread. A blurred source is the baseline of a translator that only softens
edges. The target of a shape in a cold colour is the shape in the opposite colour; no training image has a target.

pix2pix is evaluated without its noise (dropout, latent vectors) and with it: one translation of each source, and with
latent vectors also the mean and the best of eight, their mean L1 to each other, and the medoid, the one of the eight
with the smallest mean L1 to the others. At the end translations, targets and lookups are compared by `saturation`, the
mean over all pixels of HSV's (max - min) / max; `chroma`, the mean of max - min; `grid`, how much alternates from pixel
to pixel where the source is flat (`nyquist`); and, with GAN_WEIGHTS, FID[squeezenet] to the targets of the same
sources. `lookup` is the target of the training pair whose source has the smallest L1. `louder` is a translation whose
distance from grey is multiplied so that its saturation is 90 % of the targets': what saturation costs without training.

The result is rewritten at every tick, so that an interrupted run leaves its latest values. `--seconds` ends a run after
that much CPU time; the learning rate schedule remains that of the whole run.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gan import recipe as recipes
from gan.evaluation.metric_names import find_metrics, measure
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.reporting.reporter import Tick
from gan.testing import real_file
from gan.weights import VARIABLE
from gan_image.data.datasets import drawn, hue, some_shapes
from gan_image.metrics.pairs import l1, psnr, ssim
from gan_image.modality import grid
from PIL import Image
from scipy.ndimage import gaussian_filter
from training import Training

HERE = Path(__file__).parent
SETS = {
    "pix2pix": "pairs_emoji_outline2color_64.zip",
    "cyclegan": "pairs_blob2noto_64.zip",
    "cut": "pairs_blob2noto_64.zip",
}
OPTIONS: dict[str, dict[str, bool] | None] = {
    "pix2pix": {"deterministic": True},
    "cyclegan": {"reconstruct": True},
    "cut": None,
}
SHOWN = 8
MANY = 8
"""Translations of each source by pix2pix with latent vectors."""
BLURS = (0.5, 1.0, 1.5, 2.0, 3.0)
"""Standard deviations of the Gaussian, in pixels."""
Array = np.ndarray


def pairs(name: str) -> dict[str, tuple[Image.Image, Image.Image]]:
    """File name -> (left, right) of a dataset of the shared data."""
    found = {}
    with zipfile.ZipFile(real_file("image", name)) as archive:
        for member in sorted(archive.namelist()):
            if member.endswith(".png"):
                picture = Image.open(io.BytesIO(archive.read(member))).convert("RGB")
                found[Path(member).name] = (picture.crop((0, 0, 64, 64)), picture.crop((64, 0, 128, 64)))
    return found


def shapes(count: int) -> dict[str, tuple[Image.Image, Image.Image]]:
    """Shapes that are not in the dataset, in a cold colour and in the opposite, warm one."""
    rng = np.random.Generator(np.random.Philox(3))
    found = {}
    for number in range(count):
        drawn_shapes = some_shapes(rng)
        hues = [rng.uniform(0, 60) for _ in drawn_shapes]
        cold, warm = (drawn(drawn_shapes, [hue(first + degrees) for degrees in hues]) for first in (180, 0))
        found[f"{number:03}.png"] = (cold, warm)
    return found


def unseen(name: str, tenth: int) -> bool:
    """Whether a name is in the given tenth (0 … 8) of all names."""
    return hashlib.sha256(name.encode()).digest()[0] // 26 == tenth


def write_training(kind: str, found: dict[str, tuple[Image.Image, Image.Image]], folder: Path) -> None:
    """Write pairs side by side, or as two folders with unrelated names."""
    for name, (left, right) in found.items():
        if kind == "pix2pix":
            both = Image.new("RGB", (128, 64))
            both.paste(left, (0, 0))
            both.paste(right, (64, 0))
            both.save(folder / name)
        else:
            for side, picture in (("A", left), ("B", right)):
                (folder / side).mkdir(exist_ok=True)
                hidden = hashlib.sha256(f"{side} {name}".encode()).hexdigest()[:16]
                picture.save(folder / side / f"{hidden}.png")


def array(pictures: list[Image.Image]) -> Array:
    return np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures])


def scores(found: Array, true: Array) -> dict[str, float]:
    first, second = found / 255.0, true / 255.0
    return {
        name: float(compare(first, second).mean()) for name, compare in (("l1", l1), ("psnr", psnr), ("ssim", ssim))
    }


def saturation(pictures: Array) -> Array:
    """``(N, 3, H, W)`` uint8 -> ``(N, H, W)`` saturation of HSV, 0 … 1: (max - min) / max, 0 for black."""
    most = pictures.max(1).astype(float)
    return (most - pictures.min(1)) / np.maximum(most, 1)


def nyquist(pictures: Array, sources: Array) -> float:
    """Root mean square, on the scale 0 … 1, of what alternates from pixel to pixel (across, down, and as a chessboard)
    in squares of 8 pixels where the source is flat: the grid that transposed convolutions leave. With an amplitude a of
    such a pattern over all colours it is a."""
    count, channels, height, width = pictures.shape
    shape = (count, channels, height // 8, 8, width // 8, 8)
    flat = np.ptp(sources.reshape(shape).astype(float), axis=(1, 3, 5)) == 0
    squares = (pictures / 255.0).reshape(shape)
    sign = np.where(np.arange(8) % 2, -1.0, 1.0)
    one = np.ones(8)
    energy = sum(
        np.square(np.einsum("nchywx,y,x->nchw", squares, first, second) / 64).mean(1)
        for first, second in ((sign, one), (one, sign), (sign, sign))
    )
    return float(np.sqrt(energy[flat].mean()))


def lookup(sources: Array, seen_sources: Array, seen: Array) -> Array:
    """The targets of the training pairs whose sources have the smallest L1 to the given ones."""
    flat = torch.from_numpy(seen_sources).flatten(1).float()
    nearest = torch.cdist(torch.from_numpy(sources).flatten(1).float(), flat, p=1).argmin(1)
    return seen[nearest.numpy()]


def of_many(found: Array, targets: Array) -> dict[str, float]:
    """Mean, smallest and medoid's L1 of translations ``(K, N, 3, H, W)``, and their mean L1 to each other."""
    pictures, true = found / 255.0, targets / 255.0
    apart = np.abs(pictures - true).mean((2, 3, 4))
    between = np.stack([np.abs(pictures - one).mean((2, 3, 4)) for one in pictures])
    middle = between.mean(0).argmin(0)
    medoid = found[middle, np.arange(len(targets))]
    return {
        "mean_l1": float(apart.mean()),
        "best_l1": float(apart.min(0).mean()),
        "medoid_l1": scores(medoid, targets)["l1"],
        "medoid_saturation": float(saturation(medoid).mean()),
        "to_each_other": float(between.sum((0, 1)).mean() / (len(found) * (len(found) - 1))),
    }


def louder(pictures: Array, wanted: float) -> tuple[float, Array]:
    """The factor on each pixel's distance from grey with which the mean saturation is `wanted`, and the pictures."""
    values = pictures.astype(float)
    grey = values.mean(1, keepdims=True)
    low, high = 0.0, 8.0
    for _ in range(30):
        factor = (low + high) / 2
        changed = (grey + factor * (values - grey)).round().clip(0, 255).astype(np.uint8)
        low, high = (factor, high) if saturation(changed).mean() < wanted else (low, factor)
    return factor, changed


class Colours:
    """Saturation, grid and FID[squeezenet] of translations; the distance is that to the targets of the same sources."""

    def __init__(self, sources: Array, targets: Array, modality: Any, plugins: Plugins) -> None:
        self.sources, self.targets, self.modality = sources, targets, modality
        self.metrics = find_metrics(["fid[squeezenet]"], "image", plugins) if os.environ.get(VARIABLE) else {}

    def of(self, pictures: Array) -> dict[str, float]:
        """The measures of pictures ``(N, 3, H, W)`` uint8."""
        found = {
            "saturation": float(saturation(pictures).mean()),
            "chroma": float((np.ptp(pictures.astype(float), axis=1) / 255).mean()),
            "grid": nyquist(pictures, self.sources),
        }
        for value in measure(self.metrics, {"image": pictures}, {"image": self.targets}, self.modality):
            found[value.name] = float(value.value)
        return found


def baselines(sources: Array, targets: Array, seen: Array) -> dict[str, dict[str, float]]:
    """Scores of translators that learn nothing; the blur is the best one, chosen on the held-out images."""
    return {
        "untranslated": scores(sources, targets),
        "blurred": min(
            (scores(gaussian_filter(sources.astype(float), (0, 0, sigma, sigma)), targets) for sigma in BLURS),
            key=lambda found: found["l1"],
        ),
        "mean_colour": scores(np.broadcast_to(seen.mean((0, 2, 3))[None, :, None, None], targets.shape), targets),
        "mean_picture": scores(np.broadcast_to(seen.mean(0)[None], targets.shape), targets),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(SETS))
    parser.add_argument("--data", choices=sorted(set(SETS.values())), help="another dataset of pairs")
    parser.add_argument("--shapes", action="store_true", help="drawn shapes in place of emoji")
    parser.add_argument("--tenth", type=int, default=0, choices=range(9), help="which tenth of the pairs is held out")
    parser.add_argument("--leave-out", type=int, choices=range(9), help="a tenth that is neither learned nor measured")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", help="of the files that are written; none: composed of the data and the options")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=float("inf"), help="CPU time after which training stops")
    parser.add_argument("--out", type=Path, help="folder for the result and the pictures", default=HERE)
    arguments = parser.parse_args()
    kind = arguments.kind
    torch.set_num_threads(1)
    plugins = Plugins.installed()
    if arguments.shapes:
        data, title = "shape-domains", f"{kind}-shapes"
        found = shapes(64)
        held_out = list(found)
        seen = array([picture for _, picture in found.values()])
    else:
        data = arguments.data or SETS[kind]
        title = kind if data == SETS[kind] else f"{kind}-{data.split('_')[1]}"
        found = pairs(data)
        if arguments.tenth:
            title += f"-tenth-{arguments.tenth}"
        if arguments.seed:
            title += f"-seed-{arguments.seed}"
        held_out = [name for name in found if unseen(name, arguments.tenth)]
        out = arguments.leave_out
        found = {name: pair for name, pair in found.items() if out is None or not unseen(name, out)}
        learned = [name for name in found if name not in held_out]
        seen_sources, seen = (array([found[name][side] for name in learned]) for side in (0, 1))
    title = arguments.name or title
    sources, targets = (array([found[name][side] for name in held_out]) for side in (0, 1))
    shown = np.linspace(0, len(sources) - 1, SHOWN).round().astype(int)  # spread over all names
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if not arguments.shapes:
            write_training(kind, {name: pair for name, pair in found.items() if name not in held_out}, folder)
        source = data if arguments.shapes else folder
        settings = ["data.holdout=0", f"seed={arguments.seed}", *arguments.set]
        trained = Training(f"{kind}-64", source, settings, plugins)
        resolved, pack, modality, game, trainer = (
            trained.resolved, trained.pack, trained.modality, trained.game, trained.trainer,
        )  # fmt: skip
        model = trained.model()
        latent = getattr(game.architecture.config, "latent", 0)
        recipe = recipes.dump(resolved.recipe).replace(temporary, "pairs")
        spent = 0.0

        def translated(given: dict[str, Array], options: dict[str, Any] | None, noise: int = 0) -> dict[str, Array]:
            with trainer.sampling():
                return model.generate(len(sources), noise, given=given, options=options)

        def record(terms: dict[str, float]) -> None:
            samples = translated({"source": sources}, OPTIONS[kind])
            result = {
                "set": data,
                "unseen": len(sources),
                "trained_on": len(pack),
                "translated": scores(samples["target"], targets),
                **baselines(sources, targets, seen),
                "cpu_seconds": spent,
                "real_samples_shown": trainer.samples,
                "parameters": trainer.parameter_counts(),
                "recipe": recipe,
                "machine": surroundings(),
            }
            rows = [samples["source"][shown], samples["target"][shown], targets[shown]]
            if kind == "pix2pix":
                count = 1 if not latent else MANY if trainer.finished else 3
                many = [translated({"source": sources}, None, noise)["target"] for noise in range(count)]
                result["translated_with_noise"] = scores(many[0], targets)
                rows[2:2] = [pictures[shown] for pictures in many[:3]] if latent else []
                if trainer.finished:
                    result["colours"] = coloured(samples["target"], many[0])
                    result["of_many"] = of_many(np.stack(many), targets) if latent else None
            if "reconstruction" in samples:
                back = translated({"target": targets}, {"direction": "ba"})
                result["translated_back"] = scores(back["source"], sources)
                result["cycle_error"] = float(2 * l1(samples["reconstruction"] / 255.0, sources / 255.0).mean())
                rows.insert(2, samples["reconstruction"][shown])
            (arguments.out / f"{title}.json").write_text(json.dumps(result, indent=1) + "\n")
            grid(np.concatenate(rows), columns=SHOWN).save(arguments.out / f"{title}.png")
            translation = {name: round(value, 4) for name, value in result["translated"].items()}
            cycle = ""
            if "cycle_error" in result:
                cycle = f"  back {result['translated_back']['l1']:.4f}  cycle {result['cycle_error']:.4f}"
            rounded = {name: round(value, 3) for name, value in terms.items() if "/_" not in name}
            print(f"{spent:6.0f} s  {trainer.samples:9,}  {translation}{cycle}  {rounded}", flush=True)

        def coloured(still: Array, noisy: Array) -> dict[str, Any]:
            """Colours of all pictures at the end of the training."""
            colours = Colours(sources, targets, modality, plugins)
            looked_up = lookup(sources, seen_sources, seen)
            found = {"targets": colours.of(targets), "translated": colours.of(still)}
            if latent:
                found["translated_with_noise"] = colours.of(noisy)
            found["lookup"] = {**scores(looked_up, targets), **colours.of(looked_up)}
            factor, changed = louder(still, 0.9 * found["targets"]["saturation"])
            found["louder"] = {"factor": factor, **scores(changed, targets), **colours.of(changed)}
            return found

        start = time.process_time()
        judging = 0.0

        def at_tick(tick: Tick) -> None:
            nonlocal spent, judging
            before = time.process_time()
            spent = before - start - judging  # of training alone
            record(tick.terms)
            judging += time.process_time() - before

        trainer.run(at_tick, lambda: time.process_time() - start - judging > arguments.seconds)
        if not trainer.finished:
            at_tick(Tick(trainer.samples, trainer.total, "", {}, trainer.seconds, 0.0, 0, False))


if __name__ == "__main__":
    main()
