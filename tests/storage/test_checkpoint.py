"""Checkpoints: exact, whole, verified, and never a mixture."""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
from pathlib import Path

import pytest
import safetensors.torch
import torch
from gan.errors import CheckpointError, DiskError, NumericError
from gan.storage import checkpoint as module
from gan.storage.checkpoint import Checkpoints, verify
from gan.storage.durable import ASIDE
from gan.storage.regular import read_json
from gan.storage.serialization import join, read_tensors, split
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn


class Plain:
    """An owner that holds whatever it is given."""

    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


def same(one, other):
    """Equal to the bit, types and key types and memory layouts included."""
    if isinstance(one, torch.Tensor):
        return (
            isinstance(other, torch.Tensor)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and one.stride() == other.stride()
            and one.detach()
            .contiguous()
            .view(-1)
            .view(torch.uint8)
            .equal(other.contiguous().view(-1).view(torch.uint8))
        )
    if isinstance(one, dict):
        return list(one) == list(other) and all(
            type(a) is type(b) and same(one[a], other[b]) for a, b in zip(one, other)
        )
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


def there_and_back(state):
    structure, tensors = split(state)
    text = module.dump_json(structure).encode()
    return join(read_json(text, "x"), read_tensors(safetensors.torch.save(tensors), "x"), "x")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2))


def train(net, optimizer, steps, first=0):
    for step in range(first, first + steps):
        generator = torch.Generator().manual_seed(step)
        net(torch.randn(4, 3, 5, 5, generator=generator)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def trained(steps=2):
    net = network()
    net(torch.zeros(2, 3, 5, 5))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, betas=(0.5, 0.9))
    train(net, optimizer, steps)
    return net, optimizer


# -- states ------------------------------------------------------------------------------------------------------------


@pytest.mark.rule("R6")
def test_an_optimizers_state_comes_back_exactly():
    for kind in (torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop, torch.optim.AdamW):
        net = network()
        net(torch.zeros(2, 3, 5, 5))
        net.to(memory_format=torch.channels_last)
        optimizer = kind(net.parameters(), lr=0.1)
        train(net, optimizer, 2)
        assert same(optimizer.state_dict(), there_and_back(optimizer.state_dict()))


def test_every_kind_of_tensor_and_layout_comes_back():
    base = torch.arange(24.0).reshape(1, 2, 3, 4)
    state = {
        "dtypes": [torch.zeros(2, dtype=d) for d in (torch.bfloat16, torch.float16, torch.float64, torch.bool)],
        "ints": [torch.ones(2, dtype=d) for d in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)],
        "channels_last": base.to(memory_format=torch.channels_last),
        "one_channel": torch.zeros(2, 1, 3, 4).to(memory_format=torch.channels_last),
        "turned": base[0, 0].t(),
        "scalar": torch.tensor(1.5),
        "empty": torch.empty(0, 3),
        "special": torch.tensor([float("nan"), float("inf"), -0.0]),
        1: {"1": torch.tensor(1), 1: torch.tensor(2)},
        "$": {"$": "tensor", "name": "dtypes.0"},
        "floats": (float("inf"), float("-inf"), float("nan"), -0.0, 0.1),
    }
    assert same(state, there_and_back(state))
    view = torch.zeros(1).expand(3, 4)
    assert there_and_back([view])[0].equal(view)
    shared = torch.arange(6.0)
    assert same([shared[:3].clone(), shared[2:].clone()], there_and_back([shared[:3], shared[2:]]))


_keys = st.text(max_size=3) | st.integers(-5, 5)
_states = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"]))
    | st.lists(st.floats(width=32), max_size=3).map(torch.tensor),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
    | st.dictionaries(_keys.filter(lambda key: not isinstance(key, str) or key.isprintable()), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), _states, max_size=3))
def test_any_state_comes_back_exactly(state):
    assert same(state, there_and_back(state))


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(2, 2).to_sparse(),
        torch.empty(2, device="meta"),
        object(),
        b"bytes",
        {1.5: 1},
        {True: 1},
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_path(value):
    with pytest.raises(TypeError, match="pool"):
        split({"pool": value})


# -- saving and loading ------------------------------------------------------------------------------------------------


