"""Every key of every recipe of every plugin with twenty bad values (rule L5).

The outcome is one or two lines and exit code 2, never a traceback, and never a training with a number that no
computation can use.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from gan.build import build_architecture, recipe_values, resolve
from gan.cli import _exit_code, group
from gan.errors import DiskError, GanError, UsageError
from gan.plugins.manager import Plugins
from gan.recipe import read_values, validated, with_settings
from gan.runtime import memory
from gan.runtime.device import choose_device
from gan.storage.durable import cache_folder

NEVER = [".nan", ".inf", "-.inf", "1.0e+308", "-1e308", "1e-320", str(10**30), str(-(10**30)), "9" * 5000]
"""Values that no number of a recipe can have."""
ODD = [
    "-1", "0", "1000000000", "2020-13-45", "2020-01-01", "0x_", "''", '"\\e[31m\\0"', "../../etc/passwd", "true",
    "null", "[]", "[1, [2]]", "{}", "{a: {b: 1}}", "[2.0, 3.0]",
]  # fmt: skip
"""Values that are of a wrong type or senseless for most keys."""
INSTALLED = Plugins.installed()
RECIPES = [(plugin.info.name, plugin.entry.name) for plugin in INSTALLED.entries("gan_recipes")]


def leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every setting, and of every section itself."""
    if path:
        yield ".".join(path), values
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in items:
        yield from leaves(value, (*path, str(key)))


def complete(plugin: str, recipe: str) -> dict[str, Any]:
    """A recipe with every setting that can be known without data."""
    resolved = resolve(recipe_values(INSTALLED, plugin, named=recipe), INSTALLED)
    values: dict[str, Any] = yaml.safe_load(yaml.safe_dump(resolved.recipe.model_dump(mode="json")))
    return values


def numbers(values: Any) -> Iterator[float]:
    """All numbers in nested plain values."""
    if isinstance(values, dict | list):
        for value in values.values() if isinstance(values, dict) else values:
            yield from numbers(value)
    elif isinstance(values, int | float) and not isinstance(values, bool):
        yield values


def check(values: dict[str, Any], setting: str) -> None:
    """The setting is refused with exit code 2 in a few lines, or gives a recipe that float32 can compute with."""
    refused: GanError | None = None
    try:
        resolved = resolve(with_settings(values, [setting]), INSTALLED)
    except GanError as error:
        refused = error
    if refused is not None:
        assert refused.exit_code == 2, f"{setting}: {refused}"
        assert len(str(refused).splitlines()) <= 4, setting
        return
    for number in numbers(resolved.recipe.model_dump(mode="json")):
        fits = isinstance(number, int) and abs(number) < 1 << 63
        assert fits or number == 0 or 1e-30 <= abs(number) <= 1e30, f"{setting} was accepted"


@pytest.mark.rule("L5")
@pytest.mark.parametrize("plugin", sorted({plugin for plugin, _ in RECIPES}))
def test_every_key_of_a_plugins_recipes_with_bad_values(plugin):
    """Keys that recipes share are tried once for each architecture, those that do not depend on it once; each with a
    quarter of the values, in turn. The slow test takes all."""
    seen = set()
    for recipe in (recipe for owner, recipe in RECIPES if owner == plugin):
        values = complete(plugin, recipe)
        for key, _ in leaves(values):
            section = key.partition(".")[0]
            shared = section not in ("model", "optimizers", "penalties", "phases", "loss")
            if (key, shared or values["architecture"]) not in seen:
                seen.add((key, shared or values["architecture"]))
                for bad in [*NEVER, *ODD][len(seen) % 4 :: 4]:
                    check(values, f"{key}={bad}")


@pytest.mark.slow
@pytest.mark.rule("L5")
@pytest.mark.parametrize(("plugin", "recipe"), RECIPES, ids=lambda name: name)
def test_every_key_of_a_recipe_with_bad_values(plugin, recipe):
    values = complete(plugin, recipe)
    for key, _ in leaves(values):
        for bad in [*NEVER, *ODD]:
            check(values, f"{key}={bad}")


def command(*arguments: str) -> int:
    """The exit code of the command line, in this process."""
    return _exit_code(lambda: group(args=list(arguments), prog_name="gan", standalone_mode=False), debug=False)


