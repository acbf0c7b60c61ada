"""What it costs to label and to mark 1,000 pictures while they are written, in CPU time, interleaved.

    python benchmarks/provenance/costs.py

The pictures (256 x 256 pixels, four photographs each) are written by `Model.write` in blocks of 100, in turn: bare (no
record, no manifest), with metadata and the signed manifest, and with the mark as well. Every block goes to a folder of
its own with a manifest of its own, and the order changes from block to block. The ratio is that of the sums; the
quartiles are over blocks.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from common import key, record
from gan.generation.model import Model
from gan.provenance.folder import Listing
from gan.provenance.labels import Labels
from gan_image.marking import ImageMark
from gan_image.modality import ImageConfig, ImageModality
from pictures import mosaic, pictures

BLOCK, BLOCKS = 100, 10


class Bare(Labels):
    """Labels that do nothing: files are written as the modality writes them."""

    @contextlib.contextmanager
    def listing(self, folder):
        yield Listing(folder)

    def label(self, aside, place, facts, listing, *, marked=True):
        pass


def main() -> None:
    started = time.process_time()
    tiles = pictures("image", "flowers_128.zip")
    images = np.stack([mosaic(tiles, 256).transpose(2, 0, 1) for _ in range(BLOCK)])
    modality = ImageModality(ImageConfig(resolution=256, channels=3))
    model = Model(torch.nn.Identity(), modality, "image/dcgan", torch.device("cpu"))
    origin = {"model": "image/dcgan", "plugin": "gan-image 0.1.0", "weights": "0" * 64, "recipe": "0" * 64}
    labels = Labels(origin)
    ways = {
        "bare": Bare(),
        "metadata and manifest": labels,
        "metadata, manifest and mark": replace(labels, mark=ImageMark(key(0)), mark_name="pixels"),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        for block in range(-1, BLOCKS):  # the first is not counted
            names = list(ways)
            for name in names[block % 3 :] + names[: block % 3]:
                model.labels = ways[name]
                target = Path(folder, f"{block}-{names.index(name)}")
                began = time.process_time()
                model.write({"image": images}, target, seed=0)
                if block >= 0:
                    times[name].append(time.process_time() - began)
                shutil.rmtree(target)
    bare = np.array(times["bare"])
    result: dict[str, object] = {
        "pictures": BLOCK * BLOCKS,
        "milliseconds_per_picture_bare": 1000 * bare.sum() / BLOCK / BLOCKS,
    }
    for name in list(ways)[1:]:
        values = np.array(times[name])
        result[name] = {
            "ratio": float(values.sum() / bare.sum()),
            "quartiles": [float(value) for value in np.percentile(values / bare, [25, 50, 75])],
        }
    metadata = np.array(times["metadata and manifest"])
    marked = np.array(times["metadata, manifest and mark"])
    result["mark beside metadata and manifest"] = {"ratio": float(marked.sum() / metadata.sum())}
    record("costs", result, started)


if __name__ == "__main__":
    main()
