"""`gan run --from RUN`: the weights of another run, what fits of them, frozen layers, lineage, exact resume."""

from __future__ import annotations

import json

import pytest
import torch
from gan import api
from gan.build import build_game, recipe_values, resolve
from gan.cli import group
from gan.errors import CheckpointError, UsageError
from gan.game import Player
from gan.parts.freezing import freeze
from gan.plugins.manager import Plugins
from gan.recipe import Start, with_settings
from gan.reporting.manifest import read_manifest
from gan.reporting.reporter import Reporter
from gan.runtime.signals import Stopped
from gan.storage.checkpoint import Checkpoints
from gan.testing import toy
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

SETTINGS = [
    "training.samples=256", "training.batch=32", "training.ema_half_life=100", "training.watch=off", "model.hidden=8",
    "model.layers=2", "training.tick=64", "training.checkpoint_ticks=1", "training.keep_checkpoints=10",
    "evaluation.samples=16", "evaluation.artefacts=1",
]  # fmt: skip


class Notes(Reporter):
    def __init__(self):
        self.notes: list[str] = []

    def note(self, message):
        self.notes.append(message)


def values(plugins, *settings):
    return with_settings(recipe_values(plugins, "toy"), [*SETTINGS, *settings])


def state(run, owner="architecture", samples=None):
    checkpoints = Checkpoints(run / "checkpoints")
    found = checkpoints.newest() if samples is None else None
    if found is None:
        from gan.storage.checkpoint import verify

        found = verify(checkpoints.folder_of(samples))
    return found.state(owner)


@pytest.fixture(scope="module")
def plugins():
    found = Plugins()
    found.register("toy", toy)
    return found


@pytest.fixture(scope="module")
def parent(plugins, tmp_path_factory):
    """A finished run of the ring."""
    folder = tmp_path_factory.mktemp("parent")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_CACHE", str(folder / "cache"))
        api.train(values(plugins), out=folder / "run", plugins=plugins)
    return folder / "run"


def test_a_run_starts_from_the_weights_and_averages_of_another(plugins, parent, cache, tmp_path):
    """Its checkpoint before the first step holds them, its optimizers and its position are new, and manifest, recipe
    and model card say where they come from."""
    notes = Notes()
    out = tmp_path / "child"
    wanted = values(plugins, f"start.run={parent}", "data.source=grid", "seed=5")
    api.train(wanted, out=out, plugins=plugins, reporter=notes)
    assert all(torch.equal(value, state(parent)[name]) for name, value in state(out, samples=0).items())
    averages = state(parent, "average-generator")
    assert all(torch.equal(value, averages[name]) for name, value in state(out, "average-generator", 0).items())
    assert not state(out, "optimizer-generator", 0)["state"]
    assert not torch.equal(state(out)["generator.0.weight"], state(parent)["generator.0.weight"])
    (note,) = [text for text in notes.notes if text.startswith("from ")]
    assert "12 of 12 tensors" in note
    record = read_manifest(out / "manifest.json")["started_from"]
    assert record["samples"] == 256
    assert record["data"] == "ring"
    recipe = Checkpoints(out / "checkpoints").newest().about["recipe"]
    assert record["weights"] == recipe["start"]["weights"] != ""
    assert str(parent) in (out / "README.md").read_text(encoding="utf-8")

    grandchild = tmp_path / "grandchild"
    api.train(values(plugins, f"start.run={out}", "start.checkpoint=128"), out=grandchild, plugins=plugins)
    record = read_manifest(grandchild / "manifest.json")["started_from"]
    assert (record["samples"], record["started_from"]["samples"]) == (128, 256)


def test_a_resumed_run_ends_bit_identical_with_frozen_layers(plugins, parent, cache, tmp_path):
    wanted = values(plugins, f"start.run={parent}", "start.freeze=2", "data.source=grid")
    notes = Notes()
    api.train(wanted, out=tmp_path / "whole", plugins=plugins, reporter=notes)
    assert any("frozen layers of the discriminator: 0, 2" in note for note in notes.notes)

    class Stop(Reporter):
        def tick(self, tick):
            if tick.samples == 128:
                raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Stopped)):
        api.train(wanted, out=tmp_path / "parts", plugins=plugins, reporter=Stop())
    api.resume_run(tmp_path / "parts", plugins=plugins)
    whole, parts = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    for name in ("discriminator.0.weight", "discriminator.0.bias", "discriminator.2.weight", "discriminator.2.bias"):
        assert torch.equal(whole[name], state(parent)[name]), name
    assert not torch.equal(whole["discriminator.4.weight"], state(parent)["discriminator.4.weight"])


