"""Trains every recipe of the first-party plugins for two iterations at tiny size and fingerprints the weights.

`python tests/golden/weights.py FILE` writes the record that `test_golden_weights.py` compares with. Weights are
bit-identical only on the same processor and build of torch, so the record names both and also holds norms, which
other machines compare with a tolerance.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

PLUGINS = ("image", "text", "music")
SOURCES = {"cyclegan-256": "shape-domains", "cut-256": "shape-domains", "pix2pix-256": "shape-pairs"}
"""Recipes without data of their own, and the drawn data set that they are trained on here."""
LEFT_OUT = {"compact": "wants five tracks", "paper": "wants five tracks"}
"""Recipes that no data at hand without a download fit, and why."""


def recipe_names() -> list[tuple[str, str]]:
    """(plugin, recipe) of every recipe that a first-party plugin offers."""
    from gan.plugins.manager import Plugins

    plugins = Plugins.installed()
    return [
        (plugin, plugin_entry.entry.name)
        for plugin in PLUGINS
        for plugin_entry in plugins.entries("gan_recipes", plugin)
        if plugin_entry.entry.name not in LEFT_OUT
    ]


def tiny_values(plugin: str, recipe: str) -> dict[str, Any]:
    """The recipe with its architecture's small settings and a few iterations."""
    from gan.api import recipe as recipe_values
    from gan.plugins.manager import Plugins
    from gan.recipe import with_settings

    values = recipe_values(plugin, named=recipe)
    plugins = Plugins.installed()
    entry = plugins.find("gan_architectures", values["architecture"], prefer=plugin).entry
    values = with_settings(values, entry.small)
    if recipe in SOURCES:
        values["data"] = {**(values.get("data") or {}), "source": SOURCES[recipe]}
    training = values.get("training") or {}
    batch = min(int(training.get("batch", 4)), 4)
    keep = {k: v for k, v in training.items() if k in ("ema_half_life", "ema_rampup", "channels_last")}
    values["training"] = {**keep, "batch": batch, "device": "cpu", "precision": "fp32", "preview_ticks": 0}
    values["evaluation"] = {"metrics": [], "samples": 4, "artefacts": 1}
    return values


def train_tiny(plugin: str, recipe: str, folder: Path) -> dict[str, Any]:
    """Fingerprint of the weights after the tiny training: sha256 of all tensors, and the norm of each file."""
    import torch
    from gan.api import train
    from safetensors.torch import load_file

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(tiny_values(plugin, recipe), out=folder, samples=24)
    finally:
        torch.set_num_threads(threads)
    newest = max((folder / "checkpoints").iterdir())
    digest, norms = hashlib.sha256(), {}
    for path in sorted(newest.glob("*.safetensors")):
        total = 0.0
        for name, tensor in sorted(load_file(path).items()):
            digest.update(f"{path.stem}/{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
            if tensor.is_floating_point() and path.stem == "architecture":
                total += float(tensor.double().square().sum())
        if path.stem == "architecture":
            norms[path.stem] = total**0.5
    return {"sha256": digest.hexdigest(), "norms": norms}


def machine() -> dict[str, str]:
    """What must be equal for weights to be bit-identical."""
    import torch

    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.is_file() else []
    model = next((line for line in lines if line.startswith("model name")), "")
    return {
        "processor": model.partition(":")[2].strip() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__.partition("+")[0],
    }


def main() -> None:
    """Write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    record: dict[str, Any] = {"machine": machine(), "recipes": {}}
    file = parser.parse_args().file
    for plugin, recipe in recipe_names():
        with tempfile.TemporaryDirectory() as folder:
            record["recipes"][f"{plugin}/{recipe}"] = train_tiny(plugin, recipe, Path(folder) / "run")
        print(plugin, recipe, record["recipes"][f"{plugin}/{recipe}"])
    file.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
