"""`gan data`: what would be used and what dropped, before a training; and packs that change under one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from gan.cli.data import data
from gan.data.check import check_source
from gan.data.packing import open_pack
from gan.data.scrub import scrub_cache
from gan.errors import BadData, UnknownName, UsageError
from gan.storage.durable import filled_aside
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
    left = tmp_path / "packs" / "abc.0123456789abcdef.tmp"
    left.mkdir(parents=True)
    with filled_aside(tmp_path / "packs" / "abc", "marker") as living:
        open_pack(folder, Points, Points.Config(), "points", cache=tmp_path)
        assert not left.exists()
        assert living.exists()


@pytest.mark.rule("L2")
def test_processes_with_the_same_number_do_not_delete_each_others_work(tmp_path, monkeypatch):
    """As in two containers that share a cache: both are process 1, and neither sees the other."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr(os, "kill", lambda number, signal: (_ for _ in ()).throw(ProcessLookupError()))
    target = tmp_path / "packs" / "abc"
    with filled_aside(target, "marker") as one:
        (one / "marker").write_text("one")
        with filled_aside(target, "marker") as other:
            (other / "marker").write_text("other")
        assert (one / "marker").read_text() == "one"
    assert (target / "marker").read_text() == "other"  # the first that was complete stays
    assert os.listdir(tmp_path / "packs") == ["abc"]


@pytest.mark.rule("L2")
def test_a_killed_process_leaves_no_lock(tmp_path):
    script = """
        import os, sys
        from pathlib import Path
        from gan.storage.durable import filled_aside
        with filled_aside(Path(sys.argv[1]), "marker"):
            os.kill(os.getpid(), 9)
    """
    target = tmp_path / "packs" / "abc"
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), target], check=False)
    assert [name.endswith(".tmp") for name in os.listdir(target.parent)] == [True]
    with filled_aside(target, "marker"):
        assert len(os.listdir(target.parent)) == 1


def rewrite(path, change):
    """Change a file's content in place; its size, time and inode stay."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    change(content)
    with open(path, "r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (before.st_size, before.st_mtime_ns, before.st_ino) == (after.st_size, after.st_mtime_ns, after.st_ino)


def points(folder, cache):
    return open_pack(folder, Points, Points.Config(), "points", cache=cache)


@pytest.mark.rule("L1")
def test_a_source_rewritten_at_equal_size_and_time_is_packed_anew(folder, tmp_path):
    before = points(folder, tmp_path)
    rewrite(folder / "a.csv", lambda content: content.__setitem__(0, ord("2")))
    after = points(folder, tmp_path)
    assert after.fingerprint != before.fingerprint
    assert after.take(np.arange(1))["points"][0, 0] == 2


@pytest.mark.rule("L1")
@pytest.mark.parametrize("name", ["points.bin", "file_of_row-0.npy", "pack.json"])
@pytest.mark.parametrize("damage", ["one bit", "truncated and regrown"])
def test_a_damaged_pack_is_made_anew(folder, tmp_path, name, damage, caplog):
    pack = points(folder, tmp_path)
    before, size = pack.take(np.arange(3))["points"], (pack.folder / name).stat().st_size
    if damage == "one bit":
        rewrite(pack.folder / name, lambda content: content.__setitem__(size // 2, content[size // 2] ^ 1))
    else:
        os.truncate(pack.folder / name, 0)
        os.truncate(pack.folder / name, size)
    (complaint,) = scrub_cache(tmp_path).damaged.values()
    assert name in complaint
    assert np.array_equal(points(folder, tmp_path).take(np.arange(3))["points"], before)
    assert "damaged" in caplog.text
    assert scrub_cache(tmp_path).damaged == {}


@pytest.mark.rule("L1")
def test_what_was_verified_is_not_read_again(folder, tmp_path, monkeypatch):
    points(folder, tmp_path)
    monkeypatch.setattr("gan.storage.seal.digest_regular", pytest.fail)
    points(folder, tmp_path)


@pytest.mark.rule("L1")
def test_a_pack_rewritten_under_a_training_is_noticed(folder, tmp_path):
    pack = points(folder, tmp_path)
    rewrite(pack.folder / "points.bin", lambda content: content.__setitem__(0, content[0] ^ 1))
    with pytest.raises(BadData, match="the packed data changed"):
        pack.take(np.arange(1))


@pytest.mark.rule("L1", "I13")
def test_a_source_that_changes_while_it_is_packed_is_refused(folder, tmp_path, monkeypatch):
    read = Points.read

    def slowly(self, file):
        yield from read(self, file)
        (folder / "a.csv").write_text("9,9\n9,9\n")

    monkeypatch.setattr(Points, "read", slowly)
    with pytest.raises(BadData, match=r"a\.csv: changed or vanished while it was read"):
        points(folder, tmp_path)
    assert not any(len(name) == 64 for name in os.listdir(tmp_path / "packs"))


@pytest.mark.rule("L1")
def test_a_pack_of_an_earlier_version_is_made_anew_under_the_same_fingerprint(folder, tmp_path):
    pack = points(folder, tmp_path)
    about = json.loads((pack.folder / "pack.json").read_text())
    del about["seal"], about["arrays"]
    (pack.folder / "pack.json").write_text(json.dumps(about))
    (pack.folder / "points.bin").write_bytes(bytes(24))
    again = points(folder, tmp_path)
    assert again.fingerprint == pack.fingerprint
    assert again.take(np.arange(3))["points"].any()


@pytest.mark.rule("L1", "L8")
def test_a_zeroed_dataset_is_named_and_made_anew(gan, tmp_path, caplog):
    path = Path(gan("fetch", "ring")[0].strip()) / "ring.csv"
    before = path.read_bytes()
    path.write_bytes(bytes(len(before)))
    output, error = gan("verify")
    assert error.exit_code == 4
    assert "ring.csv is not what was written" in output
    assert path.read_bytes() != before  # a scrub changes nothing
    gan("fetch", "ring")
    assert "is made anew" in caplog.text
    assert path.read_bytes() == before
    (path.parent / "more.csv").write_text("1,1\n")
    assert "more.csv was added" in gan("verify")[0]
    gan("fetch", "ring")
    output, error = gan("verify", "--json")
    assert error is None
    assert json.loads(output)["damaged"] == {}


PACK = """
import sys
from pathlib import Path
from gan.data.packing import open_pack
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
