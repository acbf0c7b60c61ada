"""Quality of translation on held-out pairs, compared with baselines that learn nothing.

    python benchmarks/image/translation.py pix2pix     # emoji outlines to colour, the recipe pix2pix-64
    python benchmarks/image/translation.py cyclegan    # blob emoji to noto emoji, unpaired, cyclegan-64
    python benchmarks/image/translation.py cut         # the same, cut-64
    python benchmarks/image/translation.py cyclegan --shapes    # drawn shapes in cold colours to warm ones
    python benchmarks/image/translation.py cut --shapes
    python benchmarks/image/translation.py pix2pix --data pairs_blob2noto_64.zip   # with pairs, for comparison
    python benchmarks/image/translation.py pix2pix --tenth 1    # held-out pairs on which no setting was chosen

A tenth of the pairs, chosen by a hash of their names, is held out. L1 is the mean absolute difference of pixels in 0 …
1. Time is the CPU time of training on one thread. pix2pix is evaluated with dropout disabled and, as in its paper,
enabled. A blurred source is the baseline of a translator that only softens edges. The target of a shape in a cold
colour is the shape in the opposite colour; no training image has a target.

The result is rewritten at every tick, so that an interrupted run leaves its latest values. `--seconds` ends a run after
that much CPU time; the learning rate schedule remains that of the whole run.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
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
from gan.generation.model import Model
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.reporting.reporter import Reporter, Tick
from gan.runtime.device import choose_device
from gan.testing import real_file
from gan.training.trainer import Trainer
from gan_image.data.datasets import drawn, hue, some_shapes
from gan_image.metrics.pairs import l1, psnr, ssim
from gan_image.modality import grid
from PIL import Image
from scipy.ndimage import gaussian_filter

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
        held_out = [name for name in found if unseen(name, arguments.tenth)]
        seen = array([found[name][1] for name in found if not unseen(name, arguments.tenth)])
    sources, targets = (array([found[name][side] for name in held_out]) for side in (0, 1))
    shown = np.linspace(0, len(sources) - 1, SHOWN).round().astype(int)  # spread over all names
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if not arguments.shapes:
            write_training(kind, {name: pair for name, pair in found.items() if name not in held_out}, folder)
        source = data if arguments.shapes else folder
        settings = [f"data.source={source}", "data.holdout=0", "training.device=cpu", *arguments.set]
        resolved = resolve(named_recipe("image", named=f"{kind}-64", settings=settings, plugins=plugins), plugins)
        pack = open_data(resolved, plugins, Reporter())
        modality = resolved.modality_class(resolved.modality_config, pack.facts)
        game = build_game(resolved, modality.fields)
        training, seed = resolved.recipe.training, resolved.recipe.seed
        device = choose_device("cpu", training.precision)
        order = Order(pack.sizes, seed)
        trainer = Trainer(game.architecture, game.players, game.phases, pack, order, training, seed, device)
        model = Model(game.architecture, modality, resolved.title, device.device)
        recipe = recipes.dump(resolved.recipe).replace(temporary, "pairs")
        spent = 0.0

        def translated(given: dict[str, Array], options: dict[str, Any] | None) -> dict[str, Array]:
            with trainer.sampling():
                return model.generate(len(sources), 0, given=given, options=options)

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
                result["translated_with_dropout"] = scores(translated({"source": sources}, None)["target"], targets)
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
