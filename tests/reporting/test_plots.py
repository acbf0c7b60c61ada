"""Pictures are drawn from what the training wrote, and show what it wrote."""

from __future__ import annotations

import numpy as np
from gan.reporting.plots import plot_class_shares, plot_health, plot_training
from PIL import Image


def pixels(path):
    return np.asarray(Image.open(path).convert("L"))


def training(values):
    return [
        {"samples": 64 * i, "phase": "adversarial", "seconds": i, "terms": {"generator/loss": value}}
        for i, value in enumerate(values)
    ]


def test_training_curves_differ_with_the_values(tmp_path):
    up = plot_training(training([0.0, 1.0, 2.0]), tmp_path / "a.png")
    down = plot_training(training([2.0, 1.0, 0.0]), tmp_path / "b.png")
    assert pixels(up).shape == pixels(down).shape
    assert (pixels(up) != pixels(down)).any()


def test_a_panel_for_each_player_and_metric(tmp_path):
    one = training([1.0, 2.0])
    three = [
        {**record, "terms": {**record["terms"], "discriminator/loss": 1.0, "discriminator/_real_score": 0.5},
         "metrics": {"FID[lenet5]": {"value": 3.0}}}
        for record in one
    ]  # fmt: skip
    small = pixels(plot_training(one, tmp_path / "a.png"))
    large = pixels(plot_training(three, tmp_path / "b.png"))
    assert large.shape[0] > 2 * small.shape[0]


def test_gaps_and_nothing_at_all_are_drawn(tmp_path):
    gap = pixels(plot_training(training([1.0, None, 2.0]), tmp_path / "a.png"))
    whole = pixels(plot_training(training([1.0, 1.5, 2.0]), tmp_path / "b.png"))
    assert gap.shape == whole.shape
    assert (gap != whole).any()
    assert plot_training([], tmp_path / "c.png").is_file()


def test_phases_are_parted(tmp_path):
    two = training([1.0, 2.0, 3.0, 4.0])
    one = [dict(record) for record in two]
    for record in two[2:]:
        record["phase"] = "polish"
    plain = pixels(plot_training(one, tmp_path / "a.png"))
    parted = pixels(plot_training(two, tmp_path / "b.png"))
    assert plain.shape == parted.shape
    assert (plain != parted).any()


def test_class_shares_show_a_class_that_is_missing(tmp_path):
    """One-hot opinions: generated samples without class 2 draw another picture than balanced ones; with many classes
    only the most frequent of the first set are shown."""
    balanced = np.eye(4)[np.arange(40) % 4]
    lacking = np.eye(4)[np.array([0, 1, 3])[np.arange(39) % 3]]
    same = pixels(plot_class_shares({"real": balanced, "generated": balanced}, tmp_path / "a.png"))
    missing = pixels(plot_class_shares({"real": balanced, "generated": lacking}, tmp_path / "b.png"))
    assert same.shape == missing.shape
    assert (same != missing).any()
    rare = [np.eye(30)[[0, 0, 1, 1, 2, 2, 3, 3, index]] for index in (10, 20)]
    first, second = (pixels(plot_class_shares({"real": rows}, tmp_path / "c.png", most=4)) for rows in rare)
    assert (first == second).all()


def test_health_shows_signals_verdicts_and_actions(tmp_path):
    """A panel for each kind of signal; a verdict shades its time, and an action is a line."""
    records = [
        {"samples": 100 * number, "phase": "duel", "terms": {"d/_accuracy": 0.8, "d/_gradient_norm": 1.0},
         "health": {"diversity": 0.9, "g/spectral": 2.0}}
        for number in range(1, 6)
    ]  # fmt: skip
    verdict = {"verdict": "mode-collapse", "since": 200, "until": None}
    plain = pixels(plot_health(records, [], [], tmp_path / "a.png"))
    judged = pixels(plot_health(records, [verdict], [], tmp_path / "b.png"))
    treated = pixels(plot_health(records, [verdict], [{"samples": 400}], tmp_path / "c.png"))
    fewer = [{**record, "health": {}} for record in records]
    assert pixels(plot_health(fewer, [], [], tmp_path / "d.png")).shape[0] < plain.shape[0]
    assert plain.shape == judged.shape == treated.shape
    assert (plain != judged).any()
    assert (judged != treated).any()