@pytest.mark.rule("R1", "R6")
@pytest.mark.parametrize("background", [False, True])
def test_resuming_equals_never_having_stopped(tmp_path, background):
    net, optimizer = trained(2)
    store = Checkpoints(tmp_path / "checkpoints")
    store.save(8, {"net": net, "optimizer": optimizer}, {"recipe": {"lr": 0.01}}, background=background)
    train(net, optimizer, 2, first=2)  # while the thread writes: the snapshot is a copy
    store.wait()

    other, its_optimizer = trained(0)
    found = Checkpoints(tmp_path / "checkpoints").newest()
    assert (found.samples, found.about) == (8, {"recipe": {"lr": 0.01}})
    found.load({"net": other, "optimizer": its_optimizer})
    train(other, its_optimizer, 2, first=2)
    assert same(dict(net.state_dict()), dict(other.state_dict()))
    assert same(optimizer.state_dict(), its_optimizer.state_dict())


@pytest.mark.rule("D4")
def test_files_and_folders_obey_the_umask(tmp_path):
    before = os.umask(0o022)
    try:
        path = Checkpoints(tmp_path).save(1, {"a": Plain({"x": torch.zeros(2)})}, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {0o644}


@pytest.mark.rule("R12")
def test_the_newest_are_kept_and_nothing_else_is_left(tmp_path):
    store = Checkpoints(tmp_path, keep=2)
    for samples in (1, 2, 3, 4):
        store.save(samples, {"a": Plain({"x": samples})}, {})
    assert [path.name for path in store.all()] == ["samples-000000003", "samples-000000004"]
    assert sorted(os.listdir(tmp_path)) == ["samples-000000003", "samples-000000004"]


@pytest.mark.rule("R12")
def test_damaged_newer_ones_never_crowd_out_the_last_valid_one(tmp_path):
    """Resuming from 2 past a damaged 3 and 4 and saving at 2.5 must leave the new one, whatever `keep` is."""
    store = Checkpoints(tmp_path, keep=1, warn=lambda message: None)
    for samples in (20, 30, 40):
        Checkpoints(tmp_path, keep=9).save(samples, {"a": Plain({"x": samples})}, {})
    for name in ("samples-000000030", "samples-000000040"):
        (tmp_path / name / "a.json").write_text("{}")
    assert store.newest().samples == 20
    store.save(25, {"a": Plain({"x": 25})}, {})
    assert [path.name for path in store.all()] == ["samples-000000025"]
    assert store.newest().samples == 25


@pytest.mark.rule("R12")
def test_failing_to_delete_only_warns(tmp_path, monkeypatch):
    warnings = []
    store = Checkpoints(tmp_path, keep=1, warn=warnings.append)
    store.save(1, {"a": Plain({"x": 1})}, {})

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    store.save(2, {"a": Plain({"x": 2})}, {})
    assert len(warnings) == 1
    assert "cannot be deleted: Permission denied" in warnings[0]
    assert store.newest().samples == 2
    monkeypatch.undo()
    store.remove_unfinished()
    assert os.listdir(tmp_path) == ["samples-000000002"]


def test_saving_at_the_same_place_again_replaces(tmp_path):
    store = Checkpoints(tmp_path)
    store.save(1, {"a": Plain({"x": 1})}, {})
    store.save(1, {"a": Plain({"x": 2})}, {})
    assert store.newest().state("a") == {"x": 2}
    assert os.listdir(tmp_path) == ["samples-000000001"]


@pytest.mark.rule("R2")
def test_a_kill_between_the_two_renames_of_a_replacement_is_healed(tmp_path, monkeypatch):
    store = Checkpoints(tmp_path)
    store.save(1, {"a": Plain({"x": 1})}, {})
    rename, calls = os.rename, []

    def killed_at_the_second(source, target):
        calls.append(source)
        if len(calls) == 2:
            os._exit(9)
        rename(source, target)

    child = os.fork()
    if child == 0:
        os.rename = killed_at_the_second
        store.save(1, {"a": Plain({"x": 2})}, {})
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert store.newest() is None
    store.remove_unfinished()
    assert store.newest().state("a") == {"x": 1}
    assert os.listdir(tmp_path) == ["samples-000000001"]


@pytest.mark.rule("R1")
def test_leftovers_of_killed_runs_are_swept(tmp_path):
    store = Checkpoints(tmp_path)
    store.remove_unfinished()
    path = store.save(1, {"a": Plain({"x": 1})}, {})
    shutil.copytree(path, tmp_path / f"{ASIDE}samples-000000002-77-0")
    shutil.copytree(path, tmp_path / f"{ASIDE}del-samples-000000000-77")
    shutil.copytree(path, tmp_path / f"{ASIDE}old-samples-000000001-77-3")
    (tmp_path / f"{ASIDE}x").write_text("")
    store.remove_unfinished()
    assert os.listdir(tmp_path) == ["samples-000000001"]


def test_nothing_saved_is_none(tmp_path):
    assert Checkpoints(tmp_path / "none").newest() is None
    assert Checkpoints(tmp_path / "none").all() == []


# -- what must not be loaded -------------------------------------------------------------------------------------------


@pytest.mark.rule("R6")
def test_a_missing_and_a_surplus_owner_are_named(tmp_path):
    store = Checkpoints(tmp_path)
    store.save(1, {"pool": Plain({"x": 1}), "net": Plain({"x": 1})}, {})
    with pytest.raises(CheckpointError, match=r"lacks the state of ada; nothing here takes the state of pool"):
        store.newest().load({"net": Plain({}), "ada": Plain({})})


def weights(**changes):
    return {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), **changes}


