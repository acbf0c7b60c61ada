"""Keys, signed manifests of folders, and what is said of files that were changed, swapped, added or moved."""

from __future__ import annotations

import json
import os
import shutil
import stat

import numpy as np
import pytest
import torch
from gan.errors import UsageError
from gan.generation.model import Model
from gan.provenance import keys
from gan.provenance.folder import read_manifest
from gan.provenance.labels import Labels
from gan.provenance.record import canonical
from gan.provenance.verification import CONTRADICTED, NOTHING, SOUND, Search, verify
from gan.source import list_source
from gan.storage.regular import Broken
from gan.testing.points import Points
from PIL import Image


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("GAN_KEYS", str(tmp_path / "keys"))
    return tmp_path / "keys"


class Pictures(Points):
    """Points written as pictures, and one of them, on request, as a text."""

    suffixes = (".png", ".txt")

    def write(self, sample, stem, options=None):
        if options == "text":
            path = stem.with_name(stem.name + ".txt")
            path.write_text(str(sample["point"].tolist()))
            return path
        path = stem.with_name(stem.name + ".png")
        values = np.resize(sample["point"].view(np.uint8), (8, 8))
        Image.fromarray(self.marked(values)).save(path)
        return path


def written(folder, *, options=None, seed=0, count=4, labels=None, first=0):
    """A folder of `count` files as a model writes them."""
    model = Model(torch.nn.Linear(1, 1), Pictures(Points.Config()), "toy/mlp", torch.device("cpu"), labels=labels)
    points = np.random.default_rng(seed).standard_normal((count, 2)).astype(np.float32)
    return model.write({"point": points}, folder, seed=seed, first=first, options=options)


def search():
    own = keys.own_keys()[0]
    return Search(frozenset({own} - {""}), own)


def told(folder):
    """Name -> (verdict, status of the manifest)."""
    report = verify(folder, search())
    return {one.name: (one.verdict, one.manifest.status) for one in report.files}, report


def test_keys_are_made_once_for_the_user_alone(own):
    first, secret = keys.signing_key(), keys.mark_key()
    assert keys.signing_key().public == first.public
    assert keys.mark_key() == secret
    assert len(secret) == 32
    for name in ("signing-key.pem", "mark-key"):
        assert stat.S_IMODE((own / name).stat().st_mode) == 0o600
    assert keys.read_key(own / "signing-key.pub").public == first.public
    assert keys.read_key(own / "signing-key.pem").public == first.public
    assert keys.read_key(own / "mark-key").mark == secret
    (own / "mark-key").chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        keys.mark_key()


def test_a_file_that_is_no_key_is_refused(own, tmp_path, monkeypatch):
    other = tmp_path / "x.pem"
    other.write_text("no key\n")
    other.chmod(0o600)
    with pytest.raises(UsageError, match="neither an Ed25519 key"):
        keys.read_key(other)
    with pytest.raises(UsageError, match="No such file"):
        keys.read_key(tmp_path / "none")
    monkeypatch.setenv("GAN_SIGNING_KEY", str(other))
    with pytest.raises(UsageError, match="is no private key"):
        keys.signing_key()
    monkeypatch.setenv("GAN_MARK_KEY", str(other))
    with pytest.raises(UsageError, match="is no key of marks"):
        keys.mark_key()


