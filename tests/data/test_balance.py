"""`data.balance`: collections of different sizes are shown equally often."""

from __future__ import annotations

from collections import Counter

import gan
import pytest
from gan.data.order import Order
from gan.data.packing import open_pack
from gan.errors import BadData
from gan.testing import install
from gan.testing.points import Points


def make(tmp_path, **folders: int):
    """Two points a file, (place of its folder, its number and a half more)."""
    root = tmp_path / "points"
    for place, (folder, files) in enumerate(folders.items()):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(files):
            (root / folder / f"{number}.csv").write_text(f"{place},{number / 10}\n{place},{number / 10 + 0.05}\n")
    return open_pack(root, Points, Points.Config(), "points", cache=tmp_path / "cache")


def shown(view) -> Counter:
    """Point -> how often the first pass over a view shows it."""
    order = Order(view.sizes, 0).indices(0, len(view))
    return Counter(tuple(point) for point in view.take(order)["points"].astype(float).round(3).tolist())


def by_folder(points: Counter) -> dict[float, int]:
    found: Counter = Counter()
    for (place, _), times in points.items():
        found[place] += times
    return dict(found)


def test_a_pass_shows_every_folder_equally_often_and_every_sample(tmp_path):
    """10 points of ``big`` and 4 of ``small``: of each point of ``small`` there are two or three copies."""
    pack = make(tmp_path, big=5, small=2)
    assert by_folder(shown(pack)) == {0: 10, 1: 4}
    points = shown(pack.split(0.0, balance=True)[0])
    assert by_folder(points) == {0: 10, 1: 10}
    assert Counter(times for (place, _), times in points.items() if place == 0) == {1: 10}
    assert Counter(times for (place, _), times in points.items() if place == 1) == {2: 2, 3: 2}


def test_files_beside_the_folders_are_one(tmp_path):
    pack = make(tmp_path, big=5, **{".": 1})
    assert by_folder(shown(pack.balanced())) == {0: 10, 1: 10}


def test_held_out_files_stay_out_and_are_balanced_too(tmp_path):
    pack = make(tmp_path, big=30, small=12)
    plain = [set(shown(part)) for part in pack.split(0.3)]
    balanced = [shown(part) for part in pack.split(0.3, balance=True)]
    assert [set(points) for points in balanced] == plain
    for points in balanced:
        assert len(set(by_folder(points).values())) == 1


def test_a_folder_that_is_not_in_both_parts_is_refused(tmp_path):
    """One file is either trained on or held out."""
    pack = make(tmp_path, big=30, small=1)
    with pytest.raises(BadData, match="small"):
        pack.split(0.3, balance=True)


@pytest.mark.parametrize("folders", [{"all": 8}, {".": 8}])
def test_a_training_refuses_to_balance_a_single_folder(tmp_path, monkeypatch, folders):
    make(tmp_path, **folders)
    install(tmp_path / "site", "toy", {"gan_toy.py": "from gan.testing.toy import *\n"})
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    data = {"source": str(tmp_path / "points"), "balance": True}
    values = {"plugin": "toy", "architecture": "mlp", "data": data, "training": {"samples": 16, "batch": 8}}
    with pytest.raises(BadData, match="at least two folders"):
        gan.train(values, out=tmp_path / "run")
