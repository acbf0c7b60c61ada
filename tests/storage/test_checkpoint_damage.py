"""Checkpoints that rotted and checkpoints that somebody forged: named, refused, never run.

The corpus is made here: a good checkpoint is changed, once as damage does (the manifest no longer fits) and once as an
attacker does (the manifest is sealed again, so that only what the content says can give it away).
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import time

import pytest
import torch
from gan.errors import CheckpointError
from gan.storage import checkpoint as module
from gan.storage.checkpoint import Checkpoints, verify
from hypothesis import given, settings
from hypothesis import strategies as st

CANARY = "GAN_TEST_CANARY"


class Payload:
    """What a pickle runs when somebody loads it."""

    def __reduce__(self):
        return exec, (f"import os; os.environ['{CANARY}'] = 'run'",)


class Owner:
    def __init__(self):
        self.state = {"weight": torch.arange(6.0).reshape(2, 3), "nested": {"count": 3, "pair": (1, 2)}}

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


def good(folder):
    return Checkpoints(folder).save(100, {"a": Owner(), "b": Owner()}, {"title": "toy/mlp"})


def seal(path, **changes):
    """The manifest as an attacker writes it: sizes and hashes of what lies there now."""
    body = json.loads((path / "manifest.json").read_text())["checkpoint"]
    for name in body["files"]:
        file = path / name
        if file.is_file() and not file.is_symlink():
            content = file.read_bytes()
            body["files"][name] = {"size": len(content), "sha256": module.hashlib.sha256(content).hexdigest()}
    body.update(changes)
    text = module._manifest(body["samples"], body["owners"], body["files"], "{}")
    if changes:
        start = '{"checkpoint": ' + json.dumps(body) + ',\n"about": {},\n'
        text = start + module._seal(start.encode())
    (path / "manifest.json").write_text(text)


def flip(path, byte, bit):
    content = bytearray(path.read_bytes())
    content[byte % len(content)] ^= 1 << bit
    path.write_bytes(bytes(content))


# -- damage ------------------------------------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def swap(one, other):
    keep = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(keep)


DAMAGE = {
    "weights cut short": lambda path: cut(path / "a.safetensors"),
    "weights empty": lambda path: (path / "a.safetensors").write_bytes(b""),
    "a bit of the weights": lambda path: flip(path / "a.safetensors", -2, 3),
    "a bit of the header": lambda path: flip(path / "a.safetensors", 12, 0),
    "zeros instead of weights": lambda path: (path / "a.safetensors").write_bytes(
        bytes((path / "a.safetensors").stat().st_size)
    ),
    "weights missing": lambda path: (path / "a.safetensors").unlink(),
    "structure missing": lambda path: (path / "b.json").unlink(),
    "a bit of the structure": lambda path: flip(path / "a.json", 20, 1),
    "manifest missing": lambda path: (path / "manifest.json").unlink(),
    "manifest empty": lambda path: (path / "manifest.json").write_bytes(b""),
    "manifest cut short": lambda path: cut(path / "manifest.json"),
    "a bit of what the manifest says": lambda path: (path / "manifest.json").write_text(
        (path / "manifest.json").read_text().replace("toy/mlp", "toy/mlq")
    ),
    "bytes appended": lambda path: (path / "a.json").write_bytes((path / "a.json").read_bytes() + b" "),
    "files of two owners swapped": lambda path: [
        (path / "b.json").write_text((path / "a.json").read_text() + "\n"),
        swap(path / "a.json", path / "b.json"),
    ],
    "everything missing": lambda path: [file.unlink() for file in path.iterdir()],
    "a file instead of the folder": lambda path: [shutil.rmtree(path), path.write_text("x")],
    "the manifest of another checkpoint": lambda path: shutil.copy(
        path.parent / "samples-000000050" / "manifest.json", path / "manifest.json"
    ),
    "the folder of another checkpoint": lambda path: [
        shutil.rmtree(path),
        shutil.copytree(path.parent / "samples-000000050", path),
    ],
}


@pytest.mark.rule("R11")
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_newest_one_is_named_and_the_one_before_is_used(tmp_path, kind):
    warnings = []
    store = Checkpoints(tmp_path, warn=warnings.append)
    before = Owner()
    store.save(50, {"a": before, "b": before}, {})
    newest = good(tmp_path)
    DAMAGE[kind](newest)
    found = store.newest()
    assert found.samples == 50
    assert len(warnings) == 1
    assert str(newest) in warnings[0]
    assert "continuing from samples-000000050" in warnings[0]
    assert "\n" not in warnings[0]
    owners = {"a": Owner(), "b": Owner()}
    found.load(owners)
    assert owners["a"].state["weight"].equal(before.state["weight"])
    store.save(100, {"a": before, "b": before}, {})  # the training comes to the same place again
    assert store.newest().samples == 100
    assert len(warnings) == 1


@pytest.mark.rule("R11")
def test_when_all_are_damaged_it_says_so(tmp_path):
    for samples in (50, 100):
        path = Checkpoints(tmp_path).save(samples, {"a": Owner()}, {})
        cut(path / "a.safetensors")
    with pytest.raises(
        CheckpointError, match=r"samples-000000100: damaged: .* Older checkpoints that are damaged too: 1"
    ):
        Checkpoints(tmp_path).newest()


@pytest.mark.rule("R11", "S1")
@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_flipped_bit_anywhere_is_noticed(tmp_path_factory, data):
    path = good(tmp_path_factory.mktemp("run"))
    file = path / data.draw(st.sampled_from(sorted(os.listdir(path))))
    flip(file, data.draw(st.integers(0, file.stat().st_size - 1)), data.draw(st.integers(0, 7)))
    with pytest.raises(CheckpointError, match="samples-000000100"):
        verify(path)


@pytest.mark.rule("R11")
def test_damage_after_the_check_is_noticed_too(tmp_path):
    found = verify(good(tmp_path))
    flip(found.path / "a.safetensors", -1, 0)
    with pytest.raises(CheckpointError, match=r"a\.safetensors is not what was written"):
        found.load({"a": Owner(), "b": Owner()})


# -- attacks -----------------------------------------------------------------------------------------------------------


def tensors(header, data=b"\0" * 24):
    """A safetensors file with a header of one's own."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def weight(**changes):
    return {"weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24], **changes}}


def structure(value):
    return json.dumps(value).encode()


TENSOR = {"$": "tensor", "name": "weight"}
FORGED_TENSORS = {
    "a pickle": pickle.dumps(Payload()),
    "a pickle of a module": pickle.dumps({"weight": Payload()}),
    "a zip with a pickle": b"PK\x03\x04" + pickle.dumps(Payload()),
    "a header that says 16 exabytes": struct.pack("<Q", 1 << 62) + b"{}",
    "a header longer than the file": struct.pack("<Q", 1 << 20) + b"{}",
    "no header": b"\1\2\3",
    "a header that is no JSON": tensors(b"{weight}"),
    "a header nested for ever": tensors(b'{"a":' * 100_000),
    "a view of 4 TB": tensors(weight(shape=[1 << 40], data_offsets=[0, 1 << 42])),
    "4 TB in 24 bytes": tensors(weight(shape=[1 << 40])),
    "a shape that overflows": tensors(weight(shape=[1 << 33, 1 << 33])),
    "a shape that overflows to the right size": tensors(weight(shape=[1 << 63, 2, 3])),
    "a negative shape": tensors(weight(shape=[-2, -3])),
    "a shape of text": tensors(weight(shape=["2", "3"])),
    "an unknown dtype": tensors(weight(dtype="PICKLE")),
    "offsets backwards": tensors(weight(data_offsets=[24, 0])),
    "offsets past the end": tensors(weight(data_offsets=[0, 48], shape=[4, 3])),
    "overlapping tensors": tensors({**weight(), "other": weight()["weight"]}),
    "a hole between tensors": tensors(weight(data_offsets=[24, 48]), b"\0" * 48),
    "a name twice": tensors(b'{"weight":{"dtype":"F32","shape":[6],"data_offsets":[0,24]},'
                            b'"weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}} '[:-1] + b"x"),
    "a surplus tensor": tensors(
        {**weight(), "other": {"dtype": "F32", "shape": [1], "data_offsets": [24, 28]}}, b"\0" * 28
    ),
    "another name": tensors({"bias": weight()["weight"]}),
}  # fmt: skip
FORGED_STRUCTURES = {
    "a pickle for a structure": pickle.dumps(Payload()),
    "a class to call": structure({"weight": {"$": "object", "class": "os:system", "args": ["true"]}}),
    "a target to instantiate": structure({"_target_": "os.system", "weight": TENSOR, "$": "call"}),
    "nested for ever": b"[" * 200_000,
    "a number of a million digits": b'{"weight": ' + b"9" * 1_000_000 + b"}",
    "NaN": b'{"weight": NaN}',
    "Infinity": b'{"weight": -Infinity}',
    "a key twice": b'{"weight": 1, "weight": 2}',
    "another encoding": '{"weight": 1}'.encode("utf-16"),
    "no UTF-8": b'{"weight": "\xff"}',
    "a list": structure([TENSOR]),
    "null": structure(None),
    "a tensor twice": structure({"weight": TENSOR, "other": TENSOR}),
    "no tensor": structure({"weight": 1}),
    "a tensor that is not there": structure({"weight": TENSOR, "other": {"$": "tensor", "name": "gone"}}),
    "an order with an axis twice": structure({"weight": {**TENSOR, "order": [0, 0]}}),
    "an order that is text": structure({"weight": {**TENSOR, "order": "01"}}),
    "an order of a billion axes": structure({"weight": {**TENSOR, "order": [0, 10**9]}}),
    "a float that is code": structure({"weight": TENSOR, "x": {"$": "float", "value": "__import__('os')"}}),
    "a key that is no key": structure({"weight": TENSOR, "x": {"$": "dict", "items": [[[1], 2]]}}),
    "a mapping with a key twice": structure({"weight": TENSOR, "x": {"$": "dict", "items": [[1, 2], [1, 3]]}}),
    "a tuple of nothing": structure({"weight": TENSOR, "x": {"$": "tuple"}}),
}


def of_size(size):
    return {name: {"size": size, "sha256": "0"} for name in ("a.json", "a.safetensors")}


FORGED_MANIFESTS = {
    "an owner that climbs": {"owners": ["../../x", "a"]},
    "an absolute owner": {"owners": ["/etc/passwd"]},
    "an owner that is a number": {"owners": [1, "a"]},
    "owners that are text": {"owners": "ab"},
    "a file that climbs": {"files": {"../../../etc/passwd": {"size": 1, "sha256": "0"}}},
    "a negative size": {
        "files": {n: {"size": -1, "sha256": "0"} for n in ("a.json", "a.safetensors")},
        "owners": ["a"],
    },
    "a true size": {"files": {n: {"size": True, "sha256": "0"} for n in ("a.json", "a.safetensors")}, "owners": ["a"]},
    "a size of 16 exabytes": {
        "files": {n: {"size": 1 << 64, "sha256": "0"} for n in ("a.json", "a.safetensors")},
        "owners": ["a"],
    },
    "samples that are text": {"samples": "100"},
    "negative samples": {"samples": -100},
    "other samples": {"samples": 200},
    "a schema that is text": {"schema": "1; import os"},
    "a schema of the future": {"schema": 10**6},
    "a schema of no release": {"schema": 0},
}


def refuse(path, culprit=""):
    """Loading ends at once with the folder's name, and nothing was run."""
    start = time.process_time()
    with pytest.raises(CheckpointError) as refused:
        verify(path).load({"a": Owner(), "b": Owner()})
    assert time.process_time() - start < 60
    assert str(path) in str(refused.value)
    assert culprit in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 1000
    assert CANARY not in os.environ


@pytest.mark.rule("S1", "S4")
@pytest.mark.parametrize("kind", FORGED_TENSORS)
def test_forged_weights_are_refused(tmp_path, kind):
    path = good(tmp_path)
    (path / "a.json").write_bytes(structure({"weight": TENSOR}))
    (path / "a.safetensors").write_bytes(FORGED_TENSORS[kind])
    seal(path)
    refuse(path)


@pytest.mark.rule("S1", "S3")
@pytest.mark.parametrize("kind", FORGED_STRUCTURES)
def test_forged_structures_are_refused(tmp_path, kind):
    path = good(tmp_path)
    (path / "a.safetensors").write_bytes(tensors(weight()))
    (path / "a.json").write_bytes(FORGED_STRUCTURES[kind])
    seal(path)
    refuse(path)


@pytest.mark.rule("S1")
@pytest.mark.parametrize("kind", FORGED_MANIFESTS)
def test_forged_manifests_are_refused(tmp_path, kind):
    path = good(tmp_path)
    seal(path, **FORGED_MANIFESTS[kind])
    refuse(path)


@pytest.mark.rule("S1")
def test_a_forged_manifest_that_says_the_truth_is_accepted(tmp_path):
    """The corpus tests what its changes say, not a seal that is always wrong."""
    path = good(tmp_path)
    seal(path)
    verify(path).load({"a": Owner(), "b": Owner()})
    seal(path, samples=100)
    verify(path).load({"a": Owner(), "b": Owner()})


@pytest.mark.rule("S1")
@pytest.mark.parametrize("name", ["a.safetensors", "a.json", "manifest.json"])
@pytest.mark.parametrize("kind", ["link", "link to a device", "pipe", "folder", "link in a circle"])
def test_what_is_no_file_neither_hangs_nor_leads_away(tmp_path, name, kind):
    path = good(tmp_path)
    outside = tmp_path / "outside"
    shutil.copy(path / name, outside)
    (path / name).unlink()
    if kind == "link":
        (path / name).symlink_to(outside)
    elif kind == "link to a device":
        (path / name).symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path / name)
    elif kind == "folder":
        (path / name).mkdir()
    else:
        (path / name).symlink_to(path / name)
    refuse(path, name)


@pytest.mark.rule("S1")
def test_a_manifest_of_a_gigabyte_is_not_read(tmp_path):
    path = good(tmp_path)
    with open(path / "manifest.json", "r+b") as file:
        file.truncate(1 << 30)
    refuse(path, "manifest.json")


def test_a_pickle_would_have_run():
    """The canary lives: what the corpus holds is dangerous to whoever unpickles it."""
    pickle.loads(pickle.dumps(Payload()))  # noqa: S301
    assert os.environ.pop(CANARY) == "run"
