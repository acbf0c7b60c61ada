"""InfoGAN's codes on MNIST: what the class code means, and what one continuous code moves.

    python benchmarks/control/digits.py [--work DIR] [--no-training] [--seed 100]

A small DCGAN with codes of ten classes and two numbers, on the first 25,000 digits at 16 pixels (one thread,
resumable). Class accuracy: digits are generated with every class of the code, named by LeNet-5, and matched to codes by
the Hungarian method. The reader's codes of 5,000 unseen digits are matched with their labels in the same way. For each
number, the change of the slant, the thickness and the width of the drawn digit.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import HERE, record, trained
from gan.build import open_data, resolve
from gan.control.features import extractor_of
from gan.metrics.code_information import CodeInformation
from gan.plugins.manager import Plugins
from gan.recipe import read_values
from gan.reporting.films import pictures_of, save_sheet
from gan.reporting.reporter import Reporter
from gan.source import list_source
from gan.testing import real_file
from gan_image.data.datasets import write_idx
from gan_image.data.files import read_idx, read_idx_labels
from scipy.optimize import linear_sum_assignment

SPLIT = 25_000


def factors(images: np.ndarray) -> dict[str, np.ndarray]:
    """Slant, thickness and width of digits ``(N, H, W)`` 0 … 255, from their moments."""
    weight = images.astype(np.float64) / images.sum((1, 2), keepdims=True).clip(1)
    y, x = np.mgrid[: images.shape[1], : images.shape[2]]
    cx, cy = ((weight * axis).sum((1, 2))[:, None, None] for axis in (x, y))
    xx, yy, xy = ((weight * product).sum((1, 2)) for product in ((x - cx) ** 2, (y - cy) ** 2, (x - cx) * (y - cy)))
    return {"slant": -xy / yy.clip(1e-6), "thickness": images.mean((1, 2)), "width": np.sqrt(xx)}


def matched(table: np.ndarray) -> tuple[float, list[int]]:
    """The share on the best one-to-one matching of rows and columns, and the column of each row."""
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum() / table.sum()), columns.tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/control"))
    parser.add_argument("--no-training", action="store_true", help="measure the run as it is")
    parser.add_argument("--seed", type=int, default=100)
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("GAN_WEIGHTS", str(real_file("weights")))
    files = {file.name: file for file in list_source(real_file("image", "mnist"), (".gz",)).files}
    file = files["train-images-idx3-ubyte.gz"]
    images, labels = np.stack(list(read_idx(file))), read_idx_labels(file)
    assert labels is not None
    data = given.work / "mnist" / "train"
    data.mkdir(parents=True, exist_ok=True)
    write_idx(data / "d-images-idx3-ubyte", images[:SPLIT])
    values = read_values(HERE / "digits.yaml")
    values["data"], values["seed"] = {"source": str(data)}, given.seed
    model = trained({} if given.no_training else values, given.work / "runs" / f"digits-{given.seed}")
    begin = time.process_time()
    lenet = extractor_of(model, "lenet5")
    table = np.zeros((10, 10))
    for code in range(10):
        made = model.generate(100, 5, options={"code_1": code})
        named = lenet.extract(made, model.modality).probabilities
        assert named is not None
        table[code] = np.bincount(named.argmax(1), minlength=10)
    accuracy, digits = matched(table)
    held = given.work / "mnist" / "held"
    held.mkdir(exist_ok=True)
    write_idx(held / "d-images-idx3-ubyte", images[SPLIT:])
    known = Plugins.installed()
    pack = open_data(resolve({**values, "data": {"source": str(held)}}, known), known, Reporter())
    unseen = pack.take(np.arange(len(pack)))["image"]
    with torch.no_grad():
        read = model.architecture.read_codes({"image": torch.from_numpy(unseen).float()})[:, :10].argmax(1).numpy()
    of_real = np.zeros((10, 10))
    np.add.at(of_real, (read, labels[SPLIT:]), 1)
    real_accuracy, _ = matched(of_real)
    numbers: dict[str, Any] = {}
    for option in ("code_2", "code_3"):
        rows: dict[str, list[np.ndarray]] = {}
        sweep = np.linspace(-1, 1, 5)
        for value in sweep:
            made = model.generate(200, 6, options={option: float(value)})["image"][:, 0]
            for name, each in factors(made).items():
                rows.setdefault(name, []).append(each)
        change = {n: (np.stack(r)[-1] - np.stack(r)[0]).mean() / np.stack(r)[2].std() for n, r in rows.items()}
        numbers[option] = {
            "change of the mean from -1 to 1, in deviations": {n: round(float(v), 3) for n, v in change.items()},
            "means": {n: [round(float(each.mean()), 3) for each in r] for n, r in rows.items()},
        }
    with torch.no_grad():
        information = CodeInformation().compute(model.architecture, model.generate(1000, 1), {}, model.modality)
    grids = [model.generate(10, 8, options={"code_1": code})["image"] for code in range(10)]
    save_sheet(pictures_of(model.modality, {"image": np.concatenate(grids)}), 10, HERE / "digits-classes.png")
    for option in ("code_2", "code_3"):
        rows_of = [
            model.generate(10, 8, options={option: float(v), "code_1": 0})["image"] for v in np.linspace(-2, 2, 7)
        ]
        name = f"digits-{option.replace('_', '-')}.png"
        save_sheet(pictures_of(model.modality, {"image": np.concatenate(rows_of)}), 10, HERE / name)
    result = {
        "class accuracy of the code, generated digits by LeNet-5": accuracy,
        "digit of each class of the code": digits,
        "class accuracy of the reader on unseen digits": real_accuracy,
        "numbers": numbers,
        "information in nats": {v.name: {"value": v.value, **v.details} for v in information},
        "cpu_seconds of measuring": time.process_time() - begin,
    }
    record("digits", result, model)


if __name__ == "__main__":
    main()