@pytest.mark.rule("V5")
def test_every_file_states_what_made_it_and_is_listed(own, tmp_path):
    labels = Labels({"model": "toy/mlp", "weights": "ab" * 32, "recipe": "cd" * 32})
    written(tmp_path / "out", labels=labels, seed=5)
    states, report = told(tmp_path / "out")
    assert states == {f"sample-000{n}.png": (SOUND, "valid") for n in range(4)}
    assert report.exit_code == 0
    record = report.files[2].metadata.record
    assert (record["weights"], record["recipe"], record["seed"], record["index"]) == ("ab" * 32, "cd" * 32, 5, 2)
    assert record["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert record == report.files[2].manifest.record
    assert "date" not in record


@pytest.mark.rule("V5")
def test_equal_commands_give_equal_bytes_and_the_date_only_on_request(own, tmp_path):
    for name in ("a", "b"):
        written(tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    written(tmp_path / "c", labels=Labels({"model": "toy/mlp"}).dated())
    assert len(told(tmp_path / "c")[1].files[0].metadata.record["date"]) == 10


def test_a_text_has_its_record_beside_it(own, tmp_path):
    (path, *_) = written(tmp_path / "out", options="text")
    assert told(tmp_path / "out")[0][path.name] == (SOUND, "valid")
    (tmp_path / "out" / "provenance.json").unlink()
    assert told(path)[0][path.name] == (SOUND, "none")
    path.write_text("other words")
    report = told(path)[1].files[0]
    assert (report.verdict, report.metadata.status) == (CONTRADICTED, "changed")
    files = list_source(tmp_path / "out", (".txt", ".json")).files
    assert [file.name for file in files] == [f"sample-000{n}.txt" for n in range(4)]  # records are no data


@pytest.mark.rule("V5")
def test_off_means_said(own, tmp_path):
    labels = Labels({"model": "toy/mlp"}, metadata=False)
    (path, *_) = written(tmp_path / "out", labels=labels)
    assert "provenance" not in Image.open(path).info
    entry = read_manifest(tmp_path / "out" / "provenance.json").files[path.name]
    assert entry["metadata"] is False
    report = told(path)[1].files[0]
    assert (report.verdict, report.metadata.status) == (SOUND, "none")
    assert "switched off" in report.manifest.text
    (tmp_path / "out" / "provenance.json").unlink()
    assert told(path)[0][path.name] == (NOTHING, "none")


@pytest.mark.rule("V4")
def test_each_change_is_named(own, tmp_path):
    folder = tmp_path / "out"
    paths = written(folder, count=6)
    other = written(tmp_path / "other", seed=9)
    content = bytearray(paths[0].read_bytes())
    content[-20] ^= 1
    paths[0].write_bytes(content)
    shutil.copy(paths[2], paths[1])
    shutil.copy(other[3], paths[3])
    paths[4].unlink()
    shutil.copy(other[0], folder / "guest.png")
    Image.new("L", (8, 8)).save(folder / "plain.png")
    (folder / "notes.md").write_text("x")
    states, report = told(folder)
    assert states == {
        "sample-0000.png": (CONTRADICTED, "changed"),
        "sample-0001.png": (CONTRADICTED, "swapped"),
        "sample-0002.png": (SOUND, "valid"),
        "sample-0003.png": (CONTRADICTED, "swapped"),
        "sample-0004.png": (CONTRADICTED, "missing"),
        "sample-0005.png": (SOUND, "valid"),
        "guest.png": (SOUND, "unlisted"),
        "plain.png": (NOTHING, "unlisted"),
    }
    assert (report.exit_code, report.other) == (3, 1)
    by_name = {one.name: one.reason for one in report.files}
    assert "sample-0002.png" in by_name["sample-0001.png"]
    assert "seed 9, index 3" in by_name["sample-0003.png"]


@pytest.mark.rule("V4")
def test_another_key_is_named_until_it_is_known(own, tmp_path, monkeypatch):
    paths = written(tmp_path / "out")
    theirs = keys.signing_key().public
    monkeypatch.setenv("GAN_KEYS", str(tmp_path / "mine"))
    keys.signing_key()
    states, report = told(tmp_path / "out")
    assert set(states.values()) == {(CONTRADICTED, "other key")}
    assert report.exit_code == 3
    assert verify(paths[0], Search(frozenset({theirs}))).exit_code == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["files"]["sample-0000.png"].update(sha256="0" * 64), "not what was signed"),
        (lambda m: m["origins"][0].update(model="another/model"), "not what was signed"),
        (lambda m: m["files"].update({"../../etc/passwd": m["files"]["sample-0000.png"]}), "leads out of its folder"),
        (lambda m: m["files"].update({"/etc/passwd": m["files"]["sample-0000.png"]}), "leads out of its folder"),
        (lambda m: m["files"].update({"C:x": m["files"]["sample-0000.png"]}), "leads out of its folder"),
        (lambda m: m.update(schema=2), "has the schema 2"),
        (lambda m: m.update(files=3), "is no manifest"),
        (lambda m: m["files"]["sample-0000.png"].update(origin=99), "is no manifest"),
    ],
)
@pytest.mark.rule("V4")
def test_a_manifest_that_was_changed_is_refused(own, tmp_path, change, words):
    paths = written(tmp_path / "out")
    manifest = tmp_path / "out" / "provenance.json"
    value = json.loads(manifest.read_text())
    change(value)
    manifest.write_text(canonical(value))
    report = verify(paths[1], search()).files[0]
    assert (report.verdict, report.manifest.status) == (CONTRADICTED, "damaged")
    assert words in report.manifest.text


