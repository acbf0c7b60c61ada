"""Whole runs of the generators: the class that is asked for on the command line, schedules of recipes, two
processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gan import api
from gan.build import build_game, recipe_values, resolve
from gan.cli import group
from gan.contracts import FieldSpec
from gan.plugins.manager import Plugins
from gan.recipe import Schedule, with_settings
from gan.storage.checkpoint import Checkpoints
from PIL import Image

PLUGINS = Plugins.installed()
SMALL = {
    "stylegan2-32": ["model={capacity: 64, latent: 8, style: 8, mapping_layers: 2}"],
    "r3gan-32": ["model={width: 8, group: 1, latent: 8, blocks: 1}"],
    "biggan-32": ["model={width: 2, latent: 8, shared: 4}"],
    "wgan-gp-32": ["model={generator_width: 4, discriminator_width: 4, latent: 8}"],
}
COMMON = [
    "modality.labels=true", "training.samples=16", "training.batch=8", "training.watch=off", "training.device=cpu",
    "evaluation.metrics=[]", "evaluation.samples=4", "evaluation.artefacts=1", "data.source=digits",
]  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_every_architecture_with_classes_gives_the_class_that_is_asked_for(
    name: str, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
):
    """By name and by number the same image, another one for another class, and a refusal of one that is not there."""
    values = with_settings(recipe_values(PLUGINS, "image", named=name), [*COMMON, *SMALL[name]])
    run = tmp_path / "run"
    api.train(values, out=run, plugins=PLUGINS)
    images = {}
    for asked in ("3", "7"):
        out = tmp_path / asked
        group(["generate", str(run), "--class", asked, "--out", str(out), "--quiet"], standalone_mode=False)
        images[asked] = np.asarray(Image.open(next(out.glob("sample-*.png"))))
    assert images["3"].shape == (32, 32)
    model = api.load(run, device="cpu", plugins=PLUGINS)
    again = model.generate(1, conditions={"label": 3})["image"][0, 0]
    assert np.abs(images["3"].astype(int) - again).max() <= 1
    weights = dict(model.architecture.named_parameters())
    with torch.no_grad():  # embeddings that start at zero
        for parameter in weights.values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    made = [model.generate(1, conditions={"label": label})["image"] for label in (3, 7)]
    assert (made[0] != made[1]).any()
    with pytest.raises(Exception, match="label"):
        group(["generate", str(run), "--class", "11", "--out", str(tmp_path / "no")], standalone_mode=False)


@pytest.mark.parametrize("name", ["r3gan-cifar10", "r3gan-64", "r3gan-256", "r3gan-imagenet32", "r3gan-imagenet64"])
def test_published_recipes_of_r3gan_have_all_five_schedules(name: str):
    """γ falls to a tenth, the learning rate to a quarter, β₂ rises to 0.99, the half-life and the augmentation from
    0, all along a cosine over the same burn-in."""
    resolved = resolve(recipe_values(PLUGINS, "image", named=name), PLUGINS)
    recipe = resolved.recipe
    side = recipe.modality["resolution"]
    fields = {"image": FieldSpec((3, side, side), "uint8", 0, 255, "intensity")}
    with torch.device("meta"):
        game = build_game(resolved, fields)
    burn_in = round(recipe.model["burn_in"] * recipe.training.samples)
    for player in ("generator", "discriminator"):
        settings = game.players[player].optimizer
        for number, last in ((settings.lr, 0.25), (settings.betas[1], 1.1)):
            assert isinstance(number, Schedule)
            assert (number.until, number.shape) == (burn_in, "cosine")
            assert number.last == pytest.approx(last * number.first)
    half_life = recipe.training.ema_half_life
    assert isinstance(half_life, Schedule)
    assert (half_life.first, half_life.until) == (0, burn_in)
    (augmentation,) = resolved.augmentations.values()
    strength: Any = augmentation.strength
    assert (strength.first, strength.until, strength.shape) == (0, burn_in, "cosine")
    assert 0.25 < strength.last < 0.6
    architecture = game.architecture
    found = [architecture.gamma_at(share * recipe.model["burn_in"]) for share in (0, 0.5, 1, 2)]
    assert found == pytest.approx([architecture.gamma * share for share in (1, 0.55, 0.1, 0.1)])


PAIRS = {
    "stylegan2-32": [
        *SMALL["stylegan2-32"],
        "model.group=1",
        "model.path_length=2",
        "model.style_mixing=0.9",
        "augmentations=[{name: ada, target: -1, samples: 200}]",
    ],  # fmt: skip
    "r3gan-32": [*SMALL["r3gan-32"], "augmentations=[{name: ada-fixed, strength: 0.3}]"],
    "fewshot-64": ["model={generator_width: 8, discriminator_width: 8, latent: 8}", "modality.resolution=16"],
}
"""Recipes without batch statistics in what is compared."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stylegan2-32", "r3gan-32", "fewshot-64"])
def test_one_process_and_two_learn_the_same(name: str, tmp_path: Path):
    """Weights, averages, the average of w, the mean path length and ADA's p agree but for rounding. Optimizers are SGD:
    Adam's first steps amplify the rounding of gradients near zero."""
    step = 0.001 if name == "fewshot-64" else 0.01  # its penalty divides differences by 0.05², and rounding with them
    sgd = f"{{name: sgd, lr: {step}, betas: [0.0, 0.0]}}"
    settings = [
        *COMMON, *PAIRS[name], "training.ema_half_life=20", "training.ema_rampup=0", "data.source=digits",
        f"optimizers.generator={sgd}", f"optimizers.discriminator={sgd}", "training.samples=64",
        f"modality.labels={json.dumps(name != 'fewshot-64')}",
    ]  # fmt: skip

    values = with_settings(recipe_values(PLUGINS, "image", named=name), settings)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(values), encoding="utf-8")  # JSON is YAML
    environment = {**os.environ, "GAN_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    launchers = {
        "one": [sys.executable, "-m", "gan"],
        "two": [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            "--local-addr", "127.0.0.1", "-m", "gan",
        ],
    }  # fmt: skip
    states = {}
    for processes, launcher in launchers.items():
        command = [*launcher, "run", "--recipe", str(recipe), "--out", str(tmp_path / processes), "--quiet"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found = Checkpoints(tmp_path / processes / "checkpoints").newest()
        assert found is not None
        states[processes] = {**found.state("architecture"), **found.state("average-generator")}
        if "augmentation-ada" in found.owners:
            states[processes] |= found.state("augmentation-ada")
            assert states[processes]["strength"] > 0
    for key, value in states["one"].items():
        torch.testing.assert_close(states["two"][key], value, rtol=2e-3, atol=2e-5, msg=key)
