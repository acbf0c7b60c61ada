"""Metrics of clips by hand, and the drawn clips."""

from __future__ import annotations

import numpy as np
import pytest
from gan_video.data.datasets import CLASSES, FRAMES, clip
from gan_video.metrics import ClipStatistics, Motion, cells, kept, motion


def arrays(*clips):
    return np.stack(clips).astype(np.uint8)


def test_motion_is_the_mean_absolute_difference():
    """Levels 0, 10, 30: differences of 10 and 20, so 15; a still clip has 0."""
    moving = np.zeros((3, 1, 8, 8)) + np.array([0, 10, 30])[:, None, None, None]
    found = motion(arrays(moving, np.zeros((3, 1, 8, 8))))
    np.testing.assert_allclose(found, [15, 0])


def test_content_is_kept_by_what_moves_and_lost_by_what_changes_colour():
    """A pixel that moves leaves the histogram as it is; from black to white all mass moves: 1 - 1 = 0."""
    moves, changes = np.zeros((2, 1, 8, 8)), np.zeros((2, 1, 8, 8))
    moves[0, 0, 0, 0] = moves[1, 0, 5, 5] = 255
    changes[1] = 255
    np.testing.assert_allclose(kept(arrays(moves, changes)), [1, 0], atol=1e-12)


def test_frozen_clips_are_counted():
    real = np.random.default_rng(0).integers(0, 255, (4, 3, 1, 8, 8)).astype(np.uint8)
    generated = np.concatenate([real[:3], np.zeros((1, 3, 1, 8, 8), np.uint8)])
    values = {value.name: value for value in Motion().compute({"video": generated}, {"video": real}, None)}
    assert (values["frozen"].value, values["frozen"].real) == (0.25, 0)


@pytest.mark.parametrize("side", [8, 12, 16])
def test_cells_are_means_of_areas(side):
    """The mean over cells, weighted by their areas, is the mean of the frame; a ramp stays a ramp."""
    ramp = np.broadcast_to(np.arange(side, dtype=np.uint8) * 5, (1, 1, 1, side, side))
    found = cells(np.ascontiguousarray(ramp))[0, 0, 0]
    assert found.shape == (8, 8)
    assert np.all(np.diff(found[0]) > 0)
    np.testing.assert_allclose(found[0], found[7])
    if side % 8 == 0:
        np.testing.assert_allclose(found.mean() * 255, ramp.mean(), rtol=1e-6)


def test_features_tell_directions_apart():
    """Right and left have opposite changes from the first to the second half."""

    def feature(kind):
        pictures = clip(kind, np.random.default_rng(5))
        video = np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures])[None]
        return ClipStatistics()({"video": video}, None).vectors[0, 192:384]

    right, left = feature("right"), feature("left")
    np.testing.assert_allclose(right, -left, atol=1e-3)
    assert np.abs(right).max() > 0.05


@pytest.mark.parametrize("kind", CLASSES)
def test_drawn_shapes_stay_in_the_picture_and_move(kind):
    for seed in range(10):
        pictures = clip(kind, np.random.default_rng(seed))
        assert len(pictures) == FRAMES
        video = np.stack([np.asarray(picture) for picture in pictures])[None].transpose(0, 1, 4, 2, 3)
        assert motion(video)[0] > 0.3
        edges = np.concatenate([video[..., 0, :].ravel(), video[..., -1, :].ravel(), video[..., 0].ravel()])
        assert edges.max() < 40, "the shape touches the border"
