"""`gan data`: what would be used and what dropped, before a training; and packs that change under one."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from click.testing import CliRunner
from gan.cli.data import data
from gan.data.check import check_source
from gan.data.packing import open_pack
from gan.errors import BadData, UnknownName, UsageError
from gan.testing import install
from gan.testing.bounded import bounded
from gan.testing.points import Points


@pytest.fixture
def gan(tmp_path, monkeypatch):
    """Runs `gan data …` with the toy plugin installed."""
    install(tmp_path / "site", "toy", {"gan_toy.py": "from gan.testing.toy import *\n"})
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))

    def run(*arguments):
        done = CliRunner().invoke(data, [*map(str, arguments)], obj={"blocked": ("image", "music", "text")})
        return done.output, done.exception

    return run


@pytest.fixture
def folder(tmp_path):
    """Two good files, three bad ones, one with another ending."""
    root = tmp_path / "points"
    (root / "sub").mkdir(parents=True)
    (root / "a.csv").write_text("1,2\n3,4\n")
    (root / "sub" / "b.csv").write_text("5,5\n")
    (root / "bad.csv").write_text("one,two\n")
    (root / "empty.csv").write_text("")
    (root / "line\nbreak.csv").write_text("x\n")
    (root / "notes.txt").write_text("")
    return root


@pytest.mark.rule("I9", "I8")
def test_used_and_dropped_files_are_told_with_reasons(gan, folder):
    output, error = gan("check", folder)
    assert error is None
    assert "2 files with 3 samples" in output
    assert "dropped  3 files" in output
    assert "bad.csv: line 1: 'one,two' holds no numbers" in output
    assert "empty.csv: holds no points" in output
    assert "line\\nbreak.csv" in output
    assert "1 files with other endings" in output


def test_what_the_files_hold_is_counted(gan, folder, monkeypatch):
    """Lines on the right and on the left of zero; files that are dropped are not counted."""

    def sides(self, file):
        lines = file.data().decode().split()
        return {side: n for side in ("1", "5") if (n := sum(line.startswith(side) for line in lines))}

    monkeypatch.setattr(Points, "inventory", sides)
    (folder / "c.csv").write_text("5,1\n5,2\n")
    found = check_source(folder, Points, Points.Config())
    assert list(found.inventory.items()) == [("5", (2, 3)), ("1", (1, 1))]
    output, _ = gan("check", folder)
    assert "holds    5: 3 in 2 files" in output
    listed, _ = gan("check", folder, "--json")
    assert json.loads(listed)["inventory"] == {"5": [2, 3], "1": [1, 1]}


@pytest.mark.rule("I9")
def test_the_check_says_what_a_training_then_uses(gan, folder, tmp_path):
    output, error = gan("check", folder, "--json")
    assert error is None
    told = json.loads(output)
    pack = open_pack(folder, Points, Points.Config(), "points", cache=tmp_path / "packs")
    assert list(told["used"]) == pack.files
    assert told["skipped"] == pack.skipped
    assert told["samples"] == pack.count == 3
    assert not (tmp_path / "cache").exists()  # nothing is written for it


def test_settings_are_those_of_the_modality(gan, folder):
    output, _ = gan("check", folder, "--set", "extent=4.5")
    assert "sub/b.csv: line 1: outside ±4.5" in output
    _, error = gan("check", folder, "--set", "extend=4.5")
    assert isinstance(error, UsageError)
    assert "did you mean 'extent'" in str(error)


@pytest.mark.rule("I8")
def test_nothing_usable_is_an_error_with_counts(gan, tmp_path):
    root = tmp_path / "bad"
    root.mkdir()
    (root / "a.csv").write_text("x\n")
    output, error = gan("check", root)
    assert "a.csv: line 1" in output
    assert isinstance(error, BadData)
    assert error.exit_code == 3
    assert "none of 1 files" in str(error)
    for empty in ("other", "none"):
        if empty == "other":
            (tmp_path / empty).mkdir()
            (tmp_path / empty / "a.xyz").write_text("")
        _, error = gan("check", tmp_path / empty)
        assert isinstance(error, BadData)


def test_data_sets_are_listed_and_fetched_once(gan, tmp_path):
    output, _ = gan("list", "--json")
    rows = {row["name"]: row for row in json.loads(output)}
    assert rows["ring"]["here"] is False
    assert rows["ring"]["modality"] == "points"
    output, error = gan("fetch", "ring")
    assert error is None
    (path,) = [line for line in output.splitlines() if line]
    assert os.listdir(path) == ["ring.csv"]
    assert "ring" in gan("list")[0]
    output, _ = gan("list", "--json")
    assert {row["name"]: row for row in json.loads(output)}["ring"]["here"] is True
    _, error = gan("fetch", "rong")
    assert isinstance(error, UnknownName)


def test_a_check_keeps_the_order_of_the_pack(folder):
    found = check_source(folder, Points, Points.Config())
    assert list(found.used) == ["a.csv", "sub/b.csv"]
    assert found.used == {"a.csv": 2, "sub/b.csv": 1}


@pytest.mark.rule("I13")
@pytest.mark.parametrize("change", ["shrinks", "vanishes", "is replaced"])
def test_a_pack_that_changes_under_a_training_is_named_and_made_anew(folder, tmp_path, change):
    """A mapped file that shrank would end the process with SIGBUS at the next read."""
    pack = open_pack(folder, Points, Points.Config(), "points", cache=tmp_path)
    before = pack.take(np.arange(3))["points"]
    (array,) = pack.folder.glob("points.bin")
    if change == "shrinks":
        os.truncate(array, 0)
    elif change == "vanishes":
        array.unlink()
    else:
        array.unlink()
        array.write_bytes(bytes(24))
        os.utime(array, ns=(1, 1))
    with pytest.raises(BadData, match=r"points\.bin: the packed data changed"):
        pack.take(np.arange(3))
    if change != "is replaced":
        again = open_pack(folder, Points, Points.Config(), "points", cache=tmp_path)
        assert np.array_equal(again.take(np.arange(3))["points"], before)


@pytest.mark.rule("R1")
def test_what_a_killed_packing_left_in_the_cache_is_swept(folder, tmp_path):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    left, living = tmp_path / "packs" / f"abc.{child}.tmp", tmp_path / "packs" / f"abc.{os.getppid()}.tmp"
    left.mkdir(parents=True)
    living.mkdir()
    open_pack(folder, Points, Points.Config(), "points", cache=tmp_path)
    assert not left.exists()
    assert living.exists()


PACK = """
import sys
from pathlib import Path
from gan.data.pack import open_pack
from gan.testing.points import Points
for _ in range(2):
    pack = open_pack(Path(sys.argv[1]), Points, Points.Config(), "points", cache=Path(sys.argv[2]))
    print(len(pack), len(pack.skipped))
"""


@pytest.mark.slow
@pytest.mark.rule("D6")
def test_200_000_files_stay_within_memory_and_time(tmp_path):
    """A file in a thousand is bad. Listed, read, packed, and opened again; 700 MB hold torch and all the names."""
    for number in range(200_000):
        folder = tmp_path / "data" / f"{number // 1000:03}"
        if number % 1000 == 0:
            folder.mkdir(parents=True)
        with open(f"{folder}/{number:06}.csv", "w") as file:
            file.write("bad\n" if number % 1000 == 7 else f"{number % 5},1\n")
    said = bounded(PACK, tmp_path / "data", tmp_path / "packs", megabytes=700, seconds=240)
    assert said == "199800 200\n" * 2