@pytest.mark.rule("V4")
def test_a_manifest_of_a_gigabyte_and_one_that_is_a_link_are_refused(own, tmp_path):
    (path, *_) = written(tmp_path / "out")
    manifest = tmp_path / "out" / "provenance.json"
    os.truncate(manifest, 1 << 30)
    report = verify(path, search()).files[0]
    assert "1,073,741,824 bytes" in report.manifest.text
    manifest.unlink()
    manifest.symlink_to("/dev/zero")
    assert "link" in verify(path, search()).files[0].manifest.text


@pytest.mark.rule("V4")
def test_the_manifest_of_another_folder_is_told(own, tmp_path):
    written(tmp_path / "out", seed=1)
    written(tmp_path / "other", seed=2)
    shutil.copy(tmp_path / "other" / "provenance.json", tmp_path / "out")
    report = verify(tmp_path / "out", search())
    assert "of another folder" in report.manifests["out/provenance.json"]
    assert {one.manifest.status for one in report.files} == {"swapped"}


@pytest.mark.rule("V4")
def test_a_later_writing_adds_to_the_manifest_and_accepts_nothing_that_was_swapped(own, tmp_path, caplog):
    paths = written(tmp_path / "out", count=2)
    Image.new("L", (8, 8)).save(paths[1])
    written(tmp_path / "out", seed=3, count=1, first=2)
    states, _ = told(tmp_path / "out")
    assert states["sample-0000.png"] == states["sample-0002.png"] == (SOUND, "valid")
    assert states["sample-0001.png"] == (CONTRADICTED, "changed")
    manifest = tmp_path / "out" / "provenance.json"
    manifest.write_text(manifest.read_text().replace('"seed":3', '"seed":4'))
    written(tmp_path / "out", seed=3, count=1, first=3)
    assert "is not what was signed" in caplog.text
    states, _ = told(tmp_path / "out")
    assert states["sample-0003.png"] == (SOUND, "valid")
    assert states["sample-0000.png"] == (SOUND, "unlisted")


def test_without_a_place_for_a_key_the_manifest_is_not_signed_and_says_so(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GAN_KEYS", str(tmp_path / "file" / "keys"))
    (path, *_) = written(tmp_path / "out")
    assert "is not signed" in caplog.text
    manifest = read_manifest(tmp_path / "out" / "provenance.json")
    assert (manifest.key, manifest.signed) == ("", False)
    report = verify(path, Search()).files[0]
    assert (report.verdict, report.manifest.status) == (SOUND, "unsigned")


def test_a_manifest_that_is_too_deep_is_refused(tmp_path):
    (tmp_path / "provenance.json").write_text("[" * 100_000)
    with pytest.raises(Broken):
        read_manifest(tmp_path / "provenance.json")