@pytest.mark.rule("R15", "S4")
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"weight": torch.zeros(2, 4)}, r"weight has shape \(2, 4\), not \(2, 3\)"),
        ({"weight": torch.zeros(2, 3, dtype=torch.float64)}, "weight has dtype torch.float64, not torch.float32"),
        ({"extra": torch.zeros(1)}, "nothing takes 'extra'"),
        ({"bias": 1.0}, "bias is not a tensor"),
    ],
)
def test_other_names_shapes_and_dtypes_are_refused_and_nothing_is_changed(tmp_path, change, complaint):
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    before = [tensor.clone() for net in (first, second) for tensor in net.state_dict().values()]
    store = Checkpoints(tmp_path)
    store.save(1, {"a": Plain(weights()), "b": Plain(weights(**change))}, {})
    with pytest.raises(CheckpointError, match=complaint) as refused:
        store.newest().load({"a": first, "b": second})
    assert str(tmp_path) in str(refused.value)
    assert all(map(torch.equal, before, [t for net in (first, second) for t in net.state_dict().values()]))


@pytest.mark.rule("R15")
def test_another_optimizers_state_is_refused(tmp_path):
    wide, narrow = nn.Linear(4, 2), nn.Linear(3, 2)
    optimizer = torch.optim.Adam(wide.parameters())
    wide(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    store = Checkpoints(tmp_path)
    store.save(1, {"optimizer": optimizer}, {})
    for other, complaint in (
        (torch.optim.Adam(narrow.parameters()), "has shape"),
        (torch.optim.Adam([*wide.parameters(), nn.Parameter(torch.zeros(1))]), "parameters, not 3"),
        (torch.optim.SGD(wide.parameters(), lr=1.0), "other settings"),
    ):
        with pytest.raises(CheckpointError, match=complaint):
            store.newest().load({"optimizer": other})


def test_parts_that_fill_as_training_goes_take_anything(tmp_path):
    store = Checkpoints(tmp_path)
    state = {"best": 0.5, "recent": [1.0, 2.0], "pool": {3: torch.ones(2)}}
    store.save(1, {"a": Plain(state)}, {})
    fresh = Plain({"best": None, "recent": [], "pool": {}})
    store.newest().load({"a": fresh})
    assert same(fresh.state, state)


# -- numbers -----------------------------------------------------------------------------------------------------------


@pytest.mark.rule("N2")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_never_saved(tmp_path, value):
    net, optimizer = trained()
    store = Checkpoints(tmp_path)
    store.save(1, {"net": net, "optimizer": optimizer}, {})
    with torch.no_grad():
        net[0].weight[0, 0, 0, 0] = value
    with pytest.raises(NumericError, match=r"'0\.weight' of 'net' is not finite after 2 samples"):
        store.save(2, {"net": net, "optimizer": optimizer}, {})
    assert os.listdir(tmp_path) == ["samples-000000001"]


def test_an_infinity_in_a_mask_is_no_fault(tmp_path):
    net = nn.Linear(2, 2)
    net.register_buffer("mask", torch.full((2, 2), float("-inf")).triu(1))
    Checkpoints(tmp_path).save(1, {"net": net}, {})


def save_and_wait(store, samples, background):
    store.save(samples, {"a": Plain({"x": samples})}, {}, background=background)
    store.wait()


# -- the disk ----------------------------------------------------------------------------------------------------------


@pytest.mark.rule("D1", "D2")
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("call", ["mkdir", "open", "write", "fsync", "rename"])
def test_a_failed_save_is_never_announced_and_leaves_the_older_ones(tmp_path, monkeypatch, call, background):
    announced = []
    store = Checkpoints(tmp_path, saved=announced.append)
    first = store.save(1, {"a": Plain({"x": 1})}, {})
    count = [0]
    original = getattr(os, call)
    total = {"mkdir": 1, "open": 4, "write": 2, "fsync": 4, "rename": 1}[call]
    for failing in range(total):
        count[0] = 0

        def fail(*arguments, failing=failing, **options):
            count[0] += 1
            if count[0] > failing:
                raise OSError(28, "No space left on device")
            return original(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(DiskError, match="No space left on device"):
                save_and_wait(store, 2, background)
        if announced != [first]:
            pytest.fail(f"announced {announced}")
        store.remove_unfinished()
        last_sync = call in ("open", "fsync") and failing == total - 1  # the rename was done, only not made durable
        assert os.listdir(tmp_path) == ["samples-000000001"] or last_sync
        shutil.rmtree(tmp_path / "samples-000000002", ignore_errors=True)
    assert store.newest().state("a") == {"x": 1}


def test_background_errors_surface_once(tmp_path, monkeypatch):
    store = Checkpoints(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "create_file", lambda *_: (_ for _ in ()).throw(DiskError("full")))
        store.save(1, {"a": Plain({"x": 1})}, {}, background=True)
        with pytest.raises(DiskError, match="full"):
            store.save(2, {"a": Plain({"x": 1})}, {}, background=True)
    store.wait()
    store.save(3, {"a": Plain({"x": 3})}, {}, background=True)
    store.wait()
    assert store.newest().samples == 3


def test_saving_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    go_on = threading.Event()
    create = module.create_file

    def slow(*arguments):
        assert go_on.wait(20)
        create(*arguments)

    monkeypatch.setattr(module, "create_file", slow)
    store = Checkpoints(tmp_path)
    store.save(1, {"a": Plain({"x": torch.ones(3)})}, {}, background=True)
    assert store.all() == []
    go_on.set()
    store.wait()
    assert store.newest().samples == 1


@pytest.mark.rule("R16")
def test_a_checkpoint_of_a_newer_release_names_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SCHEMA", 2)
    path = Checkpoints(tmp_path).save(1, {"a": Plain({"x": 1})}, {})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="newer gan-core.*upgrade"):
        verify(path)


def test_an_owner_cannot_lead_out_of_the_folder(tmp_path):
    for name in ("../a", "a/b", "", ".a", "a\n"):
        with pytest.raises(ValueError, match="owner"):
            Checkpoints(tmp_path).save(1, {name: Plain({})}, {})


def test_the_manifest_is_json_that_names_every_file(tmp_path):
    path = Checkpoints(tmp_path).save(7, {"a": Plain({"x": torch.ones(1)})}, {"seed": 3})
    manifest = json.loads((path / "manifest.json").read_text())
    assert set(manifest["checkpoint"]["files"]) == {"a.json", "a.safetensors"}
    assert sorted(os.listdir(path)) == ["a.json", "a.safetensors", "manifest.json"]


LEGACY = sorted((Path(__file__).parents[1] / "legacy").glob("layout-*/samples-*"))


@pytest.mark.rule("R16")
@pytest.mark.parametrize("path", LEGACY, ids=lambda path: path.parent.name)
def test_checkpoints_of_every_layout_that_was_released_load(path):
    """Written by that release and kept: a linear layer with weights i / 7, Adam after one step, a place."""
    found = verify(path)
    net = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.5)
    place = Plain({"samples": 0, "phase": 0, "pair": (0, 0), 1: 0.0})
    found.load({"net": net, "optimizer": optimizer, "progress": place})
    assert torch.equal(net.weight, torch.arange(6.0).reshape(2, 3) / 7)
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert optimizer.state_dict()["state"][0]["step"] == 1
    assert place.state == {"samples": 100, "phase": 0, "pair": (1, 2), 1: float("inf")}


def test_the_layout_of_this_release_is_kept():
    assert [path.parent.name for path in LEGACY] == [f"layout-{number}" for number in range(1, module.SCHEMA + 1)]