def test_what_does_not_fit_begins_anew_and_is_said(plugins, parent, cache, tmp_path):
    """Another size of the latent vector changes the first layer of the generator alone, 8 · 2 -> 8 · 3 weights."""
    notes = Notes()
    api.train(
        values(plugins, f"start.run={parent}", "model.latent=3"), out=tmp_path / "run", plugins=plugins, reporter=notes
    )
    (note,) = [text for text in notes.notes if text.startswith("from ")]
    assert "11 of 12 tensors" in note
    assert "generator.0.weight is (8, 2) there and (8, 3) here" in note
    now = state(tmp_path / "run", samples=0)
    assert torch.equal(now["generator.2.weight"], state(parent)["generator.2.weight"])
    assert now["generator.0.weight"].shape == (8, 3)
    average = state(tmp_path / "run", "average-generator", 0)
    assert torch.equal(average["0.0.weight"], now["generator.0.weight"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["model.hidden=16"],
            r"only [\d,]+ of the [\d,]+ parameters of 'generator' fit: generator\.0\.weight is \(8, 2\)",
        ),
        (["start.run=nowhere"], "nowhere"),
        (["start.checkpoint=77"], "77"),
        (["start.freeze=3"], "at most 2"),
        (["start.weights=abcd"], "are not those"),
    ],
)
def test_a_start_that_cannot_be_is_refused(plugins, parent, cache, tmp_path, settings, message):
    with pytest.raises((UsageError, CheckpointError), match=message):
        api.train(values(plugins, f"start.run={parent}", *settings), out=tmp_path / "run", plugins=plugins)


def test_another_architecture_is_refused_with_the_one_that_fits(parent, cache, tmp_path):
    installed = Plugins.installed()
    wanted = with_settings(recipe_values(installed, "image"), [f"start.run={parent}"])
    with pytest.raises(UsageError, match=r"toy/mlp.*image/dcgan.*--architecture mlp"):
        api.train(wanted, out=tmp_path / "run", plugins=installed)
    assert not (tmp_path / "run").exists()


def test_layers_of_a_spectrally_normalized_network_are_frozen_whole():
    network = nn.Sequential(
        spectral_norm(nn.Conv2d(1, 2, 3)), nn.ReLU(), spectral_norm(nn.Conv2d(2, 2, 3)), nn.Flatten()
    )
    players = {"discriminator": Player(network)}
    assert freeze(players, Start(run="x", freeze=1)) == ["0"]
    assert [name for name, _ in players["discriminator"].named_parameters()] == [
        "0.2.bias",
        "0.2.parametrizations.weight.original",
    ]
    with pytest.raises(UsageError, match="no player 'discriminator'"):
        freeze({"generator": Player(network)}, Start(run="x", freeze=1))


def test_the_command_takes_the_recipe_of_the_run(monkeypatch, plugins, parent, cache, tmp_path, capsys):
    """Without a plugin or a recipe: that of the run, without its own start, for the data that is named."""
    monkeypatch.setattr("gan.cli.run.installed", lambda ctx: plugins)
    arguments = ["run", "--from", str(parent), "--data", "grid", "--freeze", "1", "--dry-run", "--json"]
    group(arguments, standalone_mode=False)
    shown = json.loads(capsys.readouterr().out)
    assert shown["recipe"]["start"] == {"run": str(parent), "checkpoint": "newest", "weights": "", "freeze": 1}
    assert shown["recipe"]["data"]["source"] == "grid"
    assert shown["recipe"]["model"]["hidden"] == 8
    resolved = resolve(values(plugins), plugins)
    modality = resolved.modality_class(resolved.modality_config)
    players = build_game(resolved, modality.fields).players
    whole = sum(p.numel() for _, p in players["discriminator"].named_parameters())
    assert shown["parameters"]["discriminator"] == whole - 3 * 8
    with pytest.raises(UsageError, match="--from"):
        group(["run", "--plugin", "toy", "--freeze", "1"], standalone_mode=False)
