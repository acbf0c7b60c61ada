"""Metrics of clips by hand, and the drawn clips."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from gan.errors import BadData, UsageError
from gan.evaluation.metric_names import find_metrics, measure
from gan.plugins.manager import Plugins
from gan_video.data.datasets import CLASSES, FRAMES, clip
from gan_video.i3d import BLOCKS, I3D, I3DExtractor, prepared, same
from gan_video.metrics import ClipStatistics, FrameStatistics, Motion, cells, kept, motion


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


def test_a_frame_is_described_whatever_moves():
    """Of three frames the second counts; 8x8 pixels are their own cells."""
    video = np.random.default_rng(0).integers(0, 256, (2, 3, 3, 8, 8)).astype(np.uint8)
    found = FrameStatistics()({"video": video}, None).vectors
    np.testing.assert_allclose(found, video[:, 1].reshape(2, -1) / 255, rtol=1e-6)


@pytest.mark.parametrize("kind", CLASSES)
def test_drawn_shapes_stay_in_the_picture_and_move(kind):
    for seed in range(10):
        pictures = clip(kind, np.random.default_rng(seed))
        assert len(pictures) == FRAMES
        video = np.stack([np.asarray(picture) for picture in pictures])[None].transpose(0, 1, 4, 2, 3)
        assert motion(video)[0] > 0.3
        edges = np.concatenate([video[..., 0, :].ravel(), video[..., -1, :].ravel(), video[..., 0].ravel()])
        assert edges.max() < 40, "the shape touches the border"


def test_i3d_has_the_size_of_the_published_network():
    """12.7 million parameters: the convolutions of Inception-v1 with a third axis, two numbers for each of their
    channels, and 400 logits with biases."""
    network = I3D()
    assert sum(p.numel() for p in network.parameters()) == 12_697_264
    blocks = sum(
        before * (b0 + b1a + b2a + b3b) + 27 * (b1a * b1b + b2a * b2b)
        for before, b0, b1a, b1b, b2a, b2b, b3b in BLOCKS.values()
    )
    stem = 3 * 64 * 343 + 64 * 64 + 64 * 192 * 27
    norms = 2 * (64 + 64 + 192 + sum(sum(widths[1:]) for widths in BLOCKS.values()))
    assert stem + blocks + norms + 1024 * 400 + 400 == 12_697_264


def test_same_padding_is_that_of_tensorflow():
    """Seven taps with stride 2 over 224 pixels need 5 more: 2 before, 3 behind; over 225 they need 6."""
    x = torch.ones(1, 1, 1, 1, 224)
    padded = same(x, (1, 1, 7), (1, 1, 2))[0, 0, 0, 0]
    assert padded.tolist() == [0, 0, *[1] * 224, 0, 0, 0]
    assert same(torch.ones(1, 1, 1, 1, 225), (1, 1, 7), (1, 1, 2)).shape[-1] == 225 + 6


def random_weights(path):
    """A network of random weights, saved as the published file is."""
    torch.manual_seed(0)
    network = I3D()
    torch.save({n: v for n, v in network.state_dict().items() if "num_batches" not in n}, path)
    return network.eval()


def test_the_weights_of_i3d_are_read_from_a_file(tmp_path):
    network = random_weights(tmp_path / "mine.pt")
    found = I3DExtractor(tmp_path / "mine.pt")
    assert all(
        torch.equal(one, other) for one, other in zip(network.parameters(), found.network.parameters(), strict=True)
    )
    assert found.sha256 == hashlib.sha256((tmp_path / "mine.pt").read_bytes()).hexdigest()


@pytest.mark.slow
def test_the_video_distance_is_named_after_its_file(tmp_path):
    """And its vectors are the network's logits for the prepared clips; grey clips count as RGB."""
    network = random_weights(tmp_path / "mine.pt")
    clips = np.random.default_rng(0).integers(0, 255, (2, 9, 1, 16, 16)).astype(np.uint8)
    name = f"fid[i3d={tmp_path / 'mine.pt'}]"
    metrics = find_metrics([name], "video", Plugins.installed())
    (value,) = measure(metrics, {"video": clips}, {"video": clips}, None)
    assert value.name == "FVD[i3d:mine]"
    assert abs(value.value) < 1e-6
    with torch.no_grad():
        wanted = network(prepared(torch.from_numpy(clips[:1])))
    found = metrics[name].extractor.extractor({"video": clips[:1]}, None).vectors
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_clips_are_prepared_for_i3d():
    """Grey of 0 and 255 becomes -1 and 1 in three channels, time behind channels."""
    seen = prepared(torch.tensor([0, 255], dtype=torch.uint8).view(1, 2, 1, 1, 1).expand(1, 2, 1, 8, 8))
    assert seen.shape == (1, 3, 2, 224, 224)
    assert torch.equal(seen[:, :, 0], torch.full((1, 3, 224, 224), -1.0))
    torch.testing.assert_close(seen[:, :, 1], torch.full((1, 3, 224, 224), 1.0))


def test_files_that_hold_no_i3d_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"i3d=rgb_imagenet\.pt"):
        I3DExtractor()
    (tmp_path / "a.pt").write_bytes(b"no weights")
    with pytest.raises(BadData, match="no weights of PyTorch"):
        I3DExtractor(tmp_path / "a.pt")
    torch.save({"logits.conv3d.weight": torch.zeros(400, 1024, 1, 1, 1)}, tmp_path / "b.pt")
    with pytest.raises(BadData, match="no I3D of 400 classes"):
        I3DExtractor(tmp_path / "b.pt")
    torch.save({"logits.conv3d.weight": torch.zeros(600, 1024, 1, 1, 1)}, tmp_path / "c.pt")
    with pytest.raises(BadData, match="no I3D of 400 classes"):
        I3DExtractor(tmp_path / "c.pt")


def test_clips_too_short_for_i3d_are_refused(tmp_path):
    torch.save(I3D().state_dict(), tmp_path / "a.pt")
    with pytest.raises(BadData, match="I3D needs 9"):
        I3DExtractor(tmp_path / "a.pt")({"video": np.zeros((1, 8, 3, 8, 8), np.uint8)}, None)
