"""Roses into sunflowers and back without pairs: is the other flower recognised?

    GAN_WEIGHTS=../shared/data/weights python benchmarks/image/flower_domains.py cyclegan --minutes 15

`cyclegan-64` or `cut-64` on 160 photographs of roses and 160 of sunflowers at 64 pixels, drawn by a seeded shuffle; 40
of each are held out and translated. The judge, a logistic regression on SqueezeNet's features, is fitted to the
photographs of the training; what it says of held-out photographs is stated beside what it says of translations. With
`--pilot` the last 30 of the 160 take the place of the held-out ones, which are then not looked at: settings are chosen
so. The length of the training is set by the speed of its first steps.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gan import recipe as recipes
from gan.plugins.manager import Plugins
from gan.reporting.manifest import surroundings
from gan.testing import real_file
from gan_image.extractors.squeezenet import SqueezeNetExtractor
from gan_image.modality import grid
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from training import Training, length_for

HERE = Path(__file__).parent
KINDS = ("roses", "sunflowers")
LEARNED, PILOT = 160, 30
SHOWN = 10


def photographs() -> dict[str, list[Image.Image]]:
    """The photographs of each kind at 64 pixels, in a seeded order."""
    found = {}
    with zipfile.ZipFile(real_file("image", "flowers_128.zip")) as archive:
        for kind in KINDS:
            names = sorted(name for name in archive.namelist() if f"{kind}/" in name and name.endswith(".jpg"))
            order = np.random.Generator(np.random.Philox(0)).permutation(len(names))
            pictures = [Image.open(io.BytesIO(archive.read(names[row]))).convert("RGB") for row in order]
            found[kind] = [picture.resize((64, 64), Image.Resampling.LANCZOS) for picture in pictures]
    return found


def array(pictures: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("cyclegan", "cut"))
    parser.add_argument("--minutes", type=float, default=15.0, help="of CPU time, training only")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pilot", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    plugins, all_of = Plugins.installed(), photographs()
    last = LEARNED - PILOT if arguments.pilot else LEARNED
    learned = {kind: pictures[:last] for kind, pictures in all_of.items()}
    unseen = {kind: array(all_of[kind][last : LEARNED if arguments.pilot else None]) for kind in KINDS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for side, kind in zip("AB", KINDS, strict=True):
            (folder / side).mkdir()
            for number, picture in enumerate(learned[kind]):
                picture.save(folder / side / f"{number:03}.png")
        settings = ["data.holdout=0", f"seed={arguments.seed}", *arguments.set]
        length = length_for(f"{arguments.kind}-64", folder, settings, arguments.minutes, plugins)
        settings += [f"training.samples={length}", f"training.tick={max(100, length // 20)}"]
        training = Training(f"{arguments.kind}-64", folder, settings, plugins)
        seconds = training.run(66 * arguments.minutes)
        model = training.model()

        def translated(given: dict[str, np.ndarray], options: dict[str, Any] | None) -> dict[str, np.ndarray]:
            count = len(next(iter(given.values())))
            with training.trainer.sampling():
                return model.generate(count, 0, given=given, options=options)

        roses, sunflowers = (unseen[kind] for kind in KINDS)
        made = {"roses to sunflowers": translated({"source": roses}, None)["target"]}
        if arguments.kind == "cyclegan":
            made["sunflowers to roses"] = translated({"target": sunflowers}, {"direction": "ba"})["source"]
        recipe = recipes.dump(training.resolved.recipe).replace(temporary, "flowers")
        shown_parameters = training.trainer.parameter_counts()
        samples = training.trainer.samples
        extractor = SqueezeNetExtractor(None, "cpu")

        def features(pictures: np.ndarray) -> np.ndarray:
            return np.asarray(extractor({"image": pictures}, training.modality).vectors)

        judge = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
        known = [array(learned[kind]) for kind in KINDS]
        judge.fit(features(np.concatenate(known)), np.repeat([0, 1], [len(part) for part in known]))
        shares = {
            "roses": float((judge.predict(features(roses)) == 0).mean()),
            "sunflowers": float((judge.predict(features(sunflowers)) == 1).mean()),
        }
        for name, pictures in made.items():
            wanted = 1 if name.startswith("roses") else 0
            shares[name] = float((judge.predict(features(pictures)) == wanted).mean())
    result = {
        "what": "share of held-out photographs, and of their translations, that the judge takes for what they are or "
        "should be",
        "shares": shares,
        "held_out": {kind: len(pictures) for kind, pictures in unseen.items()},
        "cpu_seconds": seconds,
        "real_samples_shown": samples,
        "parameters": shown_parameters,
        "recipe": recipe,
        "machine": surroundings(),
    }
    print(json.dumps({name: result[name] for name in ("shares", "cpu_seconds", "real_samples_shown")}, indent=1))
    rows = [roses[:SHOWN], made["roses to sunflowers"][:SHOWN]]
    if arguments.kind == "cyclegan":
        rows += [sunflowers[:SHOWN], made["sunflowers to roses"][:SHOWN]]
    title = f"flower_domains_{arguments.kind}" + (f"_seed{arguments.seed}" if arguments.seed else "")
    grid(np.concatenate(rows), columns=SHOWN).save(arguments.out / f"{title}.png")
    (arguments.out / f"{title}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
