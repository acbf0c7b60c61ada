"""Mutated recipes: refused in a line within ten seconds and one gigabyte, or built, and nothing else is touched.

Each is validated and, where its networks do not depend on data, built, in a worker of `gan.data.bounded`.
"""

from __future__ import annotations

import copy
import json
import os
import random
import time
from collections import Counter

import gan.build
import numpy as np
import pytest
import yaml
from gan.build import build_game, recipe_values, resolve
from gan.data import bounded
from gan.errors import BadData, GanError
from gan.plugins.manager import Plugins
from gan.recipe import read_values
from gan.runtime import memory
from gan.source import SourceFile
from mutate import changed, damaged
from prepared import run_gan


def write_recipes(folder, count, seed):
    """Half of them with other values, half with other bytes."""
    plugins = Plugins.installed()
    bases = [
        recipe_values(plugins, found.info.name, named=found.entry.name) for found in plugins.entries("gan_recipes")
    ]
    rng = random.Random(seed)
    files = []
    for number in range(count):
        values = rng.choice(bases)
        if number % 2:
            values = changed(copy.deepcopy(values), rng)
        content = yaml.safe_dump(values, sort_keys=False).encode()
        path = folder / f"{number:03d}.yaml"
        path.write_bytes(content if number % 2 else damaged(content, rng))
        files.append(SourceFile(path.name, path, None, path.stat().st_size))
    return plugins, files


def outcome(plugins, file):
    """0: built, 1: valid, but its networks depend on data, or the exit code of the refusal. Raises `AssertionError` if
    its values took more than 30 s of computing time; large networks, which are drawn before their sum is too large for
    the memory, may take the minute of the worker."""
    before = time.process_time()
    try:
        try:
            resolved = resolve(read_values(file.path), plugins)
        finally:
            assert time.process_time() - before < 30
        try:
            fields = resolved.modality_class(resolved.modality_config).fields
        except (LookupError, BadData):
            return 1
        build_game(resolved, fields)
    except GanError as error:
        return error.exit_code if len(str(error).splitlines()) <= 4 else -1
    return 0


@pytest.mark.rule("L4", "L5")
@pytest.mark.parametrize(
    ("count", "seed"),
    [pytest.param(40, 0, id="quick"), pytest.param(500, 1, id="500", marks=pytest.mark.slow)],
)
def test_mutated_recipes(count, seed, tmp_path, monkeypatch):
    for name in ("home", "work", "recipes"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "home" / "cache"))
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(bounded, "SECONDS", 60.0)  # for networks that are large and valid
    monkeypatch.setattr(bounded, "MEMORY", 1 << 30)
    monkeypatch.setattr(memory, "available_memory", lambda: 1 << 29)
    monkeypatch.setattr(gan.build, "available_memory", lambda: 1 << 29)
    plugins, files = write_recipes(tmp_path / "recipes", count, seed)
    seen: dict[int, int] = {}
    bad = []
    for file, samples, reason in bounded.read_with(lambda f: [{"code": np.array(outcome(plugins, f))}], files):
        if reason is not None:
            bad.append(f"{file.name}: {reason}\n{file.path.read_text(errors='replace')}")
        else:
            code = int(samples[0]["code"])
            seen[code] = seen.get(code, 0) + 1
    print(seen)
    assert not bad, "\n\n".join(bad[:3])
    assert set(seen) <= {0, 1, 2}, seen
    assert seen[2] > count // 3, seen
    assert not os.listdir(tmp_path / "work")
    assert not os.listdir(tmp_path / "home")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.rule("L4", "L5")
def test_500_mutated_recipes_on_the_command_line(tmp_path, record_property):
    """``gan run --recipe FILE --dry-run``, which makes no data and no folder. What is refused is so within 10 s
    and 1 GB; a valid recipe may have large networks, which a dry run builds.

    All are tried, and the first failures are told; `benchmarks/reliability/mutated.py` records the counts."""
    for name in ("home", "work", "recipes"):
        (tmp_path / name).mkdir()
    _, files = write_recipes(tmp_path / "recipes", 500, 2)
    environment = {"HOME": str(tmp_path / "home"), "GAN_CACHE": str(tmp_path / "cache"), "PATH": "/nowhere"}
    before = run_gan(["run", "--plugin", "image", "--dry-run"], environment, tmp_path / "work").megabytes
    lives, failed = [], []
    for file in files:
        done = run_gan(["run", "--recipe", file.path, "--dry-run"], environment, tmp_path / "work")
        lives.append(done)
        said = done.stderr + done.stdout
        if (
            done.returncode not in (0, 2, 3)
            or "Traceback" in said
            or "mistake of the program" in said
            or set("\x1b\x07\x9b") & set(said)
            or len(done.stderr.splitlines()) > 4
            or done.computing > (10 if done.returncode else 60)
            or (done.returncode and done.megabytes - before > 1000)
            or os.listdir(tmp_path / "work")
            or os.listdir(tmp_path / "home")
        ):
            failed.append(f"{done.returncode} {said[-600:]}\n{file.path.read_text(errors='replace')}")
    about = {
        "recipes": len(lives),
        "failures": len(failed),
        "exit codes": Counter(str(life.returncode) for life in lives),
        "most seconds of computing time": round(max(life.computing for life in lives), 2),
        "of those that were refused": round(max(life.computing for life in lives if life.returncode), 2),
        "most memory of those that were refused, MB": max(life.megabytes for life in lives if life.returncode),
        "of which for any dry run, MB": before,
    }
    record_property("mutated recipes", json.dumps(about))
    assert not failed, f"{len(failed)} of 500\n" + "\n\n".join(failed[:5])