@pytest.mark.rule("L5")
@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--plugin", "image", "--data", ""],
        ["run", "--plugin", "image", "--data="],
        ["run", "--plugin", "image", "--out", ""],
        ["run", "--plugin", "image", "--device", "meta"],
        ["run", "--plugin", "image", "--device", "cpu:7"],
        ["run", "--plugin", "image", "--samples", "1e12"],
        ["run", "--plugin", "image", "--minutes", "nan"],
        ["run", "--plugin", "image", "--minutes", "-1"],
        ["run", "--plugin", "image", "--seed", str(1 << 64)],
        ["run", "--plugin", "image", "--data", "~nobody-of-this-name/x"],
        ["run", "--plugin", "image", "--data", "x" * 5000],
        ["run", "--plugin", "image", "--set", "training.batch=0x_"],
        ["run", "--plugin", "image", "--set", "data.source=2020-13-45"],
        ["run", "--plugin", "image", "--set", "optimizers.generator.lr=.nan"],
        ["run", "--plugin", "image", "--set", "optimizers.generator.lr=-1"],
        ["run", "--plugin", "image", "--set", "optimizers.generator.betas=[2.0, 3.0]"],
        ["run", "--plugin", "image", "--set", "penalties=[{name: r1, weight: .nan}]"],
        ["run", "--plugin", "image", "--set", "penalties=[{name: r1, weight: much}]"],
        ["run", "--plugin", "image", "--set", "penalties=[{name: r1, every: 0}]"],
        ["generate", ""],
        ["generate", "run", "--count", "1e12"],
        ["generate", "run", "--count", "1000000000000"],
    ],
)
def test_mistakes_on_the_command_line(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(*arguments) in (2, 3)
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "mistake of the program" not in said
    assert len(said.splitlines()) <= 3
    assert not list(tmp_path.iterdir())


@pytest.mark.rule("L5")
def test_an_empty_cache_variable_counts_as_unset(monkeypatch, tmp_path):
    monkeypatch.setenv("GAN_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "gan"


@pytest.mark.rule("L5")
@pytest.mark.parametrize("device", ["meta", "cpu:3", "\0", "cuda:-1", "cuda:99999999999999", "vulkan", ""])
def test_devices_that_cannot_train(device):
    with pytest.raises(UsageError):
        choose_device(device)


@pytest.mark.rule("L5")
@pytest.mark.parametrize("setting", ["latent", "width", "layers"])
def test_a_network_that_cannot_be_allocated_is_refused_before_it_is(setting, monkeypatch):
    """Refused at the first tensor that does not fit, or at the number of tensors; the memory of this process stays."""
    from gan.contracts import FieldSpec
    from pydantic import BaseModel

    class Config(BaseModel):
        latent: int = 8
        width: int = 8
        layers: int = 1

    class Net(torch.nn.Module):
        def __init__(self, config, fields):
            super().__init__()
            self.first = torch.nn.Linear(config.latent, config.width)
            self.rest = torch.nn.ModuleList(torch.nn.Linear(8, 8) for _ in range(config.layers))

    monkeypatch.setattr(memory, "available_memory", lambda: 8 << 30)
    monkeypatch.setattr(memory, "MAX_TENSORS", 500)
    with pytest.raises(UsageError, match="lower its settings"):
        build_architecture(
            Net, Config(**{setting: 1_000_000_000}), {"x": FieldSpec((2,), "float32", -1, 1, "")}, 0, "some/net"
        )


@pytest.mark.rule("L5")
def test_a_full_disk_while_samples_are_written_names_the_path_and_leaves_nothing(tmp_path):
    """Half a file is written, then the disk is full; earlier samples stay complete."""
    from gan.generation.model import Model
    from gan.testing.points import Points

    class Full(Points):
        def write(self, sample, stem, options=None):
            path = super().write(sample, stem, options)
            if stem.name.endswith("2"):
                path.write_bytes(b"half")
                raise OSError(28, "No space left on device")
            return path

    model = Model(torch.nn.Linear(1, 1), Full(Points.Config()), "toy/mlp", torch.device("cpu"))
    samples = {name: np.zeros((4, *spec.shape), spec.dtype) for name, spec in model.modality.fields.items()}
    with pytest.raises(DiskError, match="sample-0002"):
        model.write(samples, tmp_path / "out")
    written = [f"sample-{number:04d}.csv{end}" for number in range(2) for end in ("", ".provenance.json")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["provenance.json", *written]


@pytest.mark.rule("L5")
@pytest.mark.parametrize("value", [1e-40, math.nan, math.inf, 1e300, 10**40])
def test_options_of_a_request_are_numbers_that_float32_can_hold(value):
    from pydantic import BaseModel

    class Options(BaseModel):
        temperature: float = 1.0

    with pytest.raises(UsageError, match="temperature"):
        validated(Options, {"temperature": value}, "")


@pytest.mark.rule("L10")
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_mistake_under_torchrun_is_its_last_line_and_is_said_once(rank, tmp_path, monkeypatch, capsys):
    """torchrun shows the file; only the first process says it as well."""
    file = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr("gan.cli.LAUNCHER_SECONDS", 0.1)
    assert command("run", "--plugin", "image", "--set", "training.batch=-4") == 2
    told = json.loads(file.read_text())["message"]["extraInfo"]["py_callstack"]
    assert told.startswith("error: 'training.batch' cannot be -4")
    assert bool(capsys.readouterr().err) == (rank == "0")


@pytest.mark.rule("L4", "L5")
@pytest.mark.parametrize("kind", ["device", "huge", "pipe", "link", "folder"])
def test_a_recipe_file_that_never_ends_or_is_none(kind, tmp_path, capsys):
    """Refused at once; what a shell passes as ``<(…)`` is read."""
    path = Path("/dev/zero") if kind == "device" else tmp_path / "recipe.yaml"
    if kind == "huge":
        path.touch()
        os.truncate(path, 3 << 30)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(path)
    elif kind == "folder":
        path.mkdir()
    assert command("run", "--recipe", str(path)) == 2
    said = capsys.readouterr().err
    assert str(path) in said
    assert len(said.splitlines()) <= 2
    reading, writing = os.pipe()
    os.write(writing, b"plugin: image\n")
    os.close(writing)
    assert read_values(Path(f"/dev/fd/{reading}")) == {"plugin": "image"}
    os.close(reading)
